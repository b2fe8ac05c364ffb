// The daemon's class, shared by the files that implement it: daemon.cc (events), daemon_actions.cc
// (what follows from them) and control_loop.cc (the thread that registers, announces, reconnects
// and reports).
#ifndef ISTHMUS_WORKER_DAEMON_DAEMON_IMPL_H_
#define ISTHMUS_WORKER_DAEMON_DAEMON_IMPL_H_

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <variant>

#include "common/base/in_order.h"
#include "common/base/mutex.h"
#include "common/base/rng.h"
#include "common/exchange/snapshot.h"
#include "worker/core/worker_core.h"
#include "worker/daemon/daemon.h"
#include "worker/daemon/outbox.h"
#include "worker/daemon/step_times.h"
#include "worker/jobs/job_server.h"
#include "worker/rpc/control_client.h"
#include "worker/rpc/exchange_client.h"
#include "worker/site/site_leader.h"
#include "worker/step/pipeline.h"

namespace isthmus {

class DaemonImpl : public Daemon, JobEvents, PipelineEvents, StreamEvents {
 public:
  DaemonImpl(Options options, const Clock& clock);
  ~DaemonImpl() override { Stop(); }
  absl::Status Listen();

  bool Ended() override;
  Ending ending() override;
  void Stop() override;
  int site_port() const override { return site_ == nullptr ? 0 : site_->port(); }

 private:
  // An action with the job that it is about: sessions come and go while actions wait.
  struct Bound {
    WorkerAction action;
    std::shared_ptr<JobSession> job;
  };
  using Task = std::variant<Bound, std::function<void()>>;

  struct Announcement {
    bool ready = false;
    uint64_t change = 0;
    std::string reason;
    std::shared_ptr<JobSession> job;  // ready: whose layout
  };

  // --- events ----------------------------------------------------------------------------------
  void OnAttached(std::shared_ptr<JobSession> session) override;
  void OnStep(uint64_t session_id, std::vector<RankStep> steps) override;
  void OnLost(uint64_t session_id, const std::string& reason) override;
  void OnPart(ContributionPart part) override;
  void OnNonFinite(Round round, BucketIndex bucket) override;
  void OnFailure(const absl::Status& status) override;
  absl::Status OnWelcome(uint64_t stream, Sequence next) override;
  void OnStart(uint64_t stream, uint32_t group_index, uint32_t group_count) override;
  absl::Status OnUpdate(uint64_t stream, ReceivedUpdate update, absl::Duration peer_wait) override;
  void OnClosed(uint64_t stream, Round round, BucketIndex bucket) override;
  absl::Status OnSnapshotRequest(uint64_t stream, TransferId transfer, Sequence at_least) override;
  void OnSnapshotOffer(uint64_t stream, TransferId transfer) override;
  absl::Status OnSnapshotPiece(uint64_t stream, SnapshotPiece piece) override;
  void OnSnapshotAborted(uint64_t stream, TransferId transfer) override;
  void OnStreamEnd(uint64_t stream, const absl::Status& status) override;

  // All machines of the group are there.
  void OnSiteWhole(uint32_t ranks);
  // Steps the core under the lock, then performs what is queued. `step(core, actions)` may return
  // a status. Does nothing before the core exists.
  template <typename F>
  absl::Status Step(F step);
  void Drain();
  void Perform(const Bound& task);
  void AttachJob(std::shared_ptr<JobSession> session);
  void GiveJob(const GiveSnapshot& give);
  void Hashed(const ReportHash& report, std::vector<uint64_t> bucket_hashes);
  // Says what this group holds of the state that `transfer` will bring.
  void TellHeld(uint64_t stream, TransferId transfer);
  void LeaveStream(uint64_t stream, const absl::Status& status);
  void StepFinished(uint64_t session_id, const FinishStep& finish);
  void RefuseJob(const Ending& ending);
  void End(DaemonExit code, const std::string& reason);
  void QueueAnnouncement(Announcement announcement);

  // --- the control thread ----------------------------------------------------------------------
  void ControlLoop();
  void TryRegister();
  void SetUpRun(const ControlClient::Registration& registration);
  void TryAnnounce();
  void Connect();
  void SendHeartbeat();
  void HandleControlError(const char* call, const absl::Status& status);
  void SayWaiting(const std::string& why);
  void SayWaitingForSite();
  absl::Time NextDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool RunIsOver() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  WorkerReport MakeReport() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  ControlClient::Self self() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  const Clock& clock_;
  std::shared_ptr<grpc::Channel> stream_channel_;
  std::unique_ptr<ControlClient> control_;
  std::unique_ptr<SiteLeader> site_;     // of a group on several machines
  std::unique_ptr<JobServer> own_jobs_;  // of one on this machine alone
  JobServer* jobs_ = nullptr;            // of either
  InOrder<Task> tasks_;

  Mutex mu_;
  CondVar wake_;
  Rng rng_ ABSL_GUARDED_BY(mu_);
  uint32_t ranks_ ABSL_GUARDED_BY(mu_) = 0;  // of the group; 0 until all its machines are there
  std::optional<WorkerCore> core_ ABSL_GUARDED_BY(mu_);
  std::optional<ControlClient::Registration> registration_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<JobSession> job_ ABSL_GUARDED_BY(mu_);
  uint32_t parameter_groups_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<Layout> layout_ ABSL_GUARDED_BY(mu_);  // of the pipeline's state
  Outbox outbox_ ABSL_GUARDED_BY(mu_);
  std::map<Round, ContributionInfo> infos_ ABSL_GUARDED_BY(mu_);
  std::map<Sequence, std::shared_ptr<const ReceivedUpdate>> received_ ABSL_GUARDED_BY(mu_);
  IncomingSnapshot incoming_ ABSL_GUARDED_BY(mu_);
  std::map<TransferId, std::shared_ptr<const StateImage>> images_ ABSL_GUARDED_BY(mu_);

  std::shared_ptr<ExchangeClient> stream_ ABSL_GUARDED_BY(mu_);
  uint64_t stream_number_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t open_streams_ ABSL_GUARDED_BY(mu_) = 0;
  bool connecting_ ABSL_GUARDED_BY(mu_) = false;
  absl::Time connect_at_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  uint32_t connect_failures_ ABSL_GUARDED_BY(mu_) = 0;

  bool need_register_ ABSL_GUARDED_BY(mu_) = true;
  bool setting_up_ ABSL_GUARDED_BY(mu_) = false;  // SetUpRun is on its way
  absl::Time retry_at_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  absl::Time heartbeat_at_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  absl::Time last_contact_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  absl::Time said_waiting_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  std::deque<Announcement> announcements_ ABSL_GUARDED_BY(mu_);
  uint64_t changes_ ABSL_GUARDED_BY(mu_) = 0;

  absl::Time step_began_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  absl::Time step_ended_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  StepTimes times_ ABSL_GUARDED_BY(mu_);
  uint64_t steps_ ABSL_GUARDED_BY(mu_) = 0;
  Round hash_round_ ABSL_GUARDED_BY(mu_);
  uint64_t hash_ ABSL_GUARDED_BY(mu_) = 0;
  Round reported_round_ ABSL_GUARDED_BY(mu_);  // of the last hash that the coordinator has

  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<Ending> ending_ ABSL_GUARDED_BY(mu_);
  std::thread control_thread_;
  // Replaced only by SetUpRun, in order with actions. Last: its threads use everything above.
  std::unique_ptr<Pipeline> pipeline_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_DAEMON_DAEMON_IMPL_H_
