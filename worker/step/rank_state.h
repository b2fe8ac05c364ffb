// What one rank keeps between operations, and the arithmetic on it: masters, optimizer state,
// momentum (in its replicator), and what it took for contributions still in flight. No threads, no
// other rank; `Pipeline` arranges who does what when.
#ifndef ISTHMUS_WORKER_STEP_RANK_STATE_H_
#define ISTHMUS_WORKER_STEP_RANK_STATE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/compression/update_payload.h"
#include "common/run/run_spec.h"
#include "common/run/update.h"
#include "common/tensor/buckets.h"
#include "common/tensor/layout.h"
#include "worker/core/worker_core.h"
#include "worker/replication/replicator.h"

namespace isthmus {

// |g| above this counts as unusable, as do NaN and Inf (docs/protocol.md, P18).
inline constexpr float kMaxGradient = 1e30f;

// True if every |g| <= kMaxGradient.
bool AllUsable(std::span<const float> gradient);

// Single-threaded: the rank's own thread. "Part" is what the rank owns of a bucket; it may be
// empty. `layout` and `buckets` outlive it.
class RankState {
 public:
  // All zero. Throws std::bad_alloc.
  RankState(const RunSpec& run, const Layout& layout, const Buckets& buckets,
            const ReplicatorPlace& place);

  Extent part(BucketIndex bucket) const { return buckets_.part(bucket, rank_, ranks_); }
  std::span<const float> masters(BucketIndex bucket) const;
  // As long as the part; contents last until the next call of anything here.
  std::span<float> scratch(BucketIndex bucket);

  // Adds the part's reduced gradient, all of it usable, to the momentum.
  void Accumulate(BucketIndex bucket, std::span<const float> gradient, float lr);
  // The same; then takes out of the momentum what to send, remembers it, and returns it encoded.
  // CHECKs that nothing is remembered for (round, bucket) yet.
  std::shared_ptr<const std::string> AccumulateAndExtract(Round round, BucketIndex bucket,
                                                          std::span<const float> gradient,
                                                          float lr);

  // Applies the part of `update`'s direction to masters and optimizer state. `header.scalars` has
  // an entry for each parameter group of the layout. Errors: INTERNAL if the update needs this
  // group's own contribution and it is not remembered.
  absl::Status Apply(const UpdateHeader& header, const UpdateView& update);
  // What was taken for (round, bucket), if anything, is forgotten (kMerged) or first added back to
  // the momentum (kReturn).
  void Settle(Round round, BucketIndex bucket, Credit credit);

  // Masters become the rank's parts of `parameters`, a whole flat vector.
  void Adopt(std::span<const float> parameters);
  // Writes to, or reads from, the rank's parts of an image: masters, then each optimizer state
  // vector, all of flat length. Load also forgets what was taken for a bucket up to the round
  // in `applied_rounds` and, with `reset_momentum`, all of it and the momentum.
  void Save(std::span<std::byte> image) const;
  void Load(std::span<const std::byte> image, bool reset_momentum,
            std::span<const Round> applied_rounds);

  // The hash of the logical elements among the masters of the rank's part; those of all ranks and
  // buckets add up to the state hash.
  uint64_t Hash(BucketIndex bucket) const;

  // For rehearsals of the audit: at the rank that owns the vector's first element, flips the
  // highest bit of the mantissa of its largest master: more than rounding would undo.
  void FlipBit();

 private:
  using Key = std::pair<Round, BucketIndex>;

  // What this group remembers having sent for the update, if the update leaves it to the receiver.
  // Of a run that exchanges nothing: what it applies.
  absl::StatusOr<std::optional<PayloadView>> Own(const UpdateHeader& header, const Extent& extent,
                                                 bool needed) const;
  // The runs of logical elements in the rank's part.
  std::vector<Extent> LogicalRuns(BucketIndex bucket) const;

  // The part's elements of one of the contiguous vectors below.
  std::span<float> PartOf(std::vector<float>& vector, BucketIndex bucket) const;
  void ApplyBlock(const UpdateHeader& header, const Extent& block, std::span<const float> direction,
                  uint64_t first);

  const RunSpec run_;
  const Layout& layout_;
  const Buckets& buckets_;
  const uint32_t rank_;
  const uint32_t ranks_;
  std::vector<uint64_t> starts_;  // per bucket: where its part begins in the vectors below
  std::vector<float> masters_;    // the parts, one after the other
  std::vector<std::vector<float>> optimizer_;  // OptimizerStateVectors() of them, as masters_
  std::vector<float> scratch_;                 // as long as the largest part
  std::unique_ptr<Replicator> replicator_;
  DirectionScratch direction_scratch_;
  std::map<Key, Extraction> taken_;  // bounded by the rounds that are open
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_RANK_STATE_H_
