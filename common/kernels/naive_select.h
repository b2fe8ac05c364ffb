// The selection of select_kernels.h, naively.
#ifndef ISTHMUS_COMMON_KERNELS_NAIVE_SELECT_H_
#define ISTHMUS_COMMON_KERNELS_NAIVE_SELECT_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "common/kernels/naive_tile.h"

namespace isthmus::naive {

// The k largest magnitudes; of equal ones, the lower element.
inline Elements Largest(const Chunk& x, size_t k) {
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return std::fabs(x[a]) > std::fabs(x[b]); });
  Elements chosen(x.size());
  for (size_t i = 0; i < k; ++i) chosen[order[i]] = true;
  return chosen;
}

}  // namespace isthmus::naive

#endif  // ISTHMUS_COMMON_KERNELS_NAIVE_SELECT_H_
