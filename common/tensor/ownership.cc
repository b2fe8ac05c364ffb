#include "common/tensor/ownership.h"

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/check.h"

namespace isthmus {

Ownership Ownership::InEqualParts(const Buckets& buckets, uint32_t ranks) {
  ISTHMUS_CHECK(ranks > 0);
  Ownership made;
  made.buckets_ = buckets;
  made.ranks_ = ranks;
  for (uint32_t b = 0; b < buckets.count(); ++b) {
    const uint64_t length = buckets.bucket(BucketIndex(b)).size();
    // All buckets are of one length, but perhaps the last.
    if (made.partitions_.empty() || made.partitions_.back().length() != length) {
      const uint64_t units = length / kUnitLength;
      std::vector<uint64_t> lengths;
      for (uint64_t r = 0; r < ranks; ++r) {
        lengths.push_back((units * (r + 1) / ranks - units * r / ranks) * kUnitLength);
      }
      made.partitions_.push_back(Partition::InOrder(lengths));
    }
    made.index_.push_back(static_cast<uint32_t>(made.partitions_.size() - 1));
  }
  return made;
}

absl::StatusOr<Ownership> Ownership::ByUnit(const Buckets& buckets, uint32_t ranks,
                                            std::span<const uint32_t> owners) {
  if (owners.size() != buckets.length() / kUnitLength) {
    return absl::InvalidArgumentError(absl::StrCat("owners of units: expected ",
                                                   buckets.length() / kUnitLength, ", got ",
                                                   owners.size()));
  }
  Ownership made;
  made.buckets_ = buckets;
  made.ranks_ = ranks;
  for (uint32_t b = 0; b < buckets.count(); ++b) {
    const Extent bucket = buckets.bucket(BucketIndex(b));
    std::vector<std::vector<Extent>> extents(ranks);
    for (uint64_t begin = bucket.begin; begin < bucket.end; begin += kUnitLength) {
      const uint32_t owner = owners[begin / kUnitLength];
      if (owner >= ranks) {
        return absl::InvalidArgumentError(absl::StrCat("owner of unit ", begin / kUnitLength,
                                                       ": expected a rank below ", ranks, ", got ",
                                                       owner));
      }
      extents[owner].push_back({begin - bucket.begin, begin - bucket.begin + kUnitLength});
    }
    made.partitions_.emplace_back(bucket.size(), extents);
    made.index_.push_back(b);
  }
  return made;
}

Shard::Shard(const Ownership& ownership, uint32_t rank) {
  const Buckets& buckets = ownership.buckets();
  for (uint32_t b = 0; b < buckets.count(); ++b) {
    const BucketIndex bucket(b);
    buckets_.push_back({runs_.size(), length_});
    const uint64_t base = buckets.bucket(bucket).begin;
    for (const Extent& extent : ownership.of(bucket).extents(rank)) {
      runs_.push_back({{base + extent.begin, base + extent.end}, length_});
      length_ += extent.size();
    }
    longest_ = std::max(longest_, length_ - buckets_.back().start);
  }
  buckets_.push_back({runs_.size(), length_});
}

}  // namespace isthmus
