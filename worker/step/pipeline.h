// The arithmetic of a replica group: masters, momentum and optimizer state of its ranks, which
// perform operations in exactly the order in which they are queued, so that they always enter the
// same collectives. While one bucket is on the wire the next is being compressed.
//
// The ranks are this daemon's (local_pipeline.h), or those of several daemons (worker/site).
//
// Each rank owns its shard of the vector (docs/protocol.md, P3). Masters are apart from the job's
// buffers (P13): updates go to the masters, and to the job only by Load, Gather or an Apply that
// gathers.
#ifndef ISTHMUS_WORKER_STEP_PIPELINE_H_
#define ISTHMUS_WORKER_STEP_PIPELINE_H_

#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/exchange/messages.h"
#include "common/exchange/state_image.h"
#include "common/run/round_format.h"
#include "common/run/update.h"
#include "common/tensor/buckets.h"
#include "common/tensor/layout.h"
#include "worker/core/worker_core.h"
#include "worker/jobs/job_server.h"

namespace isthmus {

// Called from the pipeline's threads; implementations are thread-safe, quick, and may queue
// operations.
class PipelineEvents {
 public:
  virtual ~PipelineEvents() = default;
  // A run of what a rank owns of a bucket was extracted. Ranks that own nothing of it say nothing.
  virtual void OnPart(ContributionPart part) = 0;
  // Some rank's reduced gradient held NaN, Inf or |g| > 1e30 in this bucket: no rank touched its
  // momentum, none extracted. Once per bucket.
  virtual void OnNonFinite(Round round, BucketIndex bucket) = 0;
  // Something that should not be able to happen did: an update that does not decode; or a daemon of
  // the group is lost. The pipeline does nothing more.
  virtual void OnFailure(const absl::Status& status) = 0;
};

// How what a job's step has is taken in.
struct StepIntake {
  // What it is multiplied by. In runs with lr inside the momentum the first parameter group's rate,
  // which must then serve all.
  float lr = 1;
  // Of progress, by rank of the group: its samples to their mean (docs/protocol.md, P29). Empty:
  // all are one.
  std::vector<float> rank_weights;
  bool job_goes_on = false;  // ProcessBucket
};

// What goes with a state that takes the place of another.
struct InstalledAs {
  // What was taken for a bucket up to the round below is forgotten; with this all of it, and the
  // momentum too.
  bool reset_momentum = false;
  std::vector<Round> applied_rounds;  // per bucket
  std::vector<FormatChange> formats;  // of coming rounds
};

// Operations return at once and are performed later, in order. Thread-safe, but the order of calls
// from several threads is theirs to arrange. Callbacks come on the pipeline's own threads.
class Pipeline {
 public:
  // Performs nothing more; waits for the operation that is running.
  virtual ~Pipeline() = default;

  // Sizes the state for `layout`: masters, optimizer state, momentum, all zero. Once for the first
  // job; again only for another layout before any state counts. Waits for what is queued, so not
  // from within an event. Errors: RESOURCE_EXHAUSTED with the bytes needed when there is not enough
  // memory; then there is no state until the next call, and only Then() may be queued.
  virtual absl::Status Configure(const Layout& layout) = 0;
  virtual const Buckets& buckets() const = 0;
  virtual uint64_t state_bytes() const = 0;  // of a StateImage

  // Masters and constants become those of the job's rank 0.
  virtual void Adopt(std::shared_ptr<JobSession> job) = 0;
  // Every rank's buffers become the masters and constants; gradients zero. What way another job
  // has gone is forgotten.
  virtual void Load(std::shared_ptr<JobSession> job) = 0;
  // Reduce-scatter of the job's gradients of `bucket`, or of how far it has gone (ExchangeSource),
  // finite check, momentum update; with `extract` also selection, subtraction and OnPart.
  virtual void Process(std::shared_ptr<JobSession> job, Round round, BucketIndex bucket,
                       bool extract, StepIntake intake) = 0;
  // Applies `update` to the masters and settles what was taken for its (round, bucket); what it
  // says of the formats of coming rounds holds for what is queued after it. Gathers
  // the bucket into the job's parameters, its way added, if `gather_to` is set.
  virtual void Apply(std::shared_ptr<const ReceivedUpdate> update, Credit credit,
                     std::shared_ptr<JobSession> gather_to) = 0;
  virtual void Gather(BucketIndex bucket, std::shared_ptr<JobSession> job, Gathering how) = 0;
  // Of a job that is gone: nothing holds on to its buffers once this has been done.
  virtual void Release() = 0;
  // Copies the state as of this point.
  virtual void Snapshot(std::function<void(StateImage)> done) = 0;
  // Masters, optimizer state and constants become those of `image` (of state_bytes()).
  virtual void Install(std::shared_ptr<const StateImage> image, InstalledAs as) = 0;
  // The hash of every bucket's masters (P22: logical elements only) as of this point; they add up
  // to the state hash.
  virtual void Hash(std::function<void(std::vector<uint64_t>)> done) = 0;
  // Calls `done` once everything queued before has been done at all ranks.
  virtual void Then(std::function<void()> done) = 0;

  // Seconds that this daemon's ranks have been busy with operations since the last call (the
  // largest over ranks).
  virtual double TakeBusySeconds() = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_PIPELINE_H_
