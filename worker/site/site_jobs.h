// The job of a group that spans several machines, as its leader's engine sees it: one server, one
// session of all ranks. SiteCore decides; this performs.
#ifndef ISTHMUS_WORKER_SITE_SITE_JOBS_H_
#define ISTHMUS_WORKER_SITE_SITE_JOBS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/base/mutex.h"
#include "isthmus/v1/site.pb.h"
#include "worker/jobs/job_server.h"
#include "worker/site/followers.h"
#include "worker/site/site_core.h"

namespace isthmus {

// The session that the engine gets is the leader's own: ranks() of this machine. OnStep's steps are
// of all ranks of the group. Thread-safe.
class SiteJobs : public JobServer, JobEvents {
 public:
  // `events` outlives it; they come on a thread of their own, so that the engine may wait for
  // followers there. Until Open() machines only attach. `options` are of this machine's server;
  // `group` is the group's name, for messages.
  SiteJobs(Options options, std::string group, JobEvents* events);
  ~SiteJobs() override { Stop(); }
  // Listens for this machine's ranks. Errors: those of JobServer::Start.
  absl::Status Listen();
  // All machines are there. `followers` outlives it.
  void Open(Followers* followers);

  // What a follower's job does; nothing before Open(). Errors are the follower's.
  absl::Status OnMessage(uint32_t machine, const v1::FollowerMessage& message);

  void FinishAttach(uint64_t session_id, absl::StatusOr<AttachReply> reply) override;
  void FinishStep(uint64_t session_id, absl::StatusOr<StepReply> reply) override;
  void NameStep(uint64_t) override {}  // jobs of several machines do not step by themselves
  void SetWaiting(const std::string& what) override;
  void EndSession(const absl::Status& status) override;
  void EndSession(uint64_t session_id, const absl::Status& status) override;
  void Stop() override;

 private:
  void OnAttached(std::shared_ptr<JobSession> session) override;
  void OnStep(uint64_t session_id, std::vector<RankStep> steps) override;
  void OnLost(uint64_t session_id, const std::string& reason) override;

  // `step(core)` gives actions, which are queued. Nothing before Open().
  template <typename F>
  void Step(F step);
  void Queue(SiteCore::Actions actions) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Run();
  void Perform(BindSession&& action);
  void Perform(AnswerAttach&& action);
  void Perform(AnswerStep&& action);
  void Perform(EndPart&& action);
  void Perform(SiteAttached&& action);
  void Perform(SiteStepped&& action);
  void Perform(SiteLost&& action);

  const Options options_;
  const std::string group_;
  JobEvents* const events_;
  Mutex mu_;
  CondVar changed_;
  Followers* followers_ = nullptr;  // set once, under mu_, before there are actions
  std::unique_ptr<SiteCore> core_ ABSL_GUARDED_BY(mu_);   // from Open() on
  std::shared_ptr<JobSession> own_ ABSL_GUARDED_BY(mu_);  // this machine's part
  std::deque<SiteAction> actions_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t told_ = 0;  // the session that the engine knows; of the thread that performs
  std::unique_ptr<JobServer> server_;  // this machine's
  std::thread thread_;                 // last: it uses everything above
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_SITE_SITE_JOBS_H_
