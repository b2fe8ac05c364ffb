// DiLoCo: sites train apart for many steps, then what they moved by on average is a gradient to an
// outer optimizer.
//
// Source: Douillard et al. (arXiv:2311.08105), algorithm 1.
#ifndef ISTHMUS_TESTS_RIVALS_DILOCO_H_
#define ISTHMUS_TESTS_RIVALS_DILOCO_H_

#include <vector>

#include "tests/rivals/per_site.h"

namespace isthmus::rivals {

struct DilocoOptions {
  int inner_steps = 50;
  float outer_lr = 0.7f;
  float outer_momentum = 0.9f;  // Nesterov's
};

// The outer optimizer, alike at all sites. Single-threaded.
class Diloco {
 public:
  // Starts from `initial`, one pointer per tensor.
  Diloco(const DilocoOptions& options, const std::vector<lm::TensorSpec>& tensors,
         const std::vector<float*>& initial);

  // `parameters`, as the inner steps left them, become the new global ones at every site.
  void Round(const PerSite& parameters);

 private:
  struct Tensor {
    std::vector<float> global;
    std::vector<float> momentum;
  };

  const DilocoOptions options_;
  std::vector<Tensor> tensors_;
};

}  // namespace isthmus::rivals

#endif  // ISTHMUS_TESTS_RIVALS_DILOCO_H_
