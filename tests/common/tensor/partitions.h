// Partitions for tests.
#ifndef ISTHMUS_TESTS_COMMON_TENSOR_PARTITIONS_H_
#define ISTHMUS_TESTS_COMMON_TENSOR_PARTITIONS_H_

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "common/base/rng.h"
#include "common/tensor/partition.h"

namespace isthmus {

// Runs of whole units to ranks by chance: of several runs, one, or none.
inline Partition RandomPartition(uint64_t seed, uint32_t ranks, uint64_t length,
                                 uint64_t unit = 1) {
  Rng rng(seed);
  const uint64_t units = length / unit;
  std::vector<std::vector<Extent>> extents(ranks);
  for (uint64_t at = 0; at < units;) {
    const uint64_t run = std::min(units - at, 1 + rng.Below(1 + units / ranks));
    extents[rng.Below(ranks)].push_back({at * unit, (at + run) * unit});
    at += run;
  }
  return Partition(units * unit, extents);
}

inline Partition EqualPartition(uint32_t ranks, uint64_t of_each) {
  return Partition::InOrder(std::vector<uint64_t>(ranks, of_each));
}

// What `rank` has of `vector`, packed, and the reverse.
template <typename T>
std::vector<T> Packed(const std::vector<T>& vector, const Partition& whole, uint32_t rank) {
  std::vector<T> packed;
  for (const Extent& extent : whole.extents(rank)) {
    const auto from = std::span(vector).subspan(extent.begin, extent.size());
    packed.insert(packed.end(), from.begin(), from.end());
  }
  return packed;
}
template <typename T>
void Unpack(std::span<const T> packed, const Partition& whole, uint32_t rank,
            std::vector<T>& vector) {
  for (const Extent& extent : whole.extents(rank)) {
    std::ranges::copy(packed.first(extent.size()),
                      vector.begin() + static_cast<ptrdiff_t>(extent.begin));
    packed = packed.subspan(extent.size());
  }
}

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_COMMON_TENSOR_PARTITIONS_H_
