// Sites train apart for many steps, then what they moved by on average is a gradient to an outer
// optimizer. DiLoCo sends all of that; MuLoCo and SparseLoCo a part, and the rest with what comes
// later.
//
// Source: Douillard et al. (arXiv:2311.08105), algorithm 1; for what is left out MuLoCo
// (arXiv:2505.23725v3) and SparseLoCo (arXiv:2508.15706), algorithm 1.
#ifndef ISTHMUS_TESTS_RIVALS_DILOCO_H_
#define ISTHMUS_TESTS_RIVALS_DILOCO_H_

#include <memory>
#include <vector>

#include "tests/rivals/compressor.h"
#include "tests/rivals/per_site.h"

namespace isthmus::rivals {

struct DilocoOptions {
  int inner_steps = 50;
  float outer_lr = 0.7f;
  float outer_momentum = 0.9f;  // Nesterov's
  // What stays from one round to the next of what a site has not sent; where all is sent, nothing.
  float error_decay = 0.9f;
};

// The outer optimizer, alike at all sites, and what each of them has not sent. Single-threaded.
class Diloco {
 public:
  // Starts from `initial`, one pointer per tensor. Without a compressor all is sent.
  Diloco(const DilocoOptions& options, std::vector<lm::TensorSpec> tensors, int sites,
         const std::vector<float*>& initial,
         std::unique_ptr<const Compressor> compressor = nullptr);

  // `parameters`, as the inner steps left them, become the new global ones at every site.
  void Round(const PerSite& parameters);

  // That one site sends in a round.
  double bytes_per_round() const;

 private:
  struct Tensor {
    std::vector<float> global;
    std::vector<float> momentum;
    std::vector<std::vector<float>> errors;  // [site]; without a compressor empty
  };
  // What the site sends of tensor `i`, which holds `parameters`: e <- decay e + global - parameters
  // is what it has to say, and loses what it sends.
  const std::vector<float>& Sent(size_t i, size_t site, const float* parameters);
  void StepOuter(const std::vector<float>& gradient, Tensor* tensor) const;

  const DilocoOptions options_;
  const std::vector<lm::TensorSpec> specs_;
  const std::unique_ptr<const Compressor> compressor_;
  std::vector<Tensor> tensors_;
  std::vector<float> sent_, gradient_;  // scratch
};

}  // namespace isthmus::rivals

#endif  // ISTHMUS_TESTS_RIVALS_DILOCO_H_
