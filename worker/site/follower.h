// The daemon of a machine that follows: its ranks do what the leader's do, its part of the job is
// joined with the leader's. It knows nothing of the coordinator.
#ifndef ISTHMUS_WORKER_SITE_FOLLOWER_H_
#define ISTHMUS_WORKER_SITE_FOLLOWER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "isthmus/v1/site.pb.h"
#include "worker/jobs/job_server.h"
#include "worker/rpc/site_client.h"
#include "worker/site/led_pipeline.h"

namespace isthmus {

// Thread-safe.
class Follower : JobEvents {
 public:
  struct Options {
    std::string leader;  // HOST:PORT
    Credentials credentials = Credentials::Insecure();
    uint32_t machine = 1;  // of the site; the leader is 0
    uint32_t ranks = 1;
    // What ranks are made of, `ranks` of them, for each run anew.
    std::function<std::unique_ptr<LocalRanks>()> make_ranks;
    JobServer::Options jobs;
    absl::Duration retry = absl::Milliseconds(300);  // between two attempts to join
    const Clock* clock = &Clock::Real();
  };
  // Listens for this machine's ranks and starts looking for the leader. When the leader goes, ranks
  // and job end, and it looks for the next. Errors: those of JobServer::Start.
  static absl::StatusOr<std::unique_ptr<Follower>> Start(Options options);
  ~Follower() override { Stop(); }

  // Set once it has ended by itself: OK, the run has ended and this machine's job has left; or why
  // the leader will not have it.
  std::optional<absl::Status> Ended();
  // Blocks until all is down. One thread calls it.
  void Stop();

 private:
  explicit Follower(Options options)
      : options_(std::move(options)),
        pipeline_({options_.jobs.name, options_.ranks, options_.make_ranks},
                  [this](auto fill) { Send(std::move(fill)); }) {}
  void OnAttached(std::shared_ptr<JobSession> session) override;
  void OnStep(uint64_t session_id, std::vector<RankStep> steps) override;
  void OnLost(uint64_t session_id, const std::string& reason) override;

  void Run();
  absl::Status FollowOnce();
  // True if there was one that had accepted this machine.
  bool LeaveLeader(const absl::Status& status);
  absl::Status Handle(v1::LeaderMessage& message);
  absl::Status HandleAccepted(const v1::Accepted& message);
  absl::Status HandleJob(const v1::LeaderMessage& message);
  void TellAttached(const std::shared_ptr<JobSession>& session) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // To the leader, if there is one.
  void Send(std::function<void(v1::FollowerMessage*)> fill);

  const Options options_;
  std::unique_ptr<JobServer> jobs_;

  // Of the thread that follows, while a leader is there.
  uint32_t first_rank_ = 0;
  uint32_t group_ranks_ = 0;
  absl::Time said_waiting_ = absl::InfinitePast();

  Mutex mu_;
  CondVar changed_;
  std::shared_ptr<SiteClient> client_ ABSL_GUARDED_BY(mu_);  // while following
  bool accepted_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<JobSession> job_ ABSL_GUARDED_BY(mu_);
  // By our number: those that the leader has been told of and may still bind, though they be gone.
  std::map<uint64_t, std::shared_ptr<JobSession>> told_ ABSL_GUARDED_BY(mu_);
  bool run_over_ ABSL_GUARDED_BY(mu_) = false;  // the leader said so
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> ended_ ABSL_GUARDED_BY(mu_);
  LedPipeline pipeline_;  // its ranks use what is above
  std::thread thread_;    // last: it uses everything above
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_SITE_FOLLOWER_H_
