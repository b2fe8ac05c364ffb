#include "common/tensor/partition.h"

#include <algorithm>

#include "common/base/check.h"

namespace isthmus {
namespace {

// Whether they are each element of `length` once.
bool Cover(std::vector<Extent> extents, uint64_t length) {
  std::ranges::sort(extents, {}, &Extent::begin);
  uint64_t next = 0;
  for (const Extent& extent : extents) {
    if (extent.begin != next || extent.empty()) return false;
    next = extent.end;
  }
  return next == length;
}

}  // namespace

Partition::Partition(uint64_t length, const std::vector<std::vector<Extent>>& extents)
    : length_(length), first_{0} {
  for (const std::vector<Extent>& of_rank : extents) {
    uint64_t size = 0;
    for (const Extent& extent : of_rank) {
      const bool touches = size > 0 && extents_.back().end == extent.begin;
      if (touches) {
        extents_.back().end = extent.end;
      } else {
        ISTHMUS_CHECK(size == 0 || extents_.back().end < extent.begin);
        extents_.push_back(extent);
      }
      size += extent.size();
    }
    first_.push_back(extents_.size());
    sizes_.push_back(size);
  }
  ISTHMUS_CHECK(Cover(extents_, length));
  is_equal_ = length > 0;
  for (uint32_t rank = 0; rank < ranks(); ++rank) {
    const uint64_t share = length / ranks();
    is_equal_ = is_equal_ && sizes_[rank] == share && extents_[first_[rank]].begin == rank * share &&
                extents_[first_[rank]].size() == share;
  }
}

Partition Partition::InOrder(std::span<const uint64_t> lengths) {
  std::vector<std::vector<Extent>> extents(lengths.size());
  uint64_t begin = 0;
  for (size_t rank = 0; rank < lengths.size(); ++rank) {
    if (lengths[rank] > 0) extents[rank].push_back({begin, begin + lengths[rank]});
    begin += lengths[rank];
  }
  return Partition(begin, extents);
}

Partition Partition::AllOf(uint32_t owner, uint32_t ranks, uint64_t length) {
  std::vector<uint64_t> lengths(ranks);
  lengths[owner] = length;
  return InOrder(lengths);
}

}  // namespace isthmus
