// A pipeline whose ranks are on several machines: this machine's by a LocalPipeline, the others' by
// their daemons, which are sent the same operations in the same order.
#ifndef ISTHMUS_WORKER_SITE_SITE_PIPELINE_H_
#define ISTHMUS_WORKER_SITE_SITE_PIPELINE_H_

#include <absl/status/status.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "isthmus/v1/site.pb.h"
#include "worker/site/followers.h"
#include "worker/site/state_runs.h"
#include "worker/step/local_pipeline.h"

namespace isthmus {

// Jobs are those of SiteJobs: this machine's part of the group's session. Callbacks come on rank
// threads or on those that read from followers.
class SitePipeline : public Pipeline {
 public:
  // `set_up` ascends from one to the next. `followers` and `events` outlive it.
  SitePipeline(uint64_t set_up, LocalPipeline::Options options, Followers* followers,
               PipelineEvents* events);

  // What a follower says in answer; messages of another set-up are passed over. Errors are the
  // follower's.
  absl::Status OnMessage(uint32_t machine, v1::FollowerMessage& message);
  // A machine is gone, or the leader is leaving: what waits for followers ends with `reason`, and
  // nothing works any more. Callable from any thread.
  void Lost(const absl::Status& reason);

  absl::Status Configure(const Layout& layout) override;
  const Buckets& buckets() const override { return local_.buckets(); }
  uint64_t state_bytes() const override { return local_.state_bytes(); }
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
  double TakeBusySeconds() override { return local_.TakeBusySeconds(); }

 private:
  // What every machine has yet to answer; bounded by what the engine queues.
  struct Pending {
    uint32_t machines = 0;  // that have not
    std::function<void(Pending&)> done;
    absl::Status status;           // the first error
    std::vector<uint64_t> hashes;  // summed
    std::string image;
  };
  // Of a number that machines will answer.
  uint64_t Expect(Pending pending);
  // `take(pending)` keeps what `machine` says; with `last` it has answered. INVALID_ARGUMENT for a
  // number that nobody asked with, or what `take` says.
  absl::Status Answer(uint64_t request, bool last,
                      const std::function<absl::Status(Pending&)>& take);
  uint32_t vectors() const {
    return static_cast<uint32_t>(1 + OptimizerStateVectors(run_.optimizer));
  }
  // Of the constants, in an image.
  uint64_t constants_offset() const { return vectors() * buckets().length() * sizeof(float); }
  std::vector<ImageRun> RunsOfMachine(uint32_t machine) const;

  const uint64_t set_up_;
  const RunSpec run_;
  const Member self_;
  Followers* const followers_;
  PipelineEvents* const events_;
  Mutex mu_;
  CondVar changed_;
  uint64_t requests_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<uint64_t, Pending> pending_ ABSL_GUARDED_BY(mu_);
  absl::Status lost_ ABSL_GUARDED_BY(mu_);
  std::atomic<uint32_t> bucket_count_ = 0;  // 0: not configured
  LocalPipeline local_;                     // last: its threads use everything above
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_SITE_SITE_PIPELINE_H_
