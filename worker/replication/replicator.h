// What crosses between replica groups, on CPUs: the run's policy (common/run/exchange_policy.h) and
// a round's format at work on the momentum of one rank. The two kinds differ in how the momentum
// lies in memory.
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
#include "common/run/exchange_policy.h"
#include "common/run/round_format.h"
#include "common/tensor/ownership.h"

namespace isthmus {

// What was taken out of the momentum of one run, for a part of a contribution.
struct Extraction {
  PayloadFormat format;  // that it was made under
  // What is sent, and kept until its fate is known.
  std::shared_ptr<const std::string> payload;
  // [chunk_count, k] what was taken where the payload does not say it (values sign); else empty.
  std::vector<float> exact;
  // What this group applies in its own place, where nothing is exchanged; else null.
  std::shared_ptr<const std::string> own;

  // What this group's contribution means to itself.
  const std::string& applied() const { return own != nullptr ? *own : *payload; }
};

// Single-threaded: the rank's step thread alone calls it. `run` counts those of the rank's shard,
// each of whole 4096-element units.
class Replicator {
 public:
  virtual ~Replicator() = default;

  // Adds a reduced gradient (finite, |g| <= 1e30) to the momentum of `run`, which becomes that of
  // `format`, this group's in the round: its blocks may have been others, and are transformed back
  // and forth then (docs/protocol.md, P30). `lr` is used only by runs with lr inside the momentum.
  virtual void Accumulate(const PayloadFormat& format, size_t run, std::span<const float> gradient,
                          float lr) = 0;

  // The same; then chooses what to send in `round`, and takes that out of the momentum.
  virtual Extraction AccumulateAndExtract(const PayloadFormat& format, Round round, size_t run,
                                          std::span<const float> gradient, float lr) = 0;

  // Adds back exactly what was subtracted: the contribution missed its round.
  virtual void Return(Round round, size_t run, const Extraction& taken) = 0;

  // Forgets the momentum (a joiner starts from zero).
  virtual void Reset() = 0;
};

// The threads that may help.
struct ReplicatorPlace {
  int threads = 1;
  ParallelFor parallel = nullptr;
};

// The replicator of a run that Validate() accepts, for any format that its rounds may change to
// (CheckChange()).
std::unique_ptr<Replicator> MakeReplicator(const RunSpec& spec, const Shard& shard,
                                           const ReplicatorPlace& place);

// One for each way in which the momentum lies in memory:
//
// In tiles of 16 chunks side by side, in the frequency domain: FlexDeMo, the top k of each chunk.
std::unique_ptr<Replicator> MakeTileReplicator(const RunSpec& spec, const Shard& shard,
                                               const ReplicatorPlace& place);
// In rows, one chunk after the other, transformed or not: the elements whose turn it is
// (common/kernels/positions.h), or all. Without an exchange it sends payloads that say nothing.
std::unique_ptr<Replicator> MakeRowReplicator(const RunSpec& spec, const Shard& shard);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_REPLICATION_REPLICATOR_H_
