// The arithmetic of a machine that follows: a pipeline of its own ranks, which does what the
// leader's messages say.
#ifndef ISTHMUS_WORKER_SITE_LED_PIPELINE_H_
#define ISTHMUS_WORKER_SITE_LED_PIPELINE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "common/base/mutex.h"
#include "isthmus/v1/site.pb.h"
#include "worker/jobs/job_server.h"
#include "worker/step/local_pipeline.h"

namespace isthmus {

// Used by the thread that follows, but for Abort(). Why a message cannot be followed is the
// leader's fault: INTERNAL for one out of order, INVALID_ARGUMENT for what it names; then the
// stream ends.
class LedPipeline : PipelineEvents {
 public:
  struct Options {
    std::string name;  // for the log
    uint32_t ranks = 1;
    // What ranks are made of, for each run anew.
    std::function<std::unique_ptr<LocalRanks>()> make_ranks;
  };
  // To the leader, if there is one; from any thread.
  using Send = std::function<void(std::function<void(v1::FollowerMessage*)> fill)>;

  LedPipeline(Options options, Send send);
  ~LedPipeline() override;

  // This machine's ranks are the group's from `first_rank` on, of `ranks`.
  void Accepted(uint32_t first_rank, uint32_t ranks);

  // The leader's number for a session of this machine's job; it may be used until Release, even if
  // the job is gone.
  void Bind(uint64_t leader_session, std::shared_ptr<JobSession> session);
  // Nothing new is asked of it.
  void SessionOver(uint64_t session);

  // One of the messages from SetUp on. Waits where the one before has to be over.
  absl::Status Perform(v1::LeaderMessage& message);

  // The leader is gone: forgets all that it has set up, and its sessions. Blocks until ranks have
  // ended what they are at.
  void Drop(const absl::Status& reason);
  // Ranks end what they wait for, and nothing that is set up from now on works. Callable from any
  // thread.
  void Abort(const absl::Status& reason);

 private:
  struct Bound {
    std::shared_ptr<JobSession> session;
    bool over = false;
  };

  void OnPart(ContributionPart part) override;
  // Every machine finds the same, and the leader's says so.
  void OnNonFinite(Round /*round*/, BucketIndex /*bucket*/) override {}
  void OnFailure(const absl::Status& status) override;

  void DropPipeline(const absl::Status& reason);
  absl::Status SetUp(const v1::SetUp& message);
  absl::Status Configure(const v1::Configure& message);
  absl::Status Then(const v1::Request& message);
  absl::Status Release();
  // Those that need a state.
  absl::Status Operate(v1::LeaderMessage& message);
  absl::Status Adopt(v1::AdoptParameters& message);
  absl::Status Load(const v1::JobOperation& message);
  absl::Status Process(const v1::ProcessOperation& message);
  absl::Status Apply(v1::ApplyOperation& message);
  // Errors: INVALID_ARGUMENT for formats that cannot follow.
  absl::Status TakeChange(const FormatChange& change);
  absl::Status Gather(const v1::JobOperation& message);
  absl::Status Snapshot(const v1::Request& message);
  absl::Status TakeState(const v1::StatePiece& message);
  absl::Status Install(const v1::InstallState& message);
  absl::Status Hash(const v1::Request& message);

  void AwaitConfigured();
  absl::StatusOr<std::shared_ptr<JobSession>> SessionOf(uint64_t leader_session) const;
  absl::Status CheckBucket(uint32_t bucket) const;
  // A message of the present set-up: who answers late is not taken for an answer to the next.
  void Answer(std::function<void(v1::FollowerMessage*)> fill);

  const Options options_;
  const Send send_;
  uint32_t first_rank_ = 0;
  uint32_t group_ranks_ = 0;
  RunSpec run_;
  RoundFormats formats_{RunSpec()};     // of its rounds
  std::map<uint64_t, Bound> sessions_;  // by the leader's number
  StateImage incoming_;                 // pieces of a state to install
  std::thread configuring_;  // blocks until other machines' ranks have come; the stream is read on
  bool configured_ = false;  // written by that
  std::atomic<uint64_t> set_up_ = 0;
  Mutex mu_;
  absl::Status aborted_ ABSL_GUARDED_BY(mu_);
  // Replaced by the thread that follows alone, under mu_, so that Abort() can wake its ranks.
  std::unique_ptr<LocalPipeline> pipeline_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_SITE_LED_PIPELINE_H_
