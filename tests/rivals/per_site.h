// The same tensors at several sites in one process, and what an all-reduce makes of them.
#ifndef ISTHMUS_TESTS_RIVALS_PER_SITE_H_
#define ISTHMUS_TESTS_RIVALS_PER_SITE_H_

#include <vector>

#include "examples/lm/tensors.h"

namespace isthmus::rivals {

// [site][tensor], each at as many elements as its spec says.
using PerSite = std::vector<std::vector<float*>>;

// Every site's `size` elements of tensor `i` become the mean over sites.
void AverageTensor(const PerSite& sites, size_t i, int64_t size);

inline void AverageAll(const std::vector<lm::TensorSpec>& tensors, const PerSite& sites) {
  for (size_t i = 0; i < tensors.size(); ++i) AverageTensor(sites, i, tensors[i].size());
}

}  // namespace isthmus::rivals

#endif  // ISTHMUS_TESTS_RIVALS_PER_SITE_H_
