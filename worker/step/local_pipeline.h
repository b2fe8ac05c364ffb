// A pipeline of the ranks of one daemon: a thread for each. They are the whole group, or its part
// in this daemon; the others' daemons then must be given the same operations in the same order.
#ifndef ISTHMUS_WORKER_STEP_LOCAL_PIPELINE_H_
#define ISTHMUS_WORKER_STEP_LOCAL_PIPELINE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/run/run_spec.h"
#include "common/tensor/ownership.h"
#include "worker/step/pipeline.h"
#include "worker/step/rank_state.h"

namespace isthmus {

class LocalPipeline : public Pipeline {
 public:
  struct Options {
    std::unique_ptr<LocalRanks> ranks;
    Member self;  // whose own contributions updates may leave out
    RunSpec run;
    // Who owns what of the buckets, in a group of `ranks`; the same at every daemon of a group.
    std::function<Ownership(const Buckets& buckets, uint32_t ranks)> own = Ownership::InEqualParts;
  };
  // Starts the rank threads. `events` must outlive the pipeline.
  LocalPipeline(Options options, PipelineEvents* events);
  ~LocalPipeline() override;

  // All ranks of the group are this daemon's.
  absl::Status Configure(const Layout& layout) override;
  const Buckets& buckets() const override { return ownership().buckets(); }
  const Ownership& ownership() const;
  uint64_t state_bytes() const override;
  void Adopt(std::shared_ptr<JobSession> job) override;
  void Load(std::shared_ptr<JobSession> job) override;
  void Process(std::shared_ptr<JobSession> job, Round round, BucketIndex bucket, bool extract,
               StepIntake intake) override;
  void Apply(std::shared_ptr<const ReceivedUpdate> update, Credit credit,
             std::shared_ptr<JobSession> gather_to) override;
  void Gather(BucketIndex bucket, std::shared_ptr<JobSession> job, Gathering how) override;
  void Release() override;
  void Snapshot(std::function<void(StateImage)> done) override;
  void Install(std::shared_ptr<const StateImage> image, InstalledAs as) override;
  void Hash(std::function<void(std::vector<uint64_t>)> done) override;
  void Then(std::function<void()> done) override;
  double TakeBusySeconds() override;

  // --- one part of a group -----------------------------------------------------------------------
  // Configure(), and also blocks until the group's other ranks have come. Then an image has zeros
  // wherever others own it, of an image only what these ranks own is installed, hashes are of what
  // they own, and OnNonFinite comes at every daemon.
  absl::Status ConfigurePart(const Layout& layout, const GroupPlace& place);
  // As LocalRanks::Invite().
  absl::StatusOr<std::string> Invite();
  // Adopt(), with the constants of a rank 0 that is another daemon's: constants_bytes() of the
  // layout.
  void AdoptWith(std::shared_ptr<JobSession> job, std::string constants);
  // Ends collectives and ConfigurePart() with ABORTED(reason): a daemon of the group is lost.
  // Nothing works after it. Callable from any thread.
  void Abort(const absl::Status& reason);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_LOCAL_PIPELINE_H_
