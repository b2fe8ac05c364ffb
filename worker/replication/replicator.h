// The policy choosing what crosses between replica groups. One replicator per rank; it owns that
// rank's momentum.
#ifndef ISTHMUS_WORKER_REPLICATION_REPLICATOR_H_
#define ISTHMUS_WORKER_REPLICATION_REPLICATOR_H_

#include <cstdint>
#include <memory>
#include <span>

#include "common/compression/payload.h"
#include "common/tensor/buckets.h"

namespace isthmus {

// Single-threaded: the rank's step thread alone calls it. Parts are the rank's extents of buckets,
// whole 4096-element units; `bucket` is the index that the rank uses for that part.
class Replicator {
 public:
  virtual ~Replicator() = default;

  // What the payloads of this replicator look like on the wire.
  virtual const PayloadFormat& format() const = 0;

  // Adds a reduced gradient (finite, |g| <= 1e30) to the momentum of the rank's part of `bucket`.
  // `lr` is used only by runs with lr inside the momentum.
  virtual void Accumulate(BucketIndex bucket, std::span<const float> gradient, float lr) = 0;

  // Chooses what to send, and takes exactly that out of the momentum. The result's values are
  // what the payload will say, and Return()ing it restores the momentum.
  virtual Selection Extract(BucketIndex bucket) = 0;

  // Adds back exactly what Extract() subtracted: its contribution missed the round.
  virtual void Return(BucketIndex bucket, const Selection& taken) = 0;

  // Forgets the momentum (a joiner starts from zero).
  virtual void Reset() = 0;
};

struct ReplicatorSpec {
  PayloadFormat format;
  float decay = 0.999f;
  bool lr_in_momentum = false;
};

// FlexDeMo: m <- decay m + DCT(g) in the frequency domain; sends the top k per chunk.
// `rank` of `ranks` fixes the extents. CHECKs a DCT format with IsChunkSize(chunk_size), k <= C.
std::unique_ptr<Replicator> MakeDemoReplicator(const ReplicatorSpec& spec, const Buckets& buckets,
                                               uint32_t rank, uint32_t ranks);

// Full synchronisation: sends the whole accumulated gradient, no transform; what a late
// contribution returns is sent with the next.
std::unique_ptr<Replicator> MakeFullReplicator(const ReplicatorSpec& spec, const Buckets& buckets,
                                               uint32_t rank, uint32_t ranks);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_REPLICATION_REPLICATOR_H_
