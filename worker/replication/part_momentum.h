// The momentum of one rank: a vector per bucket, as long as the rank's part of it.
#ifndef ISTHMUS_WORKER_REPLICATION_PART_MOMENTUM_H_
#define ISTHMUS_WORKER_REPLICATION_PART_MOMENTUM_H_

#include <cstdint>
#include <span>
#include <vector>

#include "common/compression/payload.h"
#include "common/tensor/buckets.h"

namespace isthmus {

// Single-threaded, as its replicator.
class PartMomentum {
 public:
  PartMomentum(const Buckets& buckets, uint32_t rank, uint32_t ranks, uint32_t chunk_size);

  std::span<float> of(BucketIndex bucket) { return parts_[bucket.value()].momentum; }
  // In the flat vector's chunk grid, which is the same for every rank.
  uint64_t first_chunk(BucketIndex bucket) const { return parts_[bucket.value()].first_chunk; }
  // CHECKs that `taken` is of the rank's part, then adds it back.
  void Return(BucketIndex bucket, const Selection& taken);
  void Reset();

 private:
  struct Part {
    uint64_t first_chunk = 0;
    std::vector<float> momentum;
  };
  uint32_t chunk_size_;
  std::vector<Part> parts_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_REPLICATION_PART_MOMENTUM_H_
