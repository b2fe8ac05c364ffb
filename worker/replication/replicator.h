// The policy choosing what crosses between replica groups. One replicator per rank; it owns that
// rank's momentum.
//
// (Schemes that step locally and exchange now and then, DiLoCo and its kin, will be replicators
// whose Accumulate() steps and whose extraction is empty in most rounds.)
#ifndef ISTHMUS_WORKER_REPLICATION_REPLICATOR_H_
#define ISTHMUS_WORKER_REPLICATION_REPLICATOR_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/compression/payload.h"
#include "common/compression/tile_codec.h"
#include "common/run/run_spec.h"
#include "common/tensor/buckets.h"

namespace isthmus {

// What was taken out of the momentum for one part of a contribution.
struct Extraction {
  // What is sent, and kept until its fate is known.
  std::shared_ptr<const std::string> payload;
  // [chunk_count, k] what was taken where the payload does not say it (values sign); else empty.
  std::vector<float> exact;
  // What this group applies in its own place, where nothing is exchanged (scheme none); else null.
  std::shared_ptr<const std::string> own;
};

// Single-threaded: the rank's step thread alone calls it. Parts are the rank's extents of buckets,
// whole 4096-element units; `bucket` is the index that the rank uses for that part.
class Replicator {
 public:
  virtual ~Replicator() = default;

  // What the payloads of this replicator look like on the wire.
  const PayloadFormat& format() const { return format_; }

  // Adds a reduced gradient (finite, |g| <= 1e30) to the momentum of the rank's part of `bucket`.
  // `lr` is used only by runs with lr inside the momentum.
  virtual void Accumulate(BucketIndex bucket, std::span<const float> gradient, float lr) = 0;

  // The same; then chooses what to send in `round`, and takes that out of the momentum.
  virtual Extraction AccumulateAndExtract(Round round, BucketIndex bucket,
                                          std::span<const float> gradient, float lr) = 0;

  // Adds back exactly what was subtracted: the contribution missed its round.
  virtual void Return(Round round, BucketIndex bucket, const Extraction& taken) = 0;

  // Forgets the momentum (a joiner starts from zero).
  virtual void Reset() = 0;

 protected:
  explicit Replicator(const PayloadFormat& format) : format_(format) {}

 private:
  const PayloadFormat format_;
};

// Which rank of how many, and the threads that may help it.
struct ReplicatorPlace {
  uint32_t rank = 0;
  uint32_t ranks = 1;
  int threads = 1;
  ParallelFor parallel = nullptr;
};

// The run's replicator, of a run that Validate() accepts. `rank` of `ranks` fixes the extents.
std::unique_ptr<Replicator> MakeReplicator(const RunSpec& run, const Buckets& buckets,
                                           const ReplicatorPlace& place);

// One each:
//
// FlexDeMo: m <- decay m + DCT(g) in the frequency domain; sends the top k per chunk.
std::unique_ptr<Replicator> MakeDemoReplicator(const RunSpec& run, const Buckets& buckets,
                                               const ReplicatorPlace& place);
// Random, striding, slicing: m <- decay m + g; sends the elements whose turn it is
// (common/kernels/positions.h), without indices.
std::unique_ptr<Replicator> MakePositionsReplicator(const RunSpec& run, const Buckets& buckets,
                                                    const ReplicatorPlace& place);
// Full synchronisation: sends the whole accumulated gradient; what a late contribution returns is
// sent with the next.
std::unique_ptr<Replicator> MakeFullReplicator(const RunSpec& run, const Buckets& buckets,
                                               const ReplicatorPlace& place);
// No exchange: sends payloads that say nothing, and applies its own gradient in full.
std::unique_ptr<Replicator> MakeNoneReplicator(const RunSpec& run, const Buckets& buckets,
                                               const ReplicatorPlace& place);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_REPLICATION_REPLICATOR_H_
