#include "worker/site/follower.h"

#include <absl/strings/str_cat.h>

#include <utility>

#include "common/base/status_macros.h"
#include "common/telemetry/log.h"
#include "common/transport/convert.h"
#include "worker/site/site_messages.h"

namespace isthmus {
namespace {

constexpr absl::Duration kSayAgain = absl::Seconds(10);

}  // namespace

absl::StatusOr<std::unique_ptr<Follower>> Follower::Start(Options options) {
  std::unique_ptr<Follower> follower(new Follower(std::move(options)));
  ISTHMUS_ASSIGN_OR_RETURN(follower->jobs_,
                           JobServer::Start(follower->options_.jobs, follower.get()));
  follower->thread_ = std::thread([f = follower.get()] { f->Run(); });
  return follower;
}

std::optional<absl::Status> Follower::Ended() {
  MutexLock lock(&mu_);
  return ended_;
}

void Follower::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.NotifyAll();
    if (client_ != nullptr) client_->Cancel();
  }
  pipeline_.Abort(absl::CancelledError("this daemon stops"));
  if (thread_.joinable()) thread_.join();
  if (jobs_ != nullptr) jobs_->Stop();
}

// --- the leader ----------------------------------------------------------------------------------

void Follower::Run() {
  while (true) {
    const absl::Status status = FollowOnce();
    const bool was_accepted = LeaveLeader(status);
    MutexLock lock(&mu_);
    if (run_over_) {
      while (job_ != nullptr && !stopping_) changed_.Wait(&mu_);
      ended_ = absl::OkStatus();
    } else if (!was_accepted && (status.code() == absl::StatusCode::kFailedPrecondition ||
                                 status.code() == absl::StatusCode::kInvalidArgument)) {
      ended_ = status;
    }
    if (ended_ || stopping_) return;
    changed_.WaitFor(&mu_, absl::ToChronoNanoseconds(options_.retry));
    if (stopping_) return;
  }
}

absl::Status Follower::FollowOnce() {
  const std::shared_ptr<SiteClient> client =
      SiteClient::Make(options_.leader, options_.credentials);
  {
    MutexLock lock(&mu_);
    if (stopping_) return absl::CancelledError("this daemon stops");
    client_ = client;
  }
  v1::Join join;
  join.mutable_versions()->set_min(kProtocolVersions.min);
  join.mutable_versions()->set_max(kProtocolVersions.max);
  join.set_machine(options_.machine);
  join.set_ranks(options_.ranks);
  return client->Follow(join, [this](v1::LeaderMessage& message) { return Handle(message); });
}

bool Follower::LeaveLeader(const absl::Status& status) {
  bool was_accepted;
  bool quiet;
  {
    MutexLock lock(&mu_);
    client_ = nullptr;
    was_accepted = std::exchange(accepted_, false);
    told_.clear();
    quiet = run_over_ || stopping_;
  }
  pipeline_.Drop(absl::AbortedError("the leader is gone"));
  if (quiet) return was_accepted;
  const std::string why =
      absl::StrCat("the leader at ", options_.leader,
                   was_accepted ? " is gone: " : " is awaited: ", status.message());
  jobs_->SetWaiting(absl::StrCat("waiting for the site's leader: ", why));
  const absl::Time now = options_.clock->Now();
  if (was_accepted || now >= said_waiting_ + kSayAgain) {
    said_waiting_ = now;
    LogWarning(absl::StrCat(options_.jobs.name, ": ", why));
  }
  // A job that waits for the first leader goes on waiting.
  if (was_accepted) jobs_->EndSession(absl::UnavailableError(why));
  return was_accepted;
}

void Follower::Send(std::function<void(v1::FollowerMessage*)> fill) {
  MutexLock lock(&mu_);
  if (client_ != nullptr) client_->Send(std::move(fill));
}

absl::Status Follower::HandleAccepted(const v1::Accepted& message) {
  first_rank_ = message.first_rank();
  group_ranks_ = message.ranks();
  if (first_rank_ > group_ranks_ || group_ranks_ - first_rank_ < options_.ranks) {
    return absl::InternalError("the leader counts other ranks than there are");
  }
  pipeline_.Accepted(first_rank_, group_ranks_);
  LogInfo(absl::StrCat(options_.jobs.name, ": follows ", options_.leader, " with ranks ",
                       first_rank_, " to ", first_rank_ + options_.ranks - 1, " of ",
                       group_ranks_));
  MutexLock lock(&mu_);
  accepted_ = true;
  if (job_ != nullptr) TellAttached(job_);
  return absl::OkStatus();
}

absl::Status Follower::Handle(v1::LeaderMessage& message) {
  switch (message.message_case()) {
    case v1::LeaderMessage::kAccepted:
      return HandleAccepted(message.accepted());
    case v1::LeaderMessage::kGoodbye: {
      MutexLock lock(&mu_);
      run_over_ = message.goodbye().ended();
      return absl::CancelledError(message.goodbye().reason());
    }
    case v1::LeaderMessage::kSessionWhole:
    case v1::LeaderMessage::kSessionAttached:
    case v1::LeaderMessage::kSessionStepped:
    case v1::LeaderMessage::kSessionEnded:
      return HandleJob(message);
    default:
      return pipeline_.Perform(message);
  }
}

// --- this machine's job --------------------------------------------------------------------------

void Follower::TellAttached(const std::shared_ptr<JobSession>& session) {
  told_[session->id()] = session;
  client_->Send([id = session->id(), layout = session->layout()](v1::FollowerMessage* message) {
    message->mutable_job_attached()->set_session(id);
    ToProto(layout, message->mutable_job_attached()->mutable_layout());
  });
}

void Follower::OnAttached(std::shared_ptr<JobSession> session) {
  LogInfo(absl::StrCat(options_.jobs.name, ": ", session->ranks(), " ranks attached"));
  MutexLock lock(&mu_);
  job_ = session;
  if (accepted_) TellAttached(session);
}

void Follower::OnStep(uint64_t session_id, std::vector<RankStep> steps) {
  Send([session_id, steps = std::move(steps)](v1::FollowerMessage* message) {
    message->mutable_job_stepped()->set_session(session_id);
    ToMessage(steps, message->mutable_job_stepped());
  });
}

void Follower::OnLost(uint64_t session_id, const std::string& reason) {
  LogInfo(absl::StrCat(options_.jobs.name, ": the job is gone: ", reason));
  {
    MutexLock lock(&mu_);
    job_ = nullptr;
    changed_.NotifyAll();
  }
  Send([session_id, reason](v1::FollowerMessage* message) {
    message->mutable_job_lost()->set_session(session_id);
    message->mutable_job_lost()->set_reason(reason);
  });
}

absl::Status Follower::HandleJob(const v1::LeaderMessage& message) {
  switch (message.message_case()) {
    case v1::LeaderMessage::kSessionWhole: {
      MutexLock lock(&mu_);
      const auto told = told_.find(message.session_whole().session());
      if (told == told_.end()) return absl::InternalError("a session that there is not is whole");
      pipeline_.Bind(message.session_whole().leader_session(), told->second);
      return absl::OkStatus();
    }
    case v1::LeaderMessage::kSessionAttached: {
      AttachReply reply = FromMessage(message.session_attached());
      reply.first_rank = first_rank_;
      reply.world_size = group_ranks_;
      jobs_->FinishAttach(message.session_attached().session(), reply);
      return absl::OkStatus();
    }
    case v1::LeaderMessage::kSessionStepped:
      jobs_->FinishStep(message.session_stepped().session(),
                        FromMessage(message.session_stepped()));
      return absl::OkStatus();
    default: {
      const absl::Status status = StatusOf(message.session_ended());
      pipeline_.SessionOver(message.session_ended().session());
      {
        MutexLock lock(&mu_);
        told_.erase(message.session_ended().session());
      }
      jobs_->EndSession(message.session_ended().session(),
                        status.ok() ? absl::UnknownError("no reason") : status);
      return absl::OkStatus();
    }
  }
}

}  // namespace isthmus
