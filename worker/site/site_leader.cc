#include "worker/site/site_leader.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/run/update.h"
#include "common/telemetry/log.h"

namespace isthmus {

class SiteLeader::Handle : public SitePipeline {
 public:
  Handle(SiteLeader* leader, uint64_t set_up, LocalPipeline::Options options,
         PipelineEvents* events)
      : SitePipeline(set_up, std::move(options), leader, events), leader_(leader) {}
  ~Handle() override { leader_->Forget(this); }

 private:
  SiteLeader* const leader_;
};

namespace {

JobServer::Options Named(JobServer::Options jobs, std::string name) {
  jobs.name = std::move(name);
  return jobs;
}

}  // namespace

SiteLeader::SiteLeader(Options options, JobServer::Options jobs, JobEvents* events)
    : options_(std::move(options)),
      jobs_(Named(std::move(jobs), absl::StrCat(options_.name, ", machine 0")), options_.name,
            events),
      ranks_(options_.machines),
      streams_(options_.machines) {
  ranks_[0] = options_.ranks;
}

absl::Status SiteLeader::Listen() {
  if (options_.machines < 2 || options_.machines > kMaxMachines) {
    return absl::InvalidArgumentError(absl::StrCat(options_.name, ": machines: expected 2 to ",
                                                   kMaxMachines, ", got ", options_.machines));
  }
  ISTHMUS_RETURN_IF_ERROR(jobs_.Listen());
  ISTHMUS_ASSIGN_OR_RETURN(server_, SiteServer::Start({.listen = options_.listen,
                                                       .insecure = options_.insecure,
                                                       .credentials = options_.credentials,
                                                       .max_streams = options_.machines},
                                                      this));
  LogInfo(absl::StrCat(options_.name, ": leads ", options_.machines,
                       " machines, the others join at port ", port()));
  return absl::OkStatus();
}

SiteLeader::~SiteLeader() {
  jobs_.Stop();  // its thread uses what goes before it
}

// --- who is there --------------------------------------------------------------------------------

absl::Status SiteLeader::OnJoin(std::shared_ptr<FollowerStream> stream, const v1::Join& join) {
  const uint32_t machine = join.machine();
  // Machines of one site are all told of what changes, or none is.
  const VersionRange own{.min = kChangesFormats};
  if (join.versions().max() < own.min || join.versions().min() > own.max) {
    return absl::FailedPreconditionError(
        absl::StrCat("protocol versions: expected some of ", own.min, " to ", own.max, ", got ",
                     join.versions().min(), " to ", join.versions().max()));
  }
  if (machine == 0 || machine >= options_.machines) {
    return absl::InvalidArgumentError(absl::StrCat(options_.name, ": machine: expected 1 to ",
                                                   options_.machines - 1, ", got ", machine));
  }
  constexpr uint32_t kMostRanks = 1024;
  if (join.ranks() == 0 || join.ranks() > kMostRanks) {
    return absl::InvalidArgumentError(
        absl::StrCat(options_.name, ": ranks: expected 1 to ", kMostRanks, ", got ", join.ranks()));
  }
  uint32_t all = 0;
  {
    MutexLock lock(&mu_);
    if (over_) return absl::UnavailableError("the leader is leaving");
    if (streams_[machine] != nullptr) {
      return absl::AlreadyExistsError(
          absl::StrCat(options_.name, ": machine ", machine, " is here already"));
    }
    streams_[machine] = std::move(stream);
    ranks_[machine] = join.ranks();
    LogInfo(absl::StrCat(options_.name, ": machine ", machine, " is here with ", join.ranks(),
                         " ranks"));
    const bool all_here = std::all_of(streams_.begin() + 1, streams_.end(),
                                      [](const auto& s) { return s != nullptr; });
    if (!all_here) return absl::OkStatus();
    whole_ = true;
    all = first_rank(machines());
  }
  jobs_.Open(this);  // before anybody knows that jobs are wanted
  for (uint32_t m = 1; m < machines(); ++m) {
    Send(m, [all, first = first_rank(m)](v1::LeaderMessage* message) {
      message->mutable_accepted()->set_version(kProtocolVersions.max);
      message->mutable_accepted()->set_first_rank(first);
      message->mutable_accepted()->set_ranks(all);
    });
  }
  options_.whole(all);
  return absl::OkStatus();
}

uint32_t SiteLeader::here() {
  MutexLock lock(&mu_);
  const auto joined = std::ranges::count_if(streams_, [](const auto& s) { return s != nullptr; });
  return 1 + static_cast<uint32_t>(joined);
}

void SiteLeader::OnGone(uint32_t machine, const absl::Status& reason) {
  const absl::Status lost = absl::AbortedError(
      absl::StrCat(options_.name, ": machine ", machine, " is gone: ", reason.message()));
  {
    MutexLock lock(&mu_);
    streams_[machine] = nullptr;
    if (!whole_) {
      LogWarning(std::string(lost.message()));
      return;
    }
    if (over_) return;
    over_ = true;
  }
  options_.lost(lost);
  EndPipeline(lost);
}

void SiteLeader::Send(uint32_t machine, Fill fill) {
  std::shared_ptr<FollowerStream> stream;
  {
    MutexLock lock(&mu_);
    stream = streams_[machine];
  }
  if (stream != nullptr) stream->Send(std::move(fill));
}

absl::Status SiteLeader::OnMessage(uint32_t machine, v1::FollowerMessage& message) {
  if (message.set_up() == 0) return jobs_.OnMessage(machine, message);
  MutexLock lock(&pipeline_mu_);
  return pipeline_ == nullptr ? absl::OkStatus() : pipeline_->OnMessage(machine, message);
}

// --- the pipeline --------------------------------------------------------------------------------

std::unique_ptr<Pipeline> SiteLeader::MakePipeline(LocalPipeline::Options options,
                                                   PipelineEvents* events) {
  uint64_t set_up;
  bool over;
  {
    MutexLock lock(&mu_);
    set_up = ++set_ups_;
  }
  auto pipeline = std::make_unique<Handle>(this, set_up, std::move(options), events);
  {
    MutexLock lock(&pipeline_mu_);
    pipeline_ = pipeline.get();
  }
  {
    MutexLock lock(&mu_);
    over = over_;
  }
  if (over) pipeline->Lost(absl::AbortedError("the site is no more"));
  return pipeline;
}

void SiteLeader::Forget(SitePipeline* pipeline) {
  MutexLock lock(&pipeline_mu_);
  if (pipeline_ == pipeline) pipeline_ = nullptr;
}

void SiteLeader::EndPipeline(const absl::Status& reason) {
  MutexLock lock(&pipeline_mu_);
  if (pipeline_ != nullptr) pipeline_->Lost(reason);
}

void SiteLeader::Stop(bool ended, const std::string& reason) {
  {
    MutexLock lock(&mu_);
    over_ = true;
    for (const auto& stream : streams_) {
      if (stream == nullptr) continue;
      stream->Send([ended, reason](v1::LeaderMessage* message) {
        message->mutable_goodbye()->set_ended(ended);
        message->mutable_goodbye()->set_reason(reason);
      });
    }
  }
  EndPipeline(absl::AbortedError(absl::StrCat(options_.name, ": the leader ends: ", reason)));
  if (server_ != nullptr) server_->Shutdown();
}

}  // namespace isthmus
