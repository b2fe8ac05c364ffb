// The local ranks of a daemon, wherever they live: masters, optimizer state and momentum in the
// host's memory (cpu_ranks.h) or on GPUs (gpu_ranks.h), and the arithmetic on them. `Pipeline`
// arranges who does what when.
#ifndef ISTHMUS_WORKER_STEP_RANK_STATE_H_
#define ISTHMUS_WORKER_STEP_RANK_STATE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/compression/update_payload.h"
#include "common/run/exchange_policy.h"
#include "common/run/round_format.h"
#include "common/run/run_spec.h"
#include "common/run/update.h"
#include "common/tensor/layout.h"
#include "common/tensor/ownership.h"
#include "worker/core/worker_core.h"
#include "worker/jobs/job_server.h"

namespace isthmus {

// What one rank keeps between operations: its shard, and what it took for contributions still in
// flight. What it owns of a bucket are the shard's runs of it: several, one, or none.
//
// Single-threaded: the rank's own thread. Work may go on after a call has returned; later calls
// wait for what they need of it. Errors of a device are INTERNAL and name call, device and size;
// nothing works after one.
class RankState {
 public:
  // `ownership` outlives it.
  RankState(const Ownership& ownership, uint32_t rank)
      : ownership_(ownership), shard_(ownership, rank), rank_(rank) {}
  virtual ~RankState() = default;

  const Shard& shard() const { return shard_; }

  // As RoundFormats::Change(). The momentum becomes that of the new format as soon as a round that
  // has it takes something in.
  virtual void ChangeFormat(const FormatChange& change) = 0;

  // --- collectives: all ranks enter the same ones in the same order; ABORTED after Abort() -------

  // The mean over ranks of what the job has for the bucket, gradients or progress (ExchangeSource),
  // becomes the shard's, until the next call. Progress is first multiplied by `weight`, this
  // rank's. False at every rank if some rank's holds what is no usable number.
  virtual absl::StatusOr<bool> Reduce(JobSession& job, BucketIndex bucket, float weight) = 0;
  // The job's parameters of the bucket become all ranks' masters, and what `how` says of its way.
  virtual absl::Status Gather(JobSession& job, BucketIndex bucket, Gathering how) = 0;
  // Masters become the shard of the parameters that the group's rank 0 has in its job.
  virtual absl::Status Adopt(JobSession& job) = 0;
  virtual absl::Status Barrier() = 0;

  // --- one rank's own ----------------------------------------------------------------------------

  // Adds the gradient, which is usable, to the momentum, as `round` has it. `lr` is used by runs
  // with lr inside the momentum.
  virtual absl::Status Accumulate(Round round, BucketIndex bucket, float lr) = 0;
  // The same; then takes out of the momentum what to send, remembers it, and gives it encoded to
  // `done`, run by run: before it returns, or in a later call, Finish() at the latest. CHECKs that
  // nothing is remembered for (round, bucket) yet.
  using Extracted =
      std::function<void(const ChunkRun& chunks, std::shared_ptr<const std::string> payload)>;
  virtual absl::Status Extract(Round round, BucketIndex bucket, float lr, Extracted done) = 0;
  virtual absl::Status Finish() = 0;
  // Blocks until all that is under way has been done.
  virtual absl::Status Complete() = 0;

  // The job steps on from what its buffers hold of the bucket, whose progress has been taken in.
  virtual void JobGoesOn(JobSession& job, BucketIndex bucket) = 0;
  // Masters of the bucket are about to change, and the job's parameters are not, not now.
  virtual void JobStaysBehind(BucketIndex bucket) = 0;
  // Applies the shard's part of `update`'s direction to masters and optimizer state.
  // `header.scalars` has an entry for each parameter group of the layout. Errors: INTERNAL if the
  // update needs this group's own contribution and it is not remembered.
  virtual absl::Status Apply(const UpdateHeader& header, const UpdateView& update) = 0;
  // What was taken for (round, bucket), if anything, is forgotten (kMerged) or first added back to
  // the momentum (kReturn).
  virtual void Settle(Round round, BucketIndex bucket, Credit credit) = 0;

  // The job's gradients at this rank become zero, if it has any.
  virtual absl::Status ClearGradients(JobSession& job) = 0;
  // Nothing that is under way uses a job's buffers after this.
  virtual absl::Status ReleaseJob() = 0;
  // Writes to, or reads from, the shard's part of an image: masters, then each optimizer state
  // vector, all of flat length. Load also forgets what was taken for a bucket up to the round
  // in `applied_rounds` and, with `reset_momentum`, all of it and the momentum.
  virtual absl::Status Save(std::span<std::byte> image) = 0;
  virtual absl::Status Load(std::span<const std::byte> image, bool reset_momentum,
                            std::span<const Round> applied_rounds) = 0;

  // The hash of the logical elements among the shard's masters of the bucket; those of all ranks
  // and buckets add up to the state hash.
  virtual absl::StatusOr<uint64_t> Hash(BucketIndex bucket) = 0;

 protected:
  const Buckets& buckets() const { return ownership_.buckets(); }

  const Ownership& ownership_;
  const Shard shard_;
  const uint32_t rank_;
};

// The runs of logical elements in `extent`, ascending (docs/protocol.md, P22).
std::vector<Extent> LogicalRuns(const Layout& layout, const Extent& extent);

// Which ranks of their replica group a daemon's own are: all of them, unless the group spans
// several daemons of its site.
struct GroupPlace {
  GroupId group;            // set by LocalPipeline
  uint32_t first_rank = 0;  // of this daemon
  uint32_t ranks = 0;       // of the group
  // How the ranks of several daemons find each other, from Invite() of one of them; empty where all
  // are this daemon's.
  std::string invitation;
};

// What the ranks of one daemon are made of, and how they reach each other. Outlives the ranks it
// makes.
class LocalRanks {
 public:
  virtual ~LocalRanks() = default;
  virtual uint32_t count() const = 0;

  // For one Make() at each daemon of the group. Errors: FAILED_PRECONDITION where ranks of this
  // kind cannot reach those of another daemon.
  virtual absl::StatusOr<std::string> Invite() = 0;

  // This daemon's ranks, ascending, all zero, connected to the group's others: blocks until those
  // have come. Errors: RESOURCE_EXHAUSTED with the bytes needed and there; ABORTED if the others
  // did not come, or Abort() was called. `layout` and `ownership`, of place.ranks, outlive them.
  virtual absl::StatusOr<std::vector<std::unique_ptr<RankState>>> Make(const RunSpec& run,
                                                                       const Layout& layout,
                                                                       const Ownership& ownership,
                                                                       const GroupPlace& place) = 0;

  // Wakes every rank out of its collective with ABORTED(reason); every later one fails likewise.
  // Callable from any thread.
  virtual void Abort(const absl::Status& reason) = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_RANK_STATE_H_
