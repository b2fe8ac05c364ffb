// One vector whose elements are divided among ranks: what a collective scatters and gathers.
#ifndef ISTHMUS_COMMON_TENSOR_PARTITION_H_
#define ISTHMUS_COMMON_TENSOR_PARTITION_H_

#include <cstdint>
#include <span>
#include <vector>

#include "common/tensor/extent.h"

namespace isthmus {

// Each element of a vector of length() is one rank's. What a rank has lies packed: its extents one
// after the other. Immutable once made; thread-safe.
class Partition {
 public:
  Partition() = default;
  // `extents`[rank]: ascending, not empty, counted from the vector's begin. Where two of a rank's
  // touch, they become one. CHECKs that all together are each element of `length` once.
  Partition(uint64_t length, const std::vector<std::vector<Extent>>& extents);

  // Rank after rank, in runs of these lengths, some of which may be 0.
  static Partition InOrder(std::span<const uint64_t> lengths);
  // All elements are `owner`'s, one of `ranks`.
  static Partition AllOf(uint32_t owner, uint32_t ranks, uint64_t length);

  uint64_t length() const { return length_; }
  uint32_t ranks() const { return static_cast<uint32_t>(sizes_.size()); }
  // What the rank has: ascending, apart, none empty. None at all for a rank that has nothing.
  std::span<const Extent> extents(uint32_t rank) const {
    return std::span(extents_).subspan(first_[rank], first_[rank + 1] - first_[rank]);
  }
  // Elements that the rank has.
  uint64_t size(uint32_t rank) const { return sizes_[rank]; }
  // Rank after rank, each has one run of the same length: what the collectives of equal counts take.
  bool is_equal() const { return is_equal_; }

 private:
  uint64_t length_ = 0;
  std::vector<Extent> extents_;  // rank after rank
  std::vector<size_t> first_;    // [ranks + 1]: where a rank's begin in extents_
  std::vector<uint64_t> sizes_;
  bool is_equal_ = false;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TENSOR_PARTITION_H_
