#include "worker/site/led_pipeline.h"

#include <absl/strings/str_cat.h>

#include <cstring>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/telemetry/log.h"
#include "common/transport/convert.h"
#include "worker/rpc/update_message.h"
#include "worker/site/site_messages.h"
#include "worker/site/state_runs.h"

namespace isthmus {

LedPipeline::LedPipeline(Options options, Send send)
    : options_(std::move(options)), send_(std::move(send)) {}

LedPipeline::~LedPipeline() { Drop(absl::CancelledError("this daemon stops")); }

void LedPipeline::Accepted(uint32_t first_rank, uint32_t ranks) {
  first_rank_ = first_rank;
  group_ranks_ = ranks;
}

void LedPipeline::Bind(uint64_t leader_session, std::shared_ptr<JobSession> session) {
  sessions_[leader_session] = {std::move(session)};
}

void LedPipeline::SessionOver(uint64_t session) {
  for (auto& [number, bound] : sessions_) bound.over |= bound.session->id() == session;
}

void LedPipeline::Drop(const absl::Status& reason) {
  DropPipeline(reason);
  sessions_.clear();
}

void LedPipeline::DropPipeline(const absl::Status& reason) {
  if (pipeline_ != nullptr) pipeline_->Abort(reason);
  AwaitConfigured();
  std::unique_ptr<LocalPipeline> old;
  {
    MutexLock lock(&mu_);
    old = std::move(pipeline_);
  }
  old.reset();
  set_up_ = 0;
  configured_ = false;
  incoming_ = {};
}

void LedPipeline::Abort(const absl::Status& reason) {
  MutexLock lock(&mu_);
  aborted_ = reason;
  if (pipeline_ != nullptr) pipeline_->Abort(reason);
}

void LedPipeline::AwaitConfigured() {
  if (configuring_.joinable()) configuring_.join();
}

// --- what ranks say ------------------------------------------------------------------------------

void LedPipeline::Answer(std::function<void(v1::FollowerMessage*)> fill) {
  send_([set_up = set_up_.load(), fill = std::move(fill)](v1::FollowerMessage* message) {
    message->set_set_up(set_up);
    fill(message);
  });
}

void LedPipeline::OnPart(ContributionPart part) {
  Answer([part = std::move(part)](v1::FollowerMessage* message) {
    v1::ExtractedPart* to = message->mutable_part();
    to->set_round(part.round.value());
    to->set_bucket(part.bucket.value());
    to->set_rank(part.rank);
    to->set_first_chunk(part.chunks.first);
    to->set_chunk_count(part.chunks.count);
    to->set_payload(*part.payload);
  });
}

void LedPipeline::OnFailure(const absl::Status& status) {
  LogError(absl::StrCat(options_.name, ": ", status.message()));
  Answer([status](v1::FollowerMessage* message) { ToMessage(status, message->mutable_failed()); });
}

// --- what the leader says ------------------------------------------------------------------------

absl::Status LedPipeline::Perform(v1::LeaderMessage& message) {
  if (message.has_set_up()) return SetUp(message.set_up());
  if (pipeline_ == nullptr) return absl::InternalError("expected SetUp before operations");
  AwaitConfigured();  // has been answered, or the leader would not go on
  switch (message.message_case()) {
    case v1::LeaderMessage::kConfigure:
      return Configure(message.configure());
    case v1::LeaderMessage::kThen:
      return Then(message.then());
    case v1::LeaderMessage::kRelease:
      return Release();
    default:
      if (!configured_) return absl::InternalError("expected Configure before operations");
      return Operate(message);
  }
}

absl::Status LedPipeline::Operate(v1::LeaderMessage& message) {
  switch (message.message_case()) {
    case v1::LeaderMessage::kAdopt:
      return Adopt(*message.mutable_adopt());
    case v1::LeaderMessage::kLoad:
      return Load(message.load());
    case v1::LeaderMessage::kProcess:
      return Process(message.process());
    case v1::LeaderMessage::kApply:
      return Apply(*message.mutable_apply());
    case v1::LeaderMessage::kGather:
      return Gather(message.gather());
    case v1::LeaderMessage::kSnapshot:
      return Snapshot(message.snapshot());
    case v1::LeaderMessage::kState:
      return TakeState(message.state());
    case v1::LeaderMessage::kInstall:
      return Install(message.install());
    case v1::LeaderMessage::kHash:
      return Hash(message.hash());
    default:
      return absl::InternalError("a message that this version does not know");
  }
}

absl::Status LedPipeline::SetUp(const v1::SetUp& message) {
  ISTHMUS_ASSIGN_OR_RETURN(run_, FromProto(message.run()));
  formats_ = RoundFormats(run_);
  DropPipeline(absl::AbortedError("the leader begins anew"));
  set_up_ = message.set_up();
  auto pipeline = std::make_unique<LocalPipeline>(
      LocalPipeline::Options{
          .ranks = options_.make_ranks(),
          .self = {GroupId(message.self().group_id()), Incarnation(message.self().incarnation())},
          .run = run_},
      static_cast<PipelineEvents*>(this));
  MutexLock lock(&mu_);
  pipeline_ = std::move(pipeline);
  if (!aborted_.ok()) pipeline_->Abort(aborted_);
  return absl::OkStatus();
}

absl::Status LedPipeline::Configure(const v1::Configure& message) {
  ISTHMUS_ASSIGN_OR_RETURN(const Layout layout, FromProto(message.layout()));
  configuring_ = std::thread(
      [this, layout, request = message.request(),
       place = GroupPlace{
           .first_rank = first_rank_, .ranks = group_ranks_, .invitation = message.invitation()}] {
        const absl::Status status = pipeline_->ConfigurePart(layout, place);
        configured_ = status.ok();
        Answer([status, request](v1::FollowerMessage* answer) {
          answer->mutable_configured()->set_request(request);
          ToMessage(status, answer->mutable_configured());
        });
      });
  return absl::OkStatus();
}

absl::Status LedPipeline::Then(const v1::Request& message) {
  pipeline_->Then([this, request = message.request()] {
    Answer(
        [request](v1::FollowerMessage* answer) { answer->mutable_done()->set_request(request); });
  });
  return absl::OkStatus();
}

absl::Status LedPipeline::Release() {
  pipeline_->Release();
  std::erase_if(sessions_, [](const auto& entry) { return entry.second.over; });
  return absl::OkStatus();
}

absl::Status LedPipeline::Adopt(v1::AdoptParameters& message) {
  ISTHMUS_ASSIGN_OR_RETURN(auto job, SessionOf(message.leader_session()));
  if (message.constants().size() != job->layout().constants_bytes()) {
    return absl::InvalidArgumentError(absl::StrCat("constants: expected the layout's ",
                                                   job->layout().constants_bytes(), " bytes, got ",
                                                   message.constants().size()));
  }
  pipeline_->AdoptWith(std::move(job), std::move(*message.mutable_constants()));
  return absl::OkStatus();
}

absl::Status LedPipeline::Load(const v1::JobOperation& message) {
  ISTHMUS_ASSIGN_OR_RETURN(auto job, SessionOf(message.leader_session()));
  pipeline_->Load(std::move(job));
  return absl::OkStatus();
}

absl::Status LedPipeline::Process(const v1::ProcessOperation& message) {
  ISTHMUS_RETURN_IF_ERROR(CheckBucket(message.bucket()));
  ISTHMUS_ASSIGN_OR_RETURN(auto job, SessionOf(message.leader_session()));
  pipeline_->Process(std::move(job), Round(message.round()), BucketIndex(message.bucket()),
                     message.extract(), {.lr = message.lr()});
  return absl::OkStatus();
}

absl::Status LedPipeline::Apply(v1::ApplyOperation& message) {
  if (message.credit() > static_cast<uint32_t>(Credit::kReturn)) {
    return absl::InvalidArgumentError(absl::StrCat("credit: expected at most ",
                                                   static_cast<uint32_t>(Credit::kReturn), ", got ",
                                                   message.credit()));
  }
  std::shared_ptr<JobSession> job;
  if (message.gather_session() != 0) {
    ISTHMUS_ASSIGN_OR_RETURN(job, SessionOf(message.gather_session()));
  }
  ISTHMUS_ASSIGN_OR_RETURN(ReceivedUpdate update, ToReceived(std::move(*message.mutable_update())));
  if (update.header.change) ISTHMUS_RETURN_IF_ERROR(TakeChange(*update.header.change));
  pipeline_->Apply(std::make_shared<const ReceivedUpdate>(std::move(update)),
                   static_cast<Credit>(message.credit()), std::move(job));
  return absl::OkStatus();
}

absl::Status LedPipeline::TakeChange(const FormatChange& change) {
  ISTHMUS_RETURN_IF_ERROR(CheckFollows(run_, formats_, change, Round(0)));
  formats_.Change(change);
  return absl::OkStatus();
}

absl::Status LedPipeline::Gather(const v1::JobOperation& message) {
  ISTHMUS_RETURN_IF_ERROR(CheckBucket(message.bucket()));
  ISTHMUS_ASSIGN_OR_RETURN(auto job, SessionOf(message.leader_session()));
  pipeline_->Gather(BucketIndex(message.bucket()), std::move(job), Gathering::kWithWay);
  return absl::OkStatus();
}

absl::Status LedPipeline::Snapshot(const v1::Request& message) {
  const auto vectors = static_cast<uint32_t>(1 + OptimizerStateVectors(run_.optimizer));
  std::vector<ImageRun> runs = RunsOf(pipeline_->ownership(), vectors, first_rank_, options_.ranks);
  if (runs.empty()) runs.push_back({});  // nothing is an answer, too
  pipeline_->Snapshot(
      [this, request = message.request(), runs = std::move(runs)](StateImage image) {
        const auto shared = std::make_shared<const StateImage>(std::move(image));
        for (size_t i = 0; i < runs.size(); ++i) {
          const bool last = i + 1 == runs.size();
          Answer([request, shared, run = runs[i], last](v1::FollowerMessage* answer) {
            v1::StatePiece* piece = answer->mutable_state();
            piece->set_request(request);
            piece->set_offset(run.offset);
            piece->set_data(shared->bytes.data() + run.offset, run.size);
            piece->set_last(last);
          });
        }
      });
  return absl::OkStatus();
}

absl::Status LedPipeline::TakeState(const v1::StatePiece& piece) {
  incoming_.bytes.resize(pipeline_->state_bytes());
  const uint64_t size = incoming_.bytes.size();
  if (piece.offset() > size || piece.data().size() > size - piece.offset()) {
    return absl::InvalidArgumentError(absl::StrCat("a state's piece of ", piece.data().size(),
                                                   " bytes at ", piece.offset(),
                                                   ": expected no more than ", size, " in all"));
  }
  std::memcpy(incoming_.bytes.data() + piece.offset(), piece.data().data(), piece.data().size());
  return absl::OkStatus();
}

absl::Status LedPipeline::Install(const v1::InstallState& message) {
  std::vector<Round> applied;
  for (const uint64_t round : message.applied_rounds()) applied.emplace_back(round);
  if (applied.size() != pipeline_->buckets().count()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rounds of ", applied.size(), " buckets: expected ", pipeline_->buckets().count()));
  }
  incoming_.bytes.resize(pipeline_->state_bytes());
  ISTHMUS_ASSIGN_OR_RETURN(std::vector<FormatChange> formats, FromProto(message.formats()));
  for (const FormatChange& change : formats) ISTHMUS_RETURN_IF_ERROR(TakeChange(change));
  pipeline_->Install(std::make_shared<const StateImage>(std::exchange(incoming_, {})),
                     {message.reset_momentum(), std::move(applied), std::move(formats)});
  return absl::OkStatus();
}

absl::Status LedPipeline::Hash(const v1::Request& message) {
  pipeline_->Hash([this, request = message.request()](std::vector<uint64_t> hashes) {
    Answer([request, hashes = std::move(hashes)](v1::FollowerMessage* answer) {
      answer->mutable_hashes()->set_request(request);
      answer->mutable_hashes()->mutable_hashes()->Assign(hashes.begin(), hashes.end());
    });
  });
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<JobSession>> LedPipeline::SessionOf(uint64_t leader_session) const {
  const auto at = sessions_.find(leader_session);
  if (at != sessions_.end()) return at->second.session;
  return absl::InvalidArgumentError(
      absl::StrCat("expected a session that is bound, got ", leader_session));
}

absl::Status LedPipeline::CheckBucket(uint32_t bucket) const {
  if (bucket < pipeline_->buckets().count()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("expected a bucket below ", pipeline_->buckets().count(), ", got ", bucket));
}

}  // namespace isthmus
