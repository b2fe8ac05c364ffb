// The daemon's control thread, and what it performs: one blocking call at a time.

#include <absl/strings/str_cat.h>

#include "common/telemetry/log.h"
#include "common/transport/socket_mutator.h"
#include "worker/daemon/daemon_impl.h"

namespace isthmus {

ControlClient::Self DaemonImpl::self() {
  MutexLock lock(&mu_);
  return {options_.group, registration_->incarnation};
}

bool DaemonImpl::RunIsOver() {
  return core_ && core_->ended() && job_ == nullptr && reported_round_ == core_->AppliedRound();
}

// All that blocks on the coordinator is done here, so that the order in which the core decides is
// the order in which the coordinator hears. Events from other threads may move the next wake-up
// forward at any time: they notify wake_, and the core is asked again. (The nap is bounded for
// clocks that stand still.)
void DaemonImpl::ControlLoop() {
  bool over = false;
  while (!over) {
    ConnectionActions actions;
    {
      MutexLock lock(&mu_);
      while (!stopping_ && !connection_.ended() && !RunIsOver() &&
             connection_.NextWakeup() > clock_.Now()) {
        const absl::Duration nap = connection_.NextWakeup() - clock_.Now();
        wake_.WaitFor(&mu_, absl::ToChronoNanoseconds(std::min(nap, absl::Seconds(1))));
      }
      if (stopping_) {
        connection_.Leave("stopped", actions);
      } else if (RunIsOver()) {
        connection_.Leave("the run has ended", actions);
      } else {
        connection_.Tick(clock_.Now(), actions);
      }
      over = connection_.ended();
    }
    Perform(actions);
  }
}

void DaemonImpl::Perform(const ConnectionActions& actions) {
  for (const ConnectionAction& action : actions) {
    std::visit([this](const auto& a) { Do(a); }, action);
  }
}

// --- calls -------------------------------------------------------------------------------------

void DaemonImpl::Do(const CallRegister& call) {
  // Both connections at the same time: over a long link each takes several trips.
  ExchangeClient::Prepare(*stream_channel_);
  uint32_t ranks;
  {
    MutexLock lock(&mu_);
    ranks = ranks_;
  }
  const auto registration = control_->Register(options_.group, options_.nonce, options_.label,
                                               ranks, call.instance, options_.expect);
  if (!registration.ok()) return CallAnswered(registration.status());
  LogInfo(absl::StrCat(name_, ": registered as incarnation ", registration->incarnation.value(),
                       " with coordinator instance ", registration->instance));
  StepConnection([&](ConnectionCore& connection, absl::Time now,
                     ConnectionActions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    registration_ = *registration;
    connection.Registered(registration->instance, registration->incarnation, now, out);
  });
}

void DaemonImpl::Do(const CallAnnounce& call) {
  if (!call.ready) return CallAnswered(control_->NotReady(self(), call.change, call.reason));
  Job job;
  {
    MutexLock lock(&mu_);
    job = announced_.at(call.change);
  }
  const absl::Status status = control_->Ready(self(), call.change, job->layout());
  if (status.ok()) {
    MutexLock lock(&mu_);
    announced_.erase(call.change);
  }
  CallAnswered(status);
}

void DaemonImpl::Do(const CallHeartbeat&) {
  WorkerReport report;
  {
    MutexLock lock(&mu_);
    report = MakeReport();
  }
  const absl::StatusOr<std::string> run_waits_for = control_->Heartbeat(self(), report);
  if (run_waits_for.ok()) {
    std::string job_waits_for;
    {
      MutexLock lock(&mu_);
      reported_round_ = report.hash_round;
      job_waits_for = JobWaitsFor(*run_waits_for);
    }
    jobs_->SetWaiting(job_waits_for);
  }
  CallAnswered(run_waits_for.status());
}

void DaemonImpl::Do(const CallLeave& call) { (void)control_->Leave(self(), call.reason); }

void DaemonImpl::CallAnswered(const absl::Status& status) {
  StepConnection([&](ConnectionCore& connection, absl::Time now, ConnectionActions& out)
                     ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
                       if (stopping_)
                         return;  // Stop() gave the call up: that is no news of the coordinator
                       connection.CallAnswered(status, now, out);
                     });
}

std::string DaemonImpl::JobWaitsFor(const std::string& run_waits_for) {
  if (!core_->job_attached()) return "";  // the job server knows better: some of its ranks
  if (!run_waits_for.empty()) return run_waits_for;
  if (!core_->in_step()) return core_->WaitingFor();
  return core_->in_sync() ? "" : "waiting for the coordinator";
}

uint64_t DaemonImpl::SamplesOf(JobSession* job) {
  uint64_t samples = 0;
  for (uint32_t rank = 0; job != nullptr && rank < job->ranks(); ++rank) {
    if (const JobPace* const pace = job->pace(rank)) samples += pace->samples();
  }
  return samples;
}

WorkerReport DaemonImpl::MakeReport() {
  WorkerReport report;
  report.applied_round = core_->AppliedRound();
  report.hash_round = hash_round_;
  report.state_hash = hash_;
  // Of the job's steps: an exchange comes once for so many.
  report.step_seconds = times_.Median([](const StepTime& t) { return t.step / t.steps; });
  report.compute_seconds = times_.Median([](const StepTime& t) { return t.compute() / t.steps; });
  report.link_wait_seconds =
      times_.Median([](const StepTime& t) { return t.link_wait() / t.steps; });
  report.peer_wait_seconds = times_.Median([](const StepTime& t) { return t.peer_wait / t.steps; });
  report.communication_ratio = times_.Ratio();
  const StepTimes::Waited lately = times_.Lately();
  report.exchange_wait_seconds = lately.seconds;
  report.exchange_wait_since = Round(lately.since);
  report.steps = steps_;
  report.samples = samples_ + SamplesOf(job_.get());
  report.nonfinite_buckets = core_->nonfinite();
  report.nonfinite_losses = nonfinite_losses_;
  report.returned_contributions = core_->returned();
  if (stream_ != nullptr) {
    report.down = stream_->link();
    report.exchange_seconds = absl::ToDoubleSeconds(stream_->exchange_time());
  }
  if (CanConfigureConnections()) report.congestion_control = options_.stream.congestion_control;
  report.waiting = core_->WaitingFor();
  report.phase = Phase();
  return report;
}

WorkPhase DaemonImpl::Phase() {
  if (!core_->job_attached()) return WorkPhase::kUnknown;
  if (!received_.empty()) return WorkPhase::kApply;
  if (outbox_.answers() < core_->undecided()) return WorkPhase::kCompress;
  // The job may go on meanwhile.
  if (core_->undecided() > 0 || core_->in_step()) return WorkPhase::kLink;
  return WorkPhase::kCompute;
}

// --- the run and the stream --------------------------------------------------------------------

void DaemonImpl::Do(const SetUpRun&) {
  MutexLock lock(&mu_);
  tasks_.Add(std::function<void()>([this, r = *registration_] { MakeRun(r); }));
}

// The core says Hello, and performing that makes the stream.
void DaemonImpl::Do(const OpenStream&) {
  MutexLock lock(&mu_);
  WorkerActions actions;
  core_->StreamOpened(actions);
  Queue(std::move(actions), job_);
}

// --- the end -----------------------------------------------------------------------------------

void DaemonImpl::Do(const RefuseJob& refuse) {
  LogError(std::string(refuse.status.message()));
  Job job;
  {
    MutexLock lock(&mu_);
    const auto node = announced_.extract(refuse.change);
    if (!node.empty()) job = node.mapped();
  }
  if (job != nullptr) jobs_->FinishAttach(job->id(), refuse.status);
}

void DaemonImpl::Do(const EndDaemon& end) {
  {
    MutexLock lock(&mu_);
    ending_ = Ending{end.code, end.reason};
    wake_.NotifyAll();
  }
  if (end.code != DaemonExit::kOk) TellJob({end.code, end.reason});
}

void DaemonImpl::TellJob(const Ending& ending) {
  jobs_->EndSession(absl::AbortedError(absl::StrCat(name_, ": the daemon ends: ", ending.reason)));
}

// --- words -------------------------------------------------------------------------------------

void DaemonImpl::Do(const SayWaitingForSite&) {
  const std::string text = absl::StrCat("waiting for the other machines: ", site_->here(), " of ",
                                        options_.site.machines, " are here");
  LogInfo(absl::StrCat(name_, ": ", text));
  jobs_->SetWaiting(text);
}

void DaemonImpl::Do(const SayTrouble& say) {
  LogWarning(absl::StrCat(name_, ": ", say.text));
  jobs_->SetWaiting(say.text);
}

void DaemonImpl::Do(const SayBetter& say) {
  LogInfo(absl::StrCat(name_, ": ", say.text));
  jobs_->SetWaiting("");
}

}  // namespace isthmus
