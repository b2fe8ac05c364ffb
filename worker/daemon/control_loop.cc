// The daemon's control thread: one blocking call at a time, in order, with backoff.

#include <absl/strings/str_cat.h>

#include "common/telemetry/log.h"
#include "worker/daemon/daemon_impl.h"
#include "worker/step/cpu_ranks.h"
#include "worker/step/local_pipeline.h"

namespace isthmus {
namespace {

constexpr absl::Duration kRetry = absl::Milliseconds(300);
constexpr absl::Duration kSayAgain = absl::Seconds(10);

bool Transient(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kDeadlineExceeded ||
         status.code() == absl::StatusCode::kCancelled ||
         status.code() == absl::StatusCode::kUnknown;
}

}  // namespace

ControlClient::Self DaemonImpl::self() { return {options_.group, registration_->incarnation}; }

absl::Time DaemonImpl::NextDue() {
  if (ranks_ == 0) return said_waiting_ + kSayAgain;
  if (setting_up_) return absl::InfiniteFuture();
  if (need_register_) return retry_at_;
  absl::Time due = heartbeat_at_;
  if (!announcements_.empty()) due = std::min(due, retry_at_);
  if (!connecting_) due = std::min(due, connect_at_);
  return due;
}

bool DaemonImpl::RunIsOver() {
  return core_ && core_->ended() && job_ == nullptr && reported_round_ == core_->AppliedRound();
}

void DaemonImpl::ControlLoop() {
  while (true) {
    enum { kAwaitSite, kRegister, kConnect, kAnnounce, kHeartbeat, kGiveUp } what;
    {
      MutexLock lock(&mu_);
      while (!stopping_ && !RunIsOver() && NextDue() > clock_.Now()) {
        wake_.WaitFor(
            &mu_, absl::ToChronoNanoseconds(std::min(NextDue() - clock_.Now(), absl::Seconds(1))));
      }
      if (stopping_ || RunIsOver()) break;
      const absl::Time now = clock_.Now();
      what = now > last_contact_ + options_.give_up_after  ? kGiveUp
             : ranks_ == 0                                 ? kAwaitSite
             : need_register_                              ? kRegister
             : !connecting_ && connect_at_ <= now          ? kConnect
             : !announcements_.empty() && retry_at_ <= now ? kAnnounce
                                                           : kHeartbeat;
    }
    switch (what) {
      case kAwaitSite:
        SayWaitingForSite();
        break;
      case kRegister:
        TryRegister();
        break;
      case kConnect:
        Connect();
        break;
      case kAnnounce:
        TryAnnounce();
        break;
      case kHeartbeat:
        SendHeartbeat();
        break;
      case kGiveUp:
        End(DaemonExit::kLost,
            absl::StrCat("nothing heard of the coordinator at ", options_.coordinator, " for ",
                         absl::FormatDuration(options_.give_up_after)));
        break;
    }
  }
  std::optional<ControlClient::Self> registered;
  std::string reason = "stopped";
  {
    MutexLock lock(&mu_);
    if (registration_ && (!ending_ || ending_->code == DaemonExit::kOk)) registered = self();
    if (!stopping_ && RunIsOver()) reason = "the run has ended";
  }
  if (registered) (void)control_->Leave(*registered, reason);
  End(DaemonExit::kOk, reason);
}

void DaemonImpl::SayWaiting(const std::string& why) {
  {
    MutexLock lock(&mu_);
    if (clock_.Now() < said_waiting_ + kSayAgain) return;
    said_waiting_ = clock_.Now();
  }
  LogWarning(absl::StrCat("group ", options_.group.value(), ": waiting for the coordinator at ",
                          options_.coordinator, ": ", why));
}

void DaemonImpl::SayWaitingForSite() {
  LogInfo(absl::StrCat("group ", options_.group.value(), ": waiting for the other machines: ",
                       site_->here(), " of ", options_.site.machines, " are here"));
  MutexLock lock(&mu_);
  said_waiting_ = clock_.Now();
}

void DaemonImpl::TryRegister() {
  uint64_t instance = 0;
  uint32_t ranks;
  {
    MutexLock lock(&mu_);
    ranks = ranks_;
    if (core_ && core_->has_state()) instance = registration_->instance;
  }
  const auto registration = control_->Register(options_.group, options_.nonce, options_.label,
                                               ranks, instance, options_.expect);
  if (!registration.ok()) return HandleControlError("register", registration.status());
  bool same;
  {
    MutexLock lock(&mu_);
    need_register_ = false;
    last_contact_ = clock_.Now();
    same = registration_ && registration_->instance == registration->instance &&
           registration_->incarnation == registration->incarnation;
    registration_ = *registration;
    // Another thread may be the one that performs SetUpRun: until then there is nothing to connect,
    // announce or report.
    setting_up_ = !same;
  }
  LogInfo(absl::StrCat("group ", options_.group.value(), ": registered as incarnation ",
                       registration->incarnation.value(), " with coordinator instance ",
                       registration->instance));
  if (same) return;
  tasks_.Add(std::function<void()>([this, r = *registration] { SetUpRun(r); }));
  Drain();
}

// A new run for this process: core and arithmetic start from nothing.
void DaemonImpl::SetUpRun(const ControlClient::Registration& registration) {
  LocalPipeline::Options options{.ranks = options_.make_ranks != nullptr
                                              ? options_.make_ranks()
                                              : MakeCpuRanks(options_.ranks, options_.threads),
                                 .self = {options_.group, registration.incarnation},
                                 .run = registration.run};
  auto* const events = static_cast<PipelineEvents*>(this);
  if (site_ != nullptr) {
    pipeline_ = site_->MakePipeline(std::move(options), events);
  } else {
    pipeline_ = std::make_unique<LocalPipeline>(std::move(options), events);
  }
  std::shared_ptr<JobSession> job;
  std::shared_ptr<ExchangeClient> old_stream;
  {
    MutexLock lock(&mu_);
    core_.emplace(WorkerCoreConfig{options_.group, registration.incarnation,
                                   Round(registration.run.rounds), registration.run.audit_rounds,
                                   options_.flip_bit_at});
    layout_.reset();
    outbox_ = Outbox();
    incoming_.Drop();
    received_.clear();
    announcements_.clear();
    changes_ = 0;
    heartbeat_at_ = clock_.Now();
    connect_at_ = clock_.Now();
    old_stream = stream_;
    setting_up_ = false;
    wake_.NotifyAll();
    job = job_;
  }
  if (old_stream != nullptr) old_stream->Cancel();  // its end leads to a new one
  if (job) AttachJob(job);
}

void DaemonImpl::QueueAnnouncement(Announcement announcement) {
  MutexLock lock(&mu_);
  announcement.change = ++changes_;
  announcements_.push_back(std::move(announcement));
  retry_at_ = clock_.Now();
  wake_.NotifyAll();
}

void DaemonImpl::TryAnnounce() {
  Announcement announcement;
  ControlClient::Self me;
  {
    MutexLock lock(&mu_);
    announcement = announcements_.front();
    me = self();
  }
  const absl::Status status =
      announcement.ready ? control_->Ready(me, announcement.change, announcement.job->layout())
                         : control_->NotReady(me, announcement.change, announcement.reason);
  if (Transient(status) || status.code() == absl::StatusCode::kAborted) {
    return HandleControlError("ready", status);
  }
  if (!status.ok() && announcement.ready) {
    // Either the job's layout is not the run's, or this is another coordinator that does not know
    // this group yet; the job is to blame only for the former.
    const absl::Status known = control_->Heartbeat(me, WorkerReport());
    if (!known.ok()) return HandleControlError("ready", known);
    // The job must change; the daemon can wait for another.
    LogError(std::string(status.message()));
    jobs_->FinishAttach(announcement.job->id(), status);
  }
  MutexLock lock(&mu_);
  last_contact_ = clock_.Now();
  if (!announcements_.empty() && announcements_.front().change == announcement.change) {
    announcements_.pop_front();
  }
}

void DaemonImpl::Connect() {
  {
    MutexLock lock(&mu_);
    connecting_ = true;
    connect_at_ = absl::InfiniteFuture();
    WorkerActions actions;
    core_->StreamOpened(actions);
    for (WorkerAction& action : actions) tasks_.Add(Bound{std::move(action), job_});
  }
  Drain();
}

WorkerReport DaemonImpl::MakeReport() {
  WorkerReport report;
  report.applied_round = core_->AppliedRound();
  report.hash_round = hash_round_;
  report.state_hash = hash_;
  report.step_seconds = times_.Median([](const StepTime& t) { return t.step; });
  report.compute_seconds = times_.Median([](const StepTime& t) { return t.compute(); });
  report.link_wait_seconds = times_.Median([](const StepTime& t) { return t.link_wait(); });
  report.peer_wait_seconds = times_.Median([](const StepTime& t) { return t.peer_wait; });
  report.communication_ratio = times_.Ratio();
  report.steps = steps_;
  report.nonfinite_buckets = core_->nonfinite();
  report.returned_contributions = core_->returned();
  report.waiting = core_->WaitingFor();
  return report;
}

void DaemonImpl::SendHeartbeat() {
  WorkerReport report;
  ControlClient::Self me;
  {
    MutexLock lock(&mu_);
    heartbeat_at_ = clock_.Now() + options_.heartbeat_interval;
    report = MakeReport();
    me = self();
  }
  const absl::Status status = control_->Heartbeat(me, report);
  if (!status.ok()) return HandleControlError("heartbeat", status);
  MutexLock lock(&mu_);
  last_contact_ = clock_.Now();
  reported_round_ = report.hash_round;
}

void DaemonImpl::HandleControlError(const char* call, const absl::Status& status) {
  const std::string text(status.message());
  if (status.code() == absl::StatusCode::kAborted) return End(DaemonExit::kFenced, text);
  const bool registering = std::string(call) == "register";
  bool has_state;
  {
    MutexLock lock(&mu_);
    retry_at_ = clock_.Now() + kRetry * (0.5 + rng_.Uniform());
    has_state = core_ && core_->has_state();
    // A coordinator that does not know this group is another instance: ask it to register.
    if (status.code() == absl::StatusCode::kFailedPrecondition && !registering) {
      need_register_ = true;
      return;
    }
  }
  if (Transient(status)) return SayWaiting(absl::StrCat(call, ": ", text));
  End(has_state ? DaemonExit::kLost : DaemonExit::kRefused, absl::StrCat(call, ": ", text));
}

}  // namespace isthmus
