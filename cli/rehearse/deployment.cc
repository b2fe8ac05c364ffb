#include "cli/rehearse/deployment.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <utility>

#include "cli/rehearse/free_port.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "isthmus/v1/control.pb.h"

namespace isthmus {
namespace {

constexpr absl::Duration kStartDeadline = absl::Seconds(30);
// Jobs validate once before they end, and the hash comes with a heartbeat.
constexpr absl::Duration kHashDeadline = absl::Minutes(2);
constexpr absl::Duration kExitDeadline = absl::Minutes(10);
constexpr absl::Duration kGrace = absl::Seconds(5);
// How often to ask: often while the answer decides something, else as often as people look.
constexpr absl::Duration kEagerInterval = absl::Milliseconds(50);
constexpr absl::Duration kInterval = absl::Milliseconds(500);
// Without a commit for this long, people want to know why.
constexpr absl::Duration kStall = absl::Seconds(5);
constexpr absl::Duration kAskTimeout = absl::Seconds(1);
constexpr int kLastWords = 15;

absl::Time Now() { return Clock::Real().Now(); }

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

absl::Status Failure(const ChildExit& exit, const char* what) {
  const std::string tail = LogTail(exit.log_path, kLastWords);
  return absl::AbortedError(absl::StrCat(
      exit.name, " ended with ", exit.Describe(), what,
      tail.empty() ? "; its log is empty\n" : absl::StrCat("; the end of its log:\n", tail)));
}

}  // namespace

Deployment::Deployment(const Plan* plan, std::string phase, Signals* signals, LinkLoop* loop,
                       LiveView* view)
    : plan_(*plan),
      training_phase_(std::move(phase)),
      signals_(*signals),
      loop_(*loop),
      view_(*view),
      faults_(plan->options().faults),
      children_(signals) {}

absl::StatusOr<DeploymentResult> Deployment::Run() {
  ISTHMUS_RETURN_IF_ERROR(StartCoordinator());
  ISTHMUS_RETURN_IF_ERROR(StartSites());
  ISTHMUS_RETURN_IF_ERROR(Train());
  ISTHMUS_RETURN_IF_ERROR(AwaitHashes());
  ISTHMUS_RETURN_IF_ERROR(AwaitExits());
  children_.EndAll(kGrace);
  return Collect();
}

absl::Status Deployment::StartCoordinator() {
  ISTHMUS_RETURN_IF_ERROR(children_.Start(plan_.Coordinator()));
  const absl::Time deadline = Now() + kStartDeadline;
  // The file is renamed into place, so it is whole once it is there.
  while (!std::filesystem::exists(plan_.PortFile())) {
    if (Now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          "the coordinator does not listen after ", absl::FormatDuration(kStartDeadline), "\n",
          LogTail(plan_.Coordinator().log_path, kLastWords)));
    }
    ISTHMUS_RETURN_IF_ERROR(Turn(kEagerInterval));
  }
  coordinator_address_ = std::string(absl::StripAsciiWhitespace(ReadFile(plan_.PortFile())));
  status_ = std::make_unique<StatusClient>(coordinator_address_, Credentials::Insecure());
  return absl::OkStatus();
}

absl::Status Deployment::StartSites() {
  for (int site = 1; site <= plan_.sites(); ++site) {
    absl::StatusOr<std::unique_ptr<Forwarder>> forwarder =
        Forwarder::Start(&loop_, "127.0.0.1:0", coordinator_address_, plan_.link(site));
    if (!forwarder.ok()) return forwarder.status();
    forwarders_.push_back(*std::move(forwarder));
    links_.push_back(plan_.link(site));
    const Command worker = plan_.Worker(site, forwarders_.back()->address());
    worker_sites_[worker.name] = site;
    ISTHMUS_RETURN_IF_ERROR(children_.Start(worker));
    ISTHMUS_ASSIGN_OR_RETURN(meeting_ports_[site], FreePort());
    for (int rank = 0; rank < plan_.ranks(site); ++rank) {
      const std::string name = Plan::JobName(site, rank);
      jobs_[name] = JobId{.site = site, .rank = rank};
      waiting_jobs_.insert(name);
    }
  }
  return absl::OkStatus();
}

absl::Status Deployment::Train() {
  while (!Ended()) {
    const bool eager = !training_since_ || faults_.pending() || plan_.traced();
    ISTHMUS_RETURN_IF_ERROR(Turn(eager ? kEagerInterval : kInterval));
  }
  return absl::OkStatus();
}

absl::Status Deployment::AwaitHashes() {
  phase_ = "waiting for the sites' state hashes";
  const absl::Time deadline = Now() + kHashDeadline;
  // Missing hashes are no failure here: the summary says so.
  while (!AllHashed(run_, plan_.sites(), plan_.rounds()) && Now() < deadline) {
    bool any_worker = false;
    for (const auto& [name, site] : worker_sites_) any_worker |= children_.Running(name);
    ISTHMUS_RETURN_IF_ERROR(Turn(kEagerInterval));
    if (!any_worker) break;  // and the turn above has asked after the last one left
  }
  counters_end_ = Counters();
  return absl::OkStatus();
}

absl::Status Deployment::AwaitExits() {
  phase_ = "waiting for the jobs to validate and end";
  const absl::Time deadline = Now() + kExitDeadline;
  while (true) {
    std::vector<std::string> running;
    for (const auto& [name, site] : worker_sites_) {
      if (children_.Running(name)) running.push_back(name);
    }
    for (const auto& [name, job] : jobs_) {
      if (children_.Running(name)) running.push_back(name);
    }
    if (running.empty()) return absl::OkStatus();
    if (Now() > deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("still running ", absl::FormatDuration(kExitDeadline),
                       " after the last round: ", absl::StrJoin(running, ", ")));
    }
    ISTHMUS_RETURN_IF_ERROR(Turn(kInterval));
  }
}

absl::Status Deployment::Turn(absl::Duration timeout) {
  const std::optional<int> signal = signals_.Wait(timeout);
  if (signal && Signals::AsksToEnd(*signal)) {
    signal_ = *signal;
    view_.Note("ending every program; again to kill them at once");
    children_.EndAll(kGrace);
    return absl::CancelledError(absl::StrCat("signal ", signal_));
  }
  for (const ChildExit& exit : children_.Reap()) ISTHMUS_RETURN_IF_ERROR(HandleExit(exit));
  ISTHMUS_RETURN_IF_ERROR(StartWaitingJobs());
  const absl::Time now = Now();
  if (status_ && now - last_asked_ >= timeout) Ask(now);
  ApplyFaults(now);
  ApplyTraces(now);
  Show(now);
  return absl::OkStatus();
}

absl::Status Deployment::StartWaitingJobs() {
  for (auto it = waiting_jobs_.begin(); it != waiting_jobs_.end();) {
    const JobId job = jobs_[*it];
    if (!std::filesystem::exists(plan_.SocketPath(job.site))) {
      ++it;
      continue;
    }
    ISTHMUS_RETURN_IF_ERROR(
        children_.Start(plan_.Job(job.site, job.rank, meeting_ports_[job.site])));
    it = waiting_jobs_.erase(it);
  }
  return absl::OkStatus();
}

absl::Status Deployment::HandleExit(const ChildExit& exit) {
  if (const auto worker = worker_sites_.find(exit.name); worker != worker_sites_.end()) {
    if (exit.signal == SIGKILL && faults_.ExcuseWorker(worker->second)) {
      return RestartWorker(worker->second);
    }
  } else if (const auto job = jobs_.find(exit.name); job != jobs_.end()) {
    if (!exit.ok() && !Ended() && faults_.ExcuseJob(job->second.site, job->second.rank)) {
      view_.Note(absl::StrCat("restarting ", exit.name));
      waiting_jobs_.insert(exit.name);
      return absl::OkStatus();
    }
  } else {
    return Failure(exit, ", although it serves until it is told to end");
  }
  if (!exit.ok()) return Failure(exit, "");
  // A job may learn of the run's end before we do.
  if (!Ended()) Ask(Now());
  return Ended() ? absl::OkStatus() : Failure(exit, " before the run had ended");
}

absl::Status Deployment::RestartWorker(int site) {
  view_.Note(absl::StrCat("restarting ", Plan::WorkerName(site)));
  // So that jobs do not wait at the dead worker's socket.
  std::error_code ignored;
  std::filesystem::remove(plan_.SocketPath(site), ignored);
  return children_.Start(plan_.Worker(site, forwarders_[static_cast<size_t>(site - 1)]->address()));
}

void Deployment::Ask(absl::Time now) {
  last_asked_ = now;
  const absl::StatusOr<v1::GetStatusReply> reply = status_->Get(kAskTimeout);
  // If it is busy we ask again; if it is gone, its exit says so.
  if (!reply.ok()) return;
  const uint64_t committed_before = run_.rounds_committed;
  run_ = MakeRunView(*reply);
  for (RoundView& round : run_.rounds) {
    if (rounds_.empty() || round.round > rounds_.back().round) rounds_.push_back(std::move(round));
  }
  if (run_.rounds_committed != committed_before) last_commit_ = now;
  if (run_.training && !training_since_) {
    training_since_ = now;
    last_commit_ = now;
    rounds_at_start_ = run_.rounds_committed;
    counters_start_ = Counters();
  }
  if (Ended() && !ended_at_) {
    ended_at_ = now;
    phase_ = "the last round is done";
  }
}

void Deployment::ApplyFaults(absl::Time now) {
  const FaultSchedule::Due due = faults_.Advance(run_.training ? run_.round : 0, now);
  for (const int site : due.kill) {
    view_.Note(absl::StrCat("round ", run_.round, ": killing ", Plan::WorkerName(site)));
    children_.Signal(Plan::WorkerName(site), SIGKILL);
  }
  for (const Fault& fault : due.cut) {
    view_.Note(absl::StrCat("round ", run_.round, ": cutting the link of site ", fault.site,
                            " for ", absl::FormatDuration(fault.outage)));
    forwarders_[static_cast<size_t>(fault.site - 1)]->Cut();
  }
  for (const int site : due.flip) {
    view_.Note(absl::StrCat("round ", run_.round, ": ", Plan::WorkerName(site),
                            " has flipped a bit of its parameters"));
  }
  for (const int site : due.heal) {
    view_.Note(absl::StrCat("healing the link of site ", site));
    forwarders_[static_cast<size_t>(site - 1)]->Heal();
  }
}

void Deployment::ApplyTraces(absl::Time now) {
  if (!training_since_) return;
  for (int site = 1; site <= plan_.sites(); ++site) {
    const LinkTrace* const trace = plan_.trace(site);
    if (trace == nullptr) continue;
    const auto index = static_cast<size_t>(site - 1);
    const LinkSpec& link = trace->At(now - *training_since_);
    if (link == links_[index]) continue;
    view_.Note(absl::StrCat("round ", run_.round, ": the link of site ", site, " is ",
                            link.ToString(), " now"));
    forwarders_[index]->Become(link);
    links_[index] = link;
  }
}

void Deployment::Show(absl::Time now) {
  Progress progress;
  progress.phase = phase_;
  if (!Ended() && status_) {
    progress.phase = run_.state == "training" ? training_phase_ : run_.state;
    // While rounds follow each other, what the open one waits for is only noise.
    if (!run_.reason.empty() && now - last_commit_ > kStall) {
      // A reason why there is no training says the state by itself.
      progress.phase =
          run_.training ? absl::StrCat(progress.phase, ": ", run_.reason) : run_.reason;
    }
    if (!training_since_ && run_.ready_groups < static_cast<uint64_t>(plan_.sites())) {
      progress.phase =
          absl::StrCat("waiting for ", plan_.sites(), " groups: ", run_.ready_groups, " ready");
    }
  }
  progress.rounds_committed = run_.rounds_committed;
  progress.rounds = plan_.rounds();
  progress.loss = run_.loss;
  progress.samples_per_second = run_.samples_per_second;
  if (training_since_) progress.elapsed = ended_at_.value_or(now) - *training_since_;
  const std::vector<LinkCounters> counters = Counters();
  for (size_t i = 0; i < counters.size(); ++i) {
    const GroupView* group = run_.Group(static_cast<uint32_t>(i + 1));
    progress.sites.push_back(
        {.label = absl::StrCat("site-", i + 1),
         .bytes_up = counters[i].bytes_up,
         .bytes_down = counters[i].bytes_down,
         .communication_ratio = group == nullptr ? 0 : group->communication_ratio,
         .state = group == nullptr ? "not here yet" : group->state});
  }
  view_.Show(progress, now);
}

std::vector<LinkCounters> Deployment::Counters() const {
  std::vector<LinkCounters> counters;
  for (const auto& forwarder : forwarders_) counters.push_back(forwarder->counters());
  return counters;
}

bool Deployment::Ended() const { return run_.ended || run_.rounds_committed >= plan_.rounds(); }

DeploymentResult Deployment::Collect() const {
  DeploymentResult result;
  for (int site = 1; site <= plan_.sites(); ++site) {
    absl::StatusOr<JobReport> report = ParseJobReport(ReadFile(plan_.ReportPath(site, 0)));
    result.reports.push_back(report.ok() ? std::optional<JobReport>(*std::move(report))
                                         : std::nullopt);
  }
  result.view = run_;
  result.rounds = rounds_;
  result.counters_end = counters_end_;
  if (training_since_ && ended_at_ && rounds_at_start_ < plan_.rounds()) {
    result.counters_start = counters_start_;
    result.counted_rounds = plan_.rounds() - rounds_at_start_;
    result.counted_seconds = absl::ToDoubleSeconds(*ended_at_ - *training_since_);
  } else {
    // So short a run that its training was never seen: counted from the very beginning.
    result.counters_start.resize(counters_end_.size());
    result.counted_rounds = plan_.rounds();
  }
  return result;
}

}  // namespace isthmus
