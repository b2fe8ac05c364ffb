// The momentum of one rank: a vector per bucket, of the rank's part of it.
#ifndef ISTHMUS_WORKER_REPLICATION_PART_MOMENTUM_H_
#define ISTHMUS_WORKER_REPLICATION_PART_MOMENTUM_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/compression/payload.h"
#include "common/tensor/buckets.h"
#include "worker/replication/replicator.h"

namespace isthmus {

// How the chunks of a part lie in memory: one after the other, or in tiles of 16 side by side.
enum class MomentumLayout { kRows, kTiles };

// Single-threaded, as its replicator.
class PartMomentum {
 public:
  PartMomentum(MomentumLayout layout, const Buckets& buckets, const ReplicatorPlace& place,
               uint32_t chunk_size);

  std::span<float> of(BucketIndex bucket) { return parts_[bucket.value()].momentum; }
  // In the flat vector's chunk grid, which is the same for every rank.
  PayloadPlace place(Round round, BucketIndex bucket) const;
  void Reset();

 private:
  struct Part {
    uint64_t first_chunk = 0;
    uint64_t chunk_count = 0;
    std::vector<float> momentum;
  };
  std::vector<Part> parts_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_REPLICATION_PART_MOMENTUM_H_
