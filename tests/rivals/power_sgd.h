// PowerSGD: each site's gradient matrix, with what was left out before, is averaged as a product of
// two thin factors.
//
// Source: Vogels, Karimireddy & Jaggi (arXiv:1905.13727), algorithms 1 and 2.
#ifndef ISTHMUS_TESTS_RIVALS_POWER_SGD_H_
#define ISTHMUS_TESTS_RIVALS_POWER_SGD_H_

#include <cstdint>
#include <vector>

#include "tests/rivals/per_site.h"

namespace isthmus::rivals {

// Warm start (the right factor of a step is where the next one begins), error feedback, and 1-D
// tensors averaged as they are. Holds the state of all sites. Single-threaded.
class PowerSgd {
 public:
  // The rank is cut to what a tensor's extents allow. The first right factors are drawn from
  // `seed`.
  PowerSgd(std::vector<lm::TensorSpec> tensors, int sites, int rank, uint64_t seed);

  // `gradients` become, at every site, the approximation of their mean.
  void Average(const PerSite& gradients);

  // float32 values that one site puts into all-reduces in a step.
  int64_t values_per_step() const;

 private:
  struct Matrix {
    int rows = 0;
    int columns = 0;
    int rank = 0;                            // 0: averaged as it is
    std::vector<float> left;                 // [rows, rank]
    std::vector<float> right;                // [columns, rank]
    std::vector<float> product;              // [rows, columns]
    std::vector<std::vector<float>> errors;  // [site][rows, columns]
  };
  void AverageMatrix(const PerSite& gradients, size_t i);

  const std::vector<lm::TensorSpec> tensors_;
  std::vector<Matrix> matrices_;  // one per tensor
};

}  // namespace isthmus::rivals

#endif  // ISTHMUS_TESTS_RIVALS_POWER_SGD_H_
