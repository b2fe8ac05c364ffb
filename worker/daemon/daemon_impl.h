// The daemon's class, shared by the files that implement it: daemon.cc (start, stop, the two
// threads), daemon_events.cc (what is heard, into the cores), daemon_actions.cc (what the worker's
// core decides) and daemon_connection.cc (what the connection's core decides).
//
// Four kinds of threads meet here. gRPC's, the job server's and the pipeline's bring events: they
// step a core under mu_ and go on at once. The control thread performs what the connection's core
// decides, and blocks in calls. The performing thread does what the worker's core decides, in that
// order; it alone makes a run's pipeline and has it allocate, which can take long and wait for
// other machines. mu_ is held only to step the cores and to look up what belongs to a decision,
// never while anything is performed.
#ifndef ISTHMUS_WORKER_DAEMON_DAEMON_IMPL_H_
#define ISTHMUS_WORKER_DAEMON_DAEMON_IMPL_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <variant>

#include "common/base/mutex.h"
#include "common/exchange/snapshot.h"
#include "worker/core/connection_core.h"
#include "worker/core/worker_core.h"
#include "worker/daemon/daemon.h"
#include "worker/daemon/outbox.h"
#include "worker/daemon/state_copy.h"
#include "worker/daemon/step_times.h"
#include "worker/daemon/task_thread.h"
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
  using Job = std::shared_ptr<JobSession>;
  // An action with the job and the run that it is about: both come and go while actions wait.
  struct Bound {
    WorkerAction action;
    Job job;
    uint64_t run = 0;
  };
  using Task = std::variant<Bound, std::function<void()>>;

  // --- events (daemon_events.cc) ---------------------------------------------------------------
  void OnSiteWhole(uint32_t ranks);  // all machines of the group are there
  void OnAttached(std::shared_ptr<JobSession> session) override;
  void OnStep(uint64_t session_id, std::vector<RankStep> steps) override;
  void OnLost(uint64_t session_id, const std::string& reason) override;
  void OnPart(ContributionPart part) override;
  void OnNonFinite(Round round, BucketIndex bucket) override;
  void OnFailure(const absl::Status& status) override;
  absl::Status OnWelcome(uint64_t stream, Sequence next) override;
  void OnStart(uint64_t stream, uint32_t group_index, uint32_t group_count) override;
  absl::Duration JobWaited(absl::Duration peer_wait) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status OnUpdate(uint64_t stream, ReceivedUpdate update, absl::Duration peer_wait) override;
  void OnDue(uint64_t stream, Round round) override;
  void OnClosed(uint64_t stream, Round round, BucketIndex bucket) override;
  void OnRefused(uint64_t stream, Round round, BucketIndex bucket,
                 const std::string& reason) override;
  absl::Status OnSnapshotRequest(uint64_t stream, TransferId transfer, Sequence at_least) override;
  void OnSnapshotOffer(uint64_t stream, TransferId transfer) override;
  absl::Status OnSnapshotPiece(uint64_t stream, SnapshotPiece piece) override;
  void OnSnapshotAborted(uint64_t stream, TransferId transfer) override;
  void OnStreamEnd(uint64_t stream, const absl::Status& status) override;

  // Calls `step(core, actions)`, which may return a status, and queues what the core decided.
  // Nothing before a run is set up.
  template <typename F>
  absl::Status Step(F step);
  // The same for what `stream` brought; nothing if it is not the newest. An error is this worker's
  // about the coordinator, and will end the stream.
  template <typename F>
  absl::Status StepStream(uint64_t stream, F step);
  void Queue(WorkerActions actions, const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  ContributionInfo Gather(const std::vector<RankStep>& steps) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // --- the performing thread (daemon_actions.cc) -----------------------------------------------
  void Perform(Task& task);
  void Do(const AnnounceReady&, const Job& job);
  void Do(const AnnounceNotReady& lost, const Job& job);
  void Do(const SendHello& hello, const Job& job);
  void Do(const SendAbstain& abstain, const Job& job);
  void Do(const StopSending& stop, const Job& job);
  void Do(const ForgetAnswer& forget, const Job& job);
  void Do(const ResendAnswers&, const Job& job);
  void Do(const SendCaughtUp& caught_up, const Job& job);
  void Do(const AdoptJobParameters&, const Job& job);
  void Do(const LoadJob&, const Job& job);
  void Do(const ProcessBucket& process, const Job& job);
  void Do(const ApplyUpdate& apply, const Job& job);
  void Do(const GatherBucket& gather, const Job& job);
  void Do(const GiveSnapshot& give, const Job& job);
  void Do(const InstallSnapshot& install, const Job& job);
  void Do(const ReportHash& report, const Job& job);
  void Do(const FinishAttach& attach, const Job& job);
  void Do(const FinishStep& finish, const Job& job);
  void Do(const FailStep& fail, const Job& job);
  void Do(const NameStep&, const Job& job);
  void MakeRun(const ControlClient::Registration& registration);
  void AttachJob(Job session);
  absl::Status CheckOptimizer(const JobSession& session);
  absl::Status ConfigureFor(const Job& session);
  void ReleaseJob();
  std::shared_ptr<ExchangeClient> Stream();
  // Begins a copy of the state as of this point.
  std::shared_ptr<StateCopy> CopyState();
  // Calls `done` with the state as of this point, which may have been copied already.
  void TakeState(std::function<void(StateCopy::State)> done);
  // Says what this group holds of the state that `transfer` will bring; with `copy` that is what
  // the pipeline has.
  void TellHeld(uint64_t stream, TransferId transfer, bool copy);
  // From the pipeline's threads.
  void Hashed(const ReportHash& report, std::vector<uint64_t> bucket_hashes);
  void StepFinished(uint64_t session_id, const FinishStep& finish);

  // --- the control thread (daemon_connection.cc) -----------------------------------------------
  void ControlLoop();
  // Steps the connection's core with `event(core, now, actions)`, then performs what it decided.
  // Any thread: what follows from events other than time and answered calls does not block.
  template <typename F>
  void StepConnection(F event);
  void Perform(const ConnectionActions& actions);
  void Do(const SayWaitingForSite&);
  void Do(const CallRegister& call);
  void Do(const CallAnnounce& call);
  void Do(const CallHeartbeat&);
  void Do(const CallLeave& call);
  void Do(const SetUpRun&);
  void Do(const OpenStream& open);
  void Do(const RefuseJob& refuse);
  void Do(const EndDaemon& end);
  void Do(const SayTrouble& say);
  void Do(const SayBetter& say);
  void CallAnswered(const absl::Status& status);
  void TellJob(const Ending& ending);
  bool RunIsOver() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  WorkerReport MakeReport() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  WorkPhase Phase() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // That all ranks have seen, of a job with an optimizer of its own; 0 of others.
  static uint64_t SamplesOf(JobSession* job);
  // In words, for its ranks; `run_waits_for` is what the coordinator says. Empty: nothing.
  std::string JobWaitsFor(const std::string& run_waits_for) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  ControlClient::Self self();

  const Options options_;
  const std::string name_;  // of the group, for messages: "group 3"
  const Clock& clock_;
  std::shared_ptr<grpc::Channel> stream_channel_;
  std::unique_ptr<ControlClient> control_;
  std::unique_ptr<SiteLeader> site_;     // of a group on several machines
  std::unique_ptr<JobServer> own_jobs_;  // of one on this machine alone
  JobServer* jobs_ = nullptr;            // of either

  Mutex mu_;
  CondVar wake_;  // of the control thread, and of who waits for streams to end
  ConnectionCore connection_ ABSL_GUARDED_BY(mu_);
  std::optional<WorkerCore> core_ ABSL_GUARDED_BY(mu_);  // of the run that is set up
  uint64_t run_ ABSL_GUARDED_BY(mu_) = 0;                // counts those
  std::optional<ControlClient::Registration> registration_ ABSL_GUARDED_BY(mu_);
  uint32_t ranks_ ABSL_GUARDED_BY(mu_) = 0;  // of the group; 0 until all its machines are there

  // The job, and what the pipeline was made for.
  Job job_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, Job> announced_ ABSL_GUARDED_BY(mu_);  // by change, until answered
  std::optional<Layout> layout_ ABSL_GUARDED_BY(mu_);       // of the pipeline's state
  uint64_t state_bytes_ ABSL_GUARDED_BY(mu_) = 0;           // of an image of it

  // What belongs to decisions that are still to be performed, or may be needed again.
  Outbox outbox_ ABSL_GUARDED_BY(mu_);
  ContributionInfo step_info_ ABSL_GUARDED_BY(mu_);       // of the step that was taken in last
  std::vector<float> rank_weights_ ABSL_GUARDED_BY(mu_);  // of its ranks; StepIntake
  std::map<Round, ContributionInfo> infos_ ABSL_GUARDED_BY(mu_);
  std::map<Sequence, std::shared_ptr<const ReceivedUpdate>> received_ ABSL_GUARDED_BY(mu_);
  IncomingSnapshot incoming_ ABSL_GUARDED_BY(mu_);
  std::map<TransferId, std::shared_ptr<const StateImage>> images_ ABSL_GUARDED_BY(mu_);

  // The newest stream, once it has been made, until it ends. Its events may come before.
  std::shared_ptr<ExchangeClient> stream_ ABSL_GUARDED_BY(mu_);
  uint32_t open_streams_ ABSL_GUARDED_BY(mu_) = 0;  // whose end is still to come
  // The stream that this worker itself would not go on with.
  uint64_t complained_ ABSL_GUARDED_BY(mu_) = 0;

  // For status.
  absl::Time step_began_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  absl::Time step_ended_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  StepTime begun_ ABSL_GUARDED_BY(mu_);  // of exchanges that a job has begun, and gone on from
  StepTimes times_ ABSL_GUARDED_BY(mu_);
  uint64_t steps_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t exchanged_at_ ABSL_GUARDED_BY(mu_) = 0;  // the step of the job that has one of its own
  uint64_t samples_ ABSL_GUARDED_BY(mu_) = 0;       // of jobs that are gone
  uint64_t nonfinite_losses_ ABSL_GUARDED_BY(mu_) = 0;
  Round hash_round_ ABSL_GUARDED_BY(mu_);
  uint64_t hash_ ABSL_GUARDED_BY(mu_) = 0;
  Round reported_round_ ABSL_GUARDED_BY(mu_);  // of the last hash that the coordinator has

  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<Ending> ending_ ABSL_GUARDED_BY(mu_);
  std::thread control_thread_;
  // Before the pipeline: what that still says while it ends is queued, and never performed.
  TaskThread<Task> tasks_;
  // The performing thread's alone, apart from the pipeline's own threads.
  std::unique_ptr<Pipeline> pipeline_;
  // Also the performing thread's alone: the state that a job begins with. Whether this group gives
  // it or gets another, it is asked for when a run starts, while a link waits: so it is copied
  // before. None once the state changes, or the run has begun without anybody asking.
  std::shared_ptr<StateCopy> first_state_;
};

// --- implementation ----------------------------------------------------------------------------

template <typename F>
absl::Status DaemonImpl::Step(F step) {
  MutexLock lock(&mu_);
  if (!core_) return absl::OkStatus();
  WorkerActions actions;
  absl::Status status = step(*core_, actions);
  Queue(std::move(actions), job_);
  return status;
}

template <typename F>
absl::Status DaemonImpl::StepStream(uint64_t stream, F step) {
  return Step([&](WorkerCore& core, WorkerActions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (stream != connection_.stream()) return absl::OkStatus();
    connection_.StreamHeard(stream, clock_.Now());
    absl::Status status = step(core, out);
    if (!status.ok()) complained_ = stream;
    return status;
  });
}

template <typename F>
void DaemonImpl::StepConnection(F event) {
  ConnectionActions actions;
  {
    MutexLock lock(&mu_);
    event(connection_, clock_.Now(), actions);
    wake_.NotifyAll();
  }
  Perform(actions);
}

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_DAEMON_DAEMON_IMPL_H_
