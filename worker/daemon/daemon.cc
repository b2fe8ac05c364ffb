#include "worker/daemon/daemon.h"

#include <absl/strings/str_cat.h>

#include "common/base/status_macros.h"
#include "common/telemetry/log.h"
#include "common/transport/endpoints.h"
#include "worker/daemon/daemon_impl.h"

namespace isthmus {
namespace {

std::string GroupName(GroupId group) { return absl::StrCat("group ", group.value()); }

// What the group says of a step: samples summed, loss weighted by them, rates of rank 0 (all
// ranks agree).
ContributionInfo Gather(const std::vector<RankStep>& steps, Round base_round) {
  ContributionInfo info;
  info.base_round = base_round;
  double loss = 0, plain = 0;
  for (const RankStep& step : steps) {
    info.samples += step.samples;
    loss += static_cast<double>(step.loss) * static_cast<double>(step.samples);
    plain += step.loss;
  }
  info.loss = static_cast<float>(info.samples > 0 ? loss / static_cast<double>(info.samples)
                                                  : plain / static_cast<double>(steps.size()));
  info.lr = steps.front().lr;
  info.weight_decay = steps.front().weight_decay;
  return info;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(Options options, const Clock& clock) {
  auto daemon = std::make_unique<DaemonImpl>(std::move(options), clock);
  ISTHMUS_RETURN_IF_ERROR(daemon->Listen());
  return daemon;
}

DaemonImpl::DaemonImpl(Options options, const Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      stream_channel_(MakeChannel(options_.coordinator, options_.credentials)),
      // A connection of its own: a saturated data plane must not starve the control plane.
      control_(ControlClient::Make(MakeChannel(options_.coordinator, options_.credentials),
                                   options_.call_deadline)),
      rng_(options_.nonce) {}

absl::Status DaemonImpl::Listen() {
  JobServer::Options jobs;
  jobs.socket_path = options_.socket_path;
  jobs.ranks = options_.ranks;
  jobs.name = GroupName(options_.group);
  jobs.devices = options_.devices;
  if (options_.site.machines > 1) {
    site_ = std::make_unique<SiteLeader>(
        SiteLeader::Options{.machines = options_.site.machines,
                            .ranks = options_.ranks,
                            .listen = options_.site.listen,
                            .insecure = options_.site.insecure,
                            .credentials = options_.credentials,
                            .name = GroupName(options_.group),
                            .whole = [this](uint32_t ranks) { OnSiteWhole(ranks); },
                            .lost =
                                [this](const absl::Status& reason) {
                                  End(DaemonExit::kSiteLost, std::string(reason.message()));
                                }},
        std::move(jobs), static_cast<JobEvents*>(this));
    jobs_ = &site_->jobs();
    ISTHMUS_RETURN_IF_ERROR(site_->Listen());
  } else {
    ISTHMUS_ASSIGN_OR_RETURN(own_jobs_, JobServer::Start(jobs, this));
    jobs_ = own_jobs_.get();
    OnSiteWhole(options_.ranks);
  }
  control_thread_ = std::thread([this] { ControlLoop(); });
  return absl::OkStatus();
}

void DaemonImpl::OnSiteWhole(uint32_t ranks) {
  MutexLock lock(&mu_);
  ranks_ = ranks;
  wake_.NotifyAll();
}

template <typename F>
absl::Status DaemonImpl::Step(F step) {
  absl::Status status;
  {
    MutexLock lock(&mu_);
    if (!core_) return absl::OkStatus();
    WorkerActions actions;
    status = step(*core_, actions);
    for (WorkerAction& action : actions) tasks_.Add(Bound{std::move(action), job_});
    wake_.NotifyAll();
  }
  Drain();
  return status;
}

void DaemonImpl::Drain() {
  tasks_.Drain([this](Task& task) {
    if (auto* bound = std::get_if<Bound>(&task)) {
      Perform(*bound);
    } else {
      std::get<std::function<void()>>(task)();
    }
  });
}

// --- the job -----------------------------------------------------------------------------------

void DaemonImpl::OnAttached(std::shared_ptr<JobSession> session) {
  bool registered;
  uint32_t ranks;
  std::optional<Ending> ending;
  {
    MutexLock lock(&mu_);
    ranks = ranks_;
    ending = ending_;
    job_ = session;
    registered = core_.has_value();
    if (registered) tasks_.Add(std::function<void()>([this, session] { AttachJob(session); }));
  }
  LogInfo(absl::StrCat(GroupName(options_.group), ": ", ranks, " ranks attached, ",
                       session->layout().logical_length(), " parameters"));
  if (ending) return RefuseJob(*ending);  // End() came before it
  if (registered) Drain();                // else SetUpRun attaches it
}

void DaemonImpl::AttachJob(std::shared_ptr<JobSession> session) {
  absl::Status status;
  bool keep_state;
  {
    MutexLock lock(&mu_);
    // Lost meanwhile, or attached by SetUpRun already.
    if (job_ != session || core_->job_attached()) return;
    keep_state = core_->has_state();
    if (layout_) {
      const std::string difference = layout_->DifferenceFrom(session->layout());
      if (keep_state && !difference.empty()) {
        status = absl::FailedPreconditionError(absl::StrCat(
            GroupName(options_.group), " holds the state of another layout: ", difference));
      }
      keep_state |= difference.empty();
    }
  }
  if (status.ok() && !keep_state) status = pipeline_->Configure(session->layout());
  if (!status.ok()) {
    LogError(std::string(status.message()));
    jobs_->FinishAttach(session->id(), status);
    return;
  }
  MutexLock lock(&mu_);
  layout_ = session->layout();
  parameter_groups_ = session->layout().parameter_groups();
  WorkerActions actions;
  core_->JobAttached(pipeline_->buckets().count(), actions);
  for (WorkerAction& action : actions) tasks_.Add(Bound{std::move(action), session});
}

void DaemonImpl::OnStep(uint64_t session_id, std::vector<RankStep> steps) {
  (void)Step([&](WorkerCore& core, WorkerActions& out) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (job_ == nullptr || job_->id() != session_id) return absl::OkStatus();
    step_began_ = clock_.Now();
    bool skip = false;
    for (const RankStep& step : steps) skip |= step.skip;
    infos_.clear();
    infos_[core.AppliedRound().next()] = Gather(steps, core.AppliedRound());
    core.StepBegun(skip, out);
    return absl::OkStatus();
  });
}

void DaemonImpl::OnLost(uint64_t session_id, const std::string& reason) {
  LogInfo(absl::StrCat(GroupName(options_.group), ": the job is gone: ", reason));
  const auto forget = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (job_ != nullptr && job_->id() == session_id) job_ = nullptr;
    wake_.NotifyAll();
  };
  {
    MutexLock lock(&mu_);
    if (!core_ || !core_->job_attached()) return forget();
  }
  // In one step: the core must never act for a job that is not there.
  (void)Step([&](WorkerCore& core, WorkerActions& out) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    forget();
    core.JobLost(reason, out);
    return absl::OkStatus();
  });
  // After what the core still wanted of the job.
  tasks_.Add(std::function<void()>([this] { pipeline_->Release(); }));
  Drain();
}

// --- the arithmetic ----------------------------------------------------------------------------

void DaemonImpl::OnPart(ContributionPart part) {
  std::shared_ptr<ExchangeClient> stream;
  std::shared_ptr<const OutgoingPart> out;
  {
    MutexLock lock(&mu_);
    const auto info = infos_.find(part.round);
    if (!core_ || !core_->Wanted(part.round, part.bucket) || info == infos_.end()) return;
    out = std::make_shared<OutgoingPart>(OutgoingPart{std::move(part), info->second});
    outbox_.Put(out);
    if (core_->in_sync()) stream = stream_;
  }
  if (stream != nullptr) stream->SendPart(std::move(out));
}

void DaemonImpl::OnNonFinite(Round round, BucketIndex bucket) {
  LogWarning(absl::StrCat(GroupName(options_.group), " round ", round.value(), " bucket ",
                          bucket.value(), ": NaN or Inf in the gradient, the group abstains"));
  (void)Step([&](WorkerCore& core, WorkerActions& out) {
    core.NonFinite(round, bucket, out);
    return absl::OkStatus();
  });
}

void DaemonImpl::OnFailure(const absl::Status& status) {
  End(DaemonExit::kFailure, std::string(status.message()));
}

// --- the stream --------------------------------------------------------------------------------

absl::Status DaemonImpl::OnWelcome(uint64_t stream, Sequence next) {
  return Step([&](WorkerCore& core, WorkerActions& out) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (stream != stream_number_) return absl::OkStatus();
    connect_failures_ = 0;
    last_contact_ = clock_.Now();
    if (next != Sequence(0)) incoming_.Drop();  // updates will follow, and no snapshot
    return core.Welcomed(next, out);
  });
}

void DaemonImpl::OnStart(uint64_t stream, uint32_t group_index, uint32_t group_count) {
  (void)Step([&](WorkerCore& core, WorkerActions& out) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (stream == stream_number_) core.Started(group_index, group_count, out);
    return absl::OkStatus();
  });
}

absl::Status DaemonImpl::OnUpdate(uint64_t stream, ReceivedUpdate update,
                                  absl::Duration peer_wait) {
  return Step([&](WorkerCore& core,
                  WorkerActions& out) ABSL_NO_THREAD_SAFETY_ANALYSIS -> absl::Status {
    if (stream != stream_number_) return absl::OkStatus();
    last_contact_ = clock_.Now();
    const UpdateHeader& header = update.header;
    if (!header.contributors.empty() && header.scalars.size() != parameter_groups_) {
      return absl::DataLossError(absl::StrCat("update ", header.sequence.value(), ": scalars of ",
                                              header.scalars.size(), " parameter groups, expected ",
                                              parameter_groups_));
    }
    if (header.sequence <= core.applied_sequence()) return absl::OkStatus();
    auto shared = std::make_shared<const ReceivedUpdate>(std::move(update));
    ISTHMUS_RETURN_IF_ERROR(core.UpdateArrived(shared->header, peer_wait, out));
    received_[shared->header.sequence] = shared;
    return absl::OkStatus();
  });
}

void DaemonImpl::OnClosed(uint64_t stream, Round round, BucketIndex bucket) {
  (void)Step([&](WorkerCore& core, WorkerActions& out) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (stream == stream_number_) core.ClosedArrived(round, bucket, out);
    return absl::OkStatus();
  });
}

absl::Status DaemonImpl::OnSnapshotRequest(uint64_t stream, TransferId transfer,
                                           Sequence at_least) {
  return Step([&](WorkerCore& core, WorkerActions& out) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (stream != stream_number_) return absl::OkStatus();
    return core.SnapshotAsked(transfer, at_least, out);
  });
}

void DaemonImpl::OnSnapshotOffer(uint64_t stream, TransferId transfer) {
  {
    MutexLock lock(&mu_);
    if (stream != stream_number_ || !layout_) return;
    // In its turn: what the state is made of may still be under way to the pipeline.
    tasks_.Add(std::function<void()>([this, stream, transfer] { TellHeld(stream, transfer); }));
  }
  Drain();
}

absl::Status DaemonImpl::OnSnapshotPiece(uint64_t stream, SnapshotPiece piece) {
  return Step([&](WorkerCore& core,
                  WorkerActions& out) ABSL_NO_THREAD_SAFETY_ANALYSIS -> absl::Status {
    if (stream != stream_number_ || !layout_) return absl::OkStatus();
    last_contact_ = clock_.Now();
    ISTHMUS_ASSIGN_OR_RETURN(std::optional<WholeSnapshot> whole,
                             incoming_.Add(std::move(piece), pipeline_->state_bytes()));
    if (!whole) return absl::OkStatus();
    LogInfo(absl::StrCat(GroupName(options_.group), ": the run's parameters have arrived, state ",
                         "of update ", whole->sequence.value()));
    images_[whole->transfer] = whole->image;
    return core.SnapshotArrived(whole->transfer, whole->sequence, std::move(whole->applied_rounds),
                                out);
  });
}

void DaemonImpl::OnSnapshotAborted(uint64_t stream, TransferId transfer) {
  MutexLock lock(&mu_);
  if (stream != stream_number_) return;
  incoming_.Aborted(transfer);
  core_->SnapshotAborted(transfer);
}

void DaemonImpl::OnStreamEnd(uint64_t stream, const absl::Status& status) {
  LeaveStream(stream, status);
  MutexLock lock(&mu_);
  --open_streams_;  // last: Stop() waits for it, and then this object may go
  wake_.NotifyAll();
}

void DaemonImpl::LeaveStream(uint64_t stream, const absl::Status& status) {
  {
    MutexLock lock(&mu_);
    wake_.NotifyAll();
    if (stream != stream_number_ || stopping_) return;
    if (stream_ != nullptr) stream_ = nullptr;
    connecting_ = false;
    if (core_) core_->StreamLost();
    // 100 ms, doubling to 2 s, with jitter so that groups do not return in step.
    const uint32_t doublings = std::min(connect_failures_++, 5u);
    const absl::Duration backoff =
        std::min(absl::Milliseconds(100) * (1 << doublings), absl::Seconds(2));
    connect_at_ = clock_.Now() + backoff * (0.5 + rng_.Uniform() / 2);
    if (status.code() == absl::StatusCode::kFailedPrecondition) need_register_ = true;
  }
  if (status.code() == absl::StatusCode::kAborted) {
    return End(DaemonExit::kFenced, std::string(status.message()));
  }
  LogWarning(absl::StrCat(GroupName(options_.group),
                          ": the stream ended: ", std::string(status.message())));
}

// --- the end -----------------------------------------------------------------------------------

void DaemonImpl::End(DaemonExit code, const std::string& reason) {
  {
    MutexLock lock(&mu_);
    if (ending_) return;
    ending_ = Ending{code, reason};
    stopping_ = true;
    wake_.NotifyAll();
  }
  if (code != DaemonExit::kOk) RefuseJob({code, reason});
}

void DaemonImpl::RefuseJob(const Ending& ending) {
  jobs_->EndSession(absl::AbortedError(
      absl::StrCat(GroupName(options_.group), ": the daemon ends: ", ending.reason)));
}

bool DaemonImpl::Ended() {
  MutexLock lock(&mu_);
  return ending_.has_value();
}

Daemon::Ending DaemonImpl::ending() {
  MutexLock lock(&mu_);
  return ending_.value_or(Ending{});
}

void DaemonImpl::Stop() {
  bool ended;
  std::string reason;
  {
    MutexLock lock(&mu_);
    if (stopped_) return;
    stopped_ = true;
    stopping_ = true;
    ended = ending_ && ending_->code == DaemonExit::kOk;
    reason = ending_ ? ending_->reason : "stopped";
    wake_.NotifyAll();
  }
  // First: the control thread may wait for a follower.
  if (site_ != nullptr) site_->Stop(ended, reason);
  if (control_thread_.joinable()) control_thread_.join();
  std::shared_ptr<ExchangeClient> stream;
  {
    MutexLock lock(&mu_);
    stream = std::move(stream_);
  }
  if (stream) stream->Cancel();
  {
    MutexLock lock(&mu_);
    while (open_streams_ > 0) wake_.Wait(&mu_);
  }
  // No job events from here on; the pipeline ends with this object. There is no job server if it
  // could not listen.
  if (jobs_ != nullptr) jobs_->Stop();
}

}  // namespace isthmus
