// Which rank of a replica group owns what of the flat vector: whose masters, momentum and optimizer
// state it has, and who sends it (docs/protocol.md, P3).
//
// What a rank *holds* in the job's buffers, its gradients and parameters, is another question. Today
// each holds all of them; a rank of a sharded job will hold a part, and own another.
#ifndef ISTHMUS_COMMON_TENSOR_OWNERSHIP_H_
#define ISTHMUS_COMMON_TENSOR_OWNERSHIP_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/ids.h"
#include "common/tensor/buckets.h"
#include "common/tensor/extent.h"
#include "common/tensor/partition.h"

namespace isthmus {

// Whole 4096-element units, so that no chunk has two owners; each unit is one rank's. A value;
// thread-safe when const.
class Ownership {
 public:
  Ownership() = default;
  // Of each bucket, rank r of S has the r-th of S nearly equal runs of units, which may be empty.
  static Ownership InEqualParts(const Buckets& buckets, uint32_t ranks);
  // `owners`[u] has unit u of the vector. Errors: INVALID_ARGUMENT unless there is an owner below
  // `ranks` for each unit.
  static absl::StatusOr<Ownership> ByUnit(const Buckets& buckets, uint32_t ranks,
                                          std::span<const uint32_t> owners);

  const Buckets& buckets() const { return buckets_; }
  uint32_t ranks() const { return ranks_; }
  // Elements count from the bucket's begin.
  const Partition& of(BucketIndex bucket) const { return partitions_[index_[bucket.value()]]; }

 private:
  Buckets buckets_;
  uint32_t ranks_ = 0;
  std::vector<Partition> partitions_;  // those that differ
  std::vector<uint32_t> index_;        // per bucket, in partitions_
};

// What one rank owns: its extents of all buckets, ascending; in memory, one after the other.
class Shard {
 public:
  struct Run {
    Extent extent;       // of the flat vector
    uint64_t start = 0;  // where it lies in the rank's memory, elements
  };

  Shard() = default;
  Shard(const Ownership& ownership, uint32_t rank);

  uint64_t length() const { return length_; }    // elements of all
  uint64_t longest() const { return longest_; }  // elements of the bucket of which it has most
  std::span<const Run> runs() const { return runs_; }
  std::span<const Run> runs(BucketIndex bucket) const {
    return runs().subspan(first_run(bucket), first_run(BucketIndex(bucket.value() + 1)) -
                                                 first_run(bucket));
  }
  // Where the bucket's begin in runs(); so for the one after the last, too.
  size_t first_run(BucketIndex bucket) const { return buckets_[bucket.value()].first_run; }
  // Where the bucket's begin in the rank's memory, and how many elements they are.
  uint64_t start(BucketIndex bucket) const { return buckets_[bucket.value()].start; }
  uint64_t length(BucketIndex bucket) const {
    return buckets_[bucket.value() + 1].start - start(bucket);
  }

 private:
  struct Bucket {
    size_t first_run = 0;
    uint64_t start = 0;
  };
  uint64_t length_ = 0;
  uint64_t longest_ = 0;
  std::vector<Run> runs_;
  std::vector<Bucket> buckets_;  // [count + 1]
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TENSOR_OWNERSHIP_H_
