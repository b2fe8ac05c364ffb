// The sizes of index_coding's inputs, which name them by their number here: each coding at its
// edges, and what runs have. Not all sizes, for tables take milliseconds to make.
#ifndef ISTHMUS_TESTS_FUZZ_INDEX_SIZES_H_
#define ISTHMUS_TESTS_FUZZ_INDEX_SIZES_H_

#include <cstdint>
#include <set>
#include <vector>

#include "common/base/check.h"

namespace isthmus::fuzz {

struct IndexSize {
  uint32_t chunk_size;
  uint32_t k;
  friend bool operator==(const IndexSize&, const IndexSize&) = default;
};

// At most 256 of them.
inline std::vector<IndexSize> IndexSizes() {
  constexpr uint32_t kMaxProduct = 1 << 16;  // no larger tables
  std::vector<IndexSize> sizes;
  for (const uint32_t n : {2,   3,   4,   5,   16,  17,  32,   50,   63,   64,   65,   100,
                           127, 128, 129, 256, 257, 512, 1000, 1024, 2048, 4096, 65536}) {
    const std::set<uint32_t> counts = {1,  2,  3,  4,  5,  7,     8,     12,
                                       16, 31, 32, 40, 63, n / 2, n - 2, n - 1};
    for (const uint32_t k : counts) {
      if (0 < k && k < n && k <= kMaxProduct / n) sizes.push_back({n, k});
    }
  }
  // The largest ranks that tables take, and a complement of many.
  sizes.insert(sizes.end(), {{64, 20}, {64, 44}, {256, 9}});
  ISTHMUS_CHECK(sizes.size() <= 256);
  return sizes;
}

}  // namespace isthmus::fuzz

#endif  // ISTHMUS_TESTS_FUZZ_INDEX_SIZES_H_
