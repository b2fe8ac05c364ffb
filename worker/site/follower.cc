#include "worker/site/follower.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/status_macros.h"
#include "common/telemetry/log.h"
#include "common/transport/convert.h"
#include "worker/rpc/update_message.h"
#include "worker/site/site_messages.h"
#include "worker/site/state_runs.h"

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
    if (pipeline_ != nullptr) pipeline_->Abort(absl::CancelledError("this daemon stops"));
  }
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
    set_up_ = 0;
    told_.clear();
    quiet = run_over_ || stopping_;
  }
  DropPipeline(absl::AbortedError("the leader is gone"));
  sessions_.clear();
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

void Follower::Send(uint64_t set_up, std::function<void(v1::FollowerMessage*)> fill) {
  MutexLock lock(&mu_);
  if (client_ == nullptr) return;
  client_->Send([set_up, fill = std::move(fill)](v1::FollowerMessage* message) {
    message->set_set_up(set_up);
    fill(message);
  });
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
  Send(0, [session_id, steps = std::move(steps)](v1::FollowerMessage* message) {
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
  Send(0, [session_id, reason](v1::FollowerMessage* message) {
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
      sessions_[message.session_whole().leader_session()] = {told->second};
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
      for (auto& [number, bound] : sessions_) {
        bound.over |= bound.session->id() == message.session_ended().session();
      }
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

// --- the arithmetic ------------------------------------------------------------------------------

void Follower::OnPart(ContributionPart part) {
  uint64_t set_up;
  {
    MutexLock lock(&mu_);
    set_up = set_up_;
  }
  Send(set_up, [part = std::move(part)](v1::FollowerMessage* message) {
    v1::ExtractedPart* to = message->mutable_part();
    to->set_round(part.round.value());
    to->set_bucket(part.bucket.value());
    to->set_rank(part.rank);
    to->set_first_chunk(part.first_chunk);
    to->set_chunk_count(part.chunk_count);
    to->set_payload(*part.payload);
  });
}

void Follower::OnFailure(const absl::Status& status) {
  uint64_t set_up;
  {
    MutexLock lock(&mu_);
    set_up = set_up_;
  }
  LogError(absl::StrCat(options_.jobs.name, ": ", status.message()));
  Send(set_up,
       [status](v1::FollowerMessage* message) { ToMessage(status, message->mutable_failed()); });
}

void Follower::DropPipeline(const absl::Status& reason) {
  if (pipeline_ != nullptr) pipeline_->Abort(reason);
  AwaitConfigured();
  std::unique_ptr<LocalPipeline> old;
  {
    MutexLock lock(&mu_);
    old = std::move(pipeline_);
  }
  old.reset();
  configured_ = false;
  incoming_ = {};
}

void Follower::SetUp(const v1::SetUp& message, const RunSpec& run) {
  DropPipeline(absl::AbortedError("the leader begins anew"));
  run_ = run;
  auto pipeline = std::make_unique<LocalPipeline>(
      LocalPipeline::Options{
          .ranks = options_.make_ranks(),
          .self = {GroupId(message.self().group_id()), Incarnation(message.self().incarnation())},
          .run = run},
      static_cast<PipelineEvents*>(this));
  MutexLock lock(&mu_);
  set_up_ = message.set_up();
  pipeline_ = std::move(pipeline);
  if (stopping_) pipeline_->Abort(absl::CancelledError("this daemon stops"));
}

absl::Status Follower::Configure(const v1::Configure& message) {
  ISTHMUS_ASSIGN_OR_RETURN(const Layout layout, FromProto(message.layout()));
  uint64_t set_up;
  {
    MutexLock lock(&mu_);
    set_up = set_up_;
  }
  configuring_ = std::thread(
      [this, set_up, layout, request = message.request(),
       place = GroupPlace{
           .first_rank = first_rank_, .ranks = group_ranks_, .invitation = message.invitation()}] {
        const absl::Status status = pipeline_->ConfigurePart(layout, place);
        configured_ = status.ok();
        Send(set_up, [status, request](v1::FollowerMessage* answer) {
          answer->mutable_configured()->set_request(request);
          ToMessage(status, answer->mutable_configured());
        });
      });
  return absl::OkStatus();
}

void Follower::AwaitConfigured() {
  if (configuring_.joinable()) configuring_.join();
}

absl::StatusOr<std::shared_ptr<JobSession>> Follower::SessionOf(uint64_t leader_session) const {
  const auto at = sessions_.find(leader_session);
  if (at != sessions_.end()) return at->second.session;
  return absl::InvalidArgumentError(
      absl::StrCat("expected a session that is bound, got ", leader_session));
}

absl::Status Follower::CheckBucket(uint32_t bucket) const {
  if (bucket < pipeline_->buckets().count()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("expected a bucket below ", pipeline_->buckets().count(), ", got ", bucket));
}

absl::Status Follower::Handle(v1::LeaderMessage& message) {
  switch (message.message_case()) {
    case v1::LeaderMessage::kAccepted: {
      first_rank_ = message.accepted().first_rank();
      group_ranks_ = message.accepted().ranks();
      if (first_rank_ > group_ranks_ || group_ranks_ - first_rank_ < options_.ranks) {
        return absl::InternalError("the leader counts other ranks than there are");
      }
      LogInfo(absl::StrCat(options_.jobs.name, ": follows ", options_.leader, " with ranks ",
                           first_rank_, " to ", first_rank_ + options_.ranks - 1, " of ",
                           group_ranks_));
      MutexLock lock(&mu_);
      accepted_ = true;
      if (job_ != nullptr) TellAttached(job_);
      return absl::OkStatus();
    }
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
    case v1::LeaderMessage::kSetUp: {
      ISTHMUS_ASSIGN_OR_RETURN(const RunSpec run, FromProto(message.set_up().run()));
      SetUp(message.set_up(), run);
      return absl::OkStatus();
    }
    default:
      if (pipeline_ == nullptr) return absl::InternalError("expected SetUp before operations");
      return HandleOperation(message);
  }
}

absl::Status Follower::HandleOperation(v1::LeaderMessage& message) {
  AwaitConfigured();  // has been answered, or the leader would not go on
  if (message.has_configure()) return Configure(message.configure());
  uint64_t set_up;
  {
    MutexLock lock(&mu_);
    set_up = set_up_;
  }
  if (message.has_then()) {
    pipeline_->Then([this, set_up, request = message.then().request()] {
      Send(set_up, [request](v1::FollowerMessage* answer) {
        answer->mutable_done()->set_request(request);
      });
    });
    return absl::OkStatus();
  }
  if (message.has_release()) {
    pipeline_->Release();
    std::erase_if(sessions_, [](const auto& entry) { return entry.second.over; });
    return absl::OkStatus();
  }
  if (!configured_) return absl::InternalError("expected Configure before operations");
  switch (message.message_case()) {
    case v1::LeaderMessage::kAdopt: {
      ISTHMUS_ASSIGN_OR_RETURN(auto job, SessionOf(message.adopt().leader_session()));
      if (message.adopt().constants().size() != job->layout().constants_bytes()) {
        return absl::InvalidArgumentError("constants of another size than the layout's");
      }
      pipeline_->AdoptWith(std::move(job),
                           std::move(*message.mutable_adopt()->mutable_constants()));
      return absl::OkStatus();
    }
    case v1::LeaderMessage::kLoad: {
      ISTHMUS_ASSIGN_OR_RETURN(auto job, SessionOf(message.load().leader_session()));
      pipeline_->Load(std::move(job));
      return absl::OkStatus();
    }
    case v1::LeaderMessage::kProcess: {
      const v1::ProcessOperation& process = message.process();
      ISTHMUS_RETURN_IF_ERROR(CheckBucket(process.bucket()));
      ISTHMUS_ASSIGN_OR_RETURN(auto job, SessionOf(process.leader_session()));
      pipeline_->Process(std::move(job), Round(process.round()), BucketIndex(process.bucket()),
                         process.extract(), process.lr());
      return absl::OkStatus();
    }
    case v1::LeaderMessage::kApply: {
      v1::ApplyOperation& apply = *message.mutable_apply();
      if (apply.credit() > static_cast<uint32_t>(Credit::kReturn)) {
        return absl::InvalidArgumentError(absl::StrCat("credit ", apply.credit()));
      }
      std::shared_ptr<JobSession> job;
      if (apply.gather_session() != 0) {
        ISTHMUS_ASSIGN_OR_RETURN(job, SessionOf(apply.gather_session()));
      }
      pipeline_->Apply(
          std::make_shared<const ReceivedUpdate>(ToReceived(std::move(*apply.mutable_update()))),
          static_cast<Credit>(apply.credit()), std::move(job));
      return absl::OkStatus();
    }
    case v1::LeaderMessage::kGather: {
      ISTHMUS_RETURN_IF_ERROR(CheckBucket(message.gather().bucket()));
      ISTHMUS_ASSIGN_OR_RETURN(auto job, SessionOf(message.gather().leader_session()));
      pipeline_->Gather(BucketIndex(message.gather().bucket()), std::move(job));
      return absl::OkStatus();
    }
    case v1::LeaderMessage::kSnapshot:
      return GiveSnapshot(message.snapshot().request(), set_up);
    case v1::LeaderMessage::kState: {
      const v1::StatePiece& piece = message.state();
      incoming_.bytes.resize(pipeline_->state_bytes());
      const uint64_t size = incoming_.bytes.size();
      if (piece.offset() > size || piece.data().size() > size - piece.offset()) {
        return absl::InvalidArgumentError("a state's piece beyond its end");
      }
      std::memcpy(incoming_.bytes.data() + piece.offset(), piece.data().data(),
                  piece.data().size());
      return absl::OkStatus();
    }
    case v1::LeaderMessage::kInstall:
      return InstallState(message.install());
    case v1::LeaderMessage::kHash:
      pipeline_->Hash(
          [this, set_up, request = message.hash().request()](std::vector<uint64_t> hashes) {
            Send(set_up, [request, hashes = std::move(hashes)](v1::FollowerMessage* answer) {
              answer->mutable_hashes()->set_request(request);
              answer->mutable_hashes()->mutable_hashes()->Assign(hashes.begin(), hashes.end());
            });
          });
      return absl::OkStatus();
    default:
      return absl::InternalError("a message that this version does not know");
  }
}

absl::Status Follower::InstallState(const v1::InstallState& message) {
  std::vector<Round> applied;
  for (const uint64_t round : message.applied_rounds()) applied.emplace_back(round);
  if (applied.size() != pipeline_->buckets().count()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rounds of ", applied.size(), " buckets: expected ", pipeline_->buckets().count()));
  }
  incoming_.bytes.resize(pipeline_->state_bytes());
  pipeline_->Install(std::make_shared<const StateImage>(std::exchange(incoming_, {})),
                     message.reset_momentum(), std::move(applied));
  return absl::OkStatus();
}

absl::Status Follower::GiveSnapshot(uint64_t request, uint64_t set_up) {
  const auto vectors = static_cast<uint32_t>(1 + OptimizerStateVectors(run_.optimizer));
  std::vector<ImageRun> runs =
      RunsOf(pipeline_->ownership(), vectors, first_rank_, options_.ranks);
  if (runs.empty()) runs.push_back({});  // nothing is an answer, too
  pipeline_->Snapshot([this, request, set_up, runs = std::move(runs)](StateImage image) {
    const auto shared = std::make_shared<const StateImage>(std::move(image));
    for (size_t i = 0; i < runs.size(); ++i) {
      const bool last = i + 1 == runs.size();
      Send(set_up, [request, shared, run = runs[i], last](v1::FollowerMessage* message) {
        v1::StatePiece* piece = message->mutable_state();
        piece->set_request(request);
        piece->set_offset(run.offset);
        piece->set_data(shared->bytes.data() + run.offset, run.size);
        piece->set_last(last);
      });
    }
  });
  return absl::OkStatus();
}

}  // namespace isthmus
