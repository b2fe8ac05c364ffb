#include "worker/daemon/daemon.h"

#include <absl/strings/str_cat.h>

#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/transport/endpoints.h"
#include "worker/daemon/daemon_impl.h"
#include "worker/step/state_need.h"

namespace isthmus {
namespace {

// What a job may say is what a coordinator takes: no contribution is refused for what came with it.
static_assert(RankStep::kMaxRate == ContributionInfo::kMaxRate);
static_assert(RankStep::kMaxSamples == ContributionInfo::kMaxSamples);

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(Options options, const Clock& clock) {
  auto daemon = std::make_unique<DaemonImpl>(std::move(options), clock);
  ISTHMUS_RETURN_IF_ERROR(daemon->Listen());
  return daemon;
}

DaemonImpl::DaemonImpl(Options options, const Clock& clock)
    : options_(std::move(options)),
      name_(absl::StrCat("group ", options_.group.value())),
      clock_(clock),
      stream_channel_(MakeChannel(options_.coordinator, options_.credentials, kMaxMessageBytes,
                                  options_.stream)),
      // A connection of its own: a saturated data plane must not starve the control plane.
      control_(ControlClient::Make(MakeChannel(options_.coordinator, options_.credentials),
                                   options_.call_deadline)),
      connection_({options_.coordinator, options_.give_up_after, options_.heartbeat_interval},
                  [rng = Rng(options_.nonce)]() mutable { return rng.Uniform(); }),
      tasks_([this](Task& task) { Perform(task); }) {}

absl::Status DaemonImpl::Listen() {
  JobServer::Options jobs;
  jobs.socket_path = options_.socket_path;
  jobs.socket_access = options_.socket_access;
  jobs.ranks = options_.ranks;
  jobs.name = name_;
  jobs.devices = options_.devices;
  jobs.engine_need = [this](const Layout& layout) {
    MutexLock lock(&mu_);
    // Before there is a run: what every optimizer needs.
    return StateNeed(registration_ ? registration_->run : RunSpec(), layout, options_.ranks,
                     /*on_host=*/options_.devices.empty());
  };
  if (options_.site.machines > 1) {
    const auto lost = [this](const absl::Status& reason) {
      StepConnection([&](ConnectionCore& connection, absl::Time, ConnectionActions& out) {
        connection.Fail(DaemonExit::kSiteLost, std::string(reason.message()), out);
      });
    };
    site_ = std::make_unique<SiteLeader>(
        SiteLeader::Options{.machines = options_.site.machines,
                            .ranks = options_.ranks,
                            .listen = options_.site.listen,
                            .insecure = options_.site.insecure,
                            .credentials = options_.credentials,
                            .name = name_,
                            .whole = [this](uint32_t ranks) { OnSiteWhole(ranks); },
                            .lost = lost},
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

bool DaemonImpl::Ended() {
  MutexLock lock(&mu_);
  return ending_.has_value();
}

Daemon::Ending DaemonImpl::ending() {
  MutexLock lock(&mu_);
  return ending_.value_or(Ending{});
}

// In the order in which others wait: jobs hear it first, then the coordinator, which may be silent
// and gets a second, then the threads end that could still hear or do something.
void DaemonImpl::Stop() {
  Ending ending{DaemonExit::kOk, "stopped"};
  bool ended;
  {
    MutexLock lock(&mu_);
    if (stopping_) return;
    stopping_ = true;
    ended = ending_.has_value();
    if (ended) ending = *ending_;
    wake_.NotifyAll();
  }
  if (control_thread_.joinable()) {
    if (!ended)
      jobs_->EndSession(absl::UnavailableError(absl::StrCat(name_, ": the daemon stops")));
    control_->Cancel();
  }
  // Before the performing thread: that may wait for a follower.
  if (site_ != nullptr) site_->Stop(ended && ending.code == DaemonExit::kOk, ending.reason);
  if (control_thread_.joinable()) control_thread_.join();
  tasks_.Stop();  // no stream is opened from here on
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
