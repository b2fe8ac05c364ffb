#include "worker/site/site_pipeline.h"

#include <absl/strings/str_cat.h>

#include <cstring>
#include <utility>

#include "common/transport/convert.h"
#include "worker/rpc/update_message.h"
#include "worker/site/site_messages.h"

namespace isthmus {

SitePipeline::SitePipeline(uint64_t set_up, LocalPipeline::Options options, Followers* followers,
                           PipelineEvents* events)
    : set_up_(set_up),
      run_(options.run),
      self_(options.self),
      followers_(followers),
      events_(events),
      local_(std::move(options), events) {
  followers_->SendAll([set_up, self = self_, run = run_](v1::LeaderMessage* message) {
    v1::SetUp* to = message->mutable_set_up();
    to->set_set_up(set_up);
    to->mutable_self()->set_group_id(self.group.value());
    to->mutable_self()->set_incarnation(self.incarnation.value());
    ToProto(run, to->mutable_run());
  });
}

// --- answers -------------------------------------------------------------------------------------

uint64_t SitePipeline::Expect(Pending pending) {
  pending.machines = followers_->machines();
  MutexLock lock(&mu_);
  pending_.emplace(++requests_, std::move(pending));
  return requests_;
}

absl::Status SitePipeline::Answer(uint64_t request, bool last,
                                  const std::function<absl::Status(Pending&)>& take) {
  Pending whole;
  {
    MutexLock lock(&mu_);
    const auto at = pending_.find(request);
    if (at == pending_.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("an answer to request ", request, ", which nobody waits for"));
    }
    const absl::Status status = take(at->second);
    if (!status.ok()) return status;
    if (!last || --at->second.machines > 0) return absl::OkStatus();
    whole = std::move(at->second);
    pending_.erase(at);
  }
  whole.done(whole);
  return absl::OkStatus();
}

absl::Status SitePipeline::OnMessage(uint32_t machine, v1::FollowerMessage& message) {
  if (message.set_up() != set_up_) return absl::OkStatus();
  switch (message.message_case()) {
    case v1::FollowerMessage::kConfigured:
      return Answer(message.configured().request(), true, [&](Pending& pending) {
        const absl::Status status = StatusOf(message.configured());
        if (pending.status.ok() && !status.ok()) {
          pending.status = absl::Status(status.code(),
                                        absl::StrCat("machine ", machine, ": ", status.message()));
        }
        return absl::OkStatus();
      });
    case v1::FollowerMessage::kDone:
      return Answer(message.done().request(), true, [](Pending&) { return absl::OkStatus(); });
    case v1::FollowerMessage::kHashes:
      return Answer(message.hashes().request(), true, [&](Pending& pending) -> absl::Status {
        const auto& hashes = message.hashes().hashes();
        if (static_cast<size_t>(hashes.size()) != pending.hashes.size()) {
          return absl::InvalidArgumentError(absl::StrCat(
              "hashes of ", hashes.size(), " buckets: expected ", pending.hashes.size()));
        }
        for (int b = 0; b < hashes.size(); ++b) {
          pending.hashes[static_cast<size_t>(b)] += hashes[b];
        }
        return absl::OkStatus();
      });
    case v1::FollowerMessage::kState: {
      const v1::StatePiece& piece = message.state();
      return Answer(piece.request(), piece.last(), [&](Pending& pending) -> absl::Status {
        const uint64_t size = pending.image.size();
        if (piece.offset() > size || piece.data().size() > size - piece.offset()) {
          return absl::InvalidArgumentError(
              absl::StrCat("a state's piece of ", piece.data().size(), " bytes at ", piece.offset(),
                           ": expected no more than ", size, " in all"));
        }
        std::memcpy(pending.image.data() + piece.offset(), piece.data().data(),
                    piece.data().size());
        return absl::OkStatus();
      });
    }
    case v1::FollowerMessage::kPart: {
      v1::ExtractedPart& part = *message.mutable_part();
      if (part.bucket() >= bucket_count_) {
        return absl::InvalidArgumentError(absl::StrCat(
            "a part of bucket ", part.bucket(), ": expected one below ", bucket_count_.load()));
      }
      events_->OnPart(
          {.round = Round(part.round()),
           .bucket = BucketIndex(part.bucket()),
           .rank = part.rank(),
           .chunks = {part.first_chunk(), part.chunk_count()},
           .payload = std::make_shared<const std::string>(std::move(*part.mutable_payload()))});
      return absl::OkStatus();
    }
    case v1::FollowerMessage::kFailed: {
      const absl::Status failed = StatusOf(message.failed());
      if (failed.ok()) return absl::InvalidArgumentError("a failure that is none");
      events_->OnFailure(
          absl::Status(failed.code(), absl::StrCat("machine ", machine, ": ", failed.message())));
      return absl::OkStatus();
    }
    default:
      return absl::OkStatus();
  }
}

void SitePipeline::Lost(const absl::Status& reason) {
  {
    MutexLock lock(&mu_);
    if (lost_.ok()) lost_ = reason;
    pending_.clear();
    changed_.NotifyAll();
  }
  local_.Abort(reason);
}

// --- operations ----------------------------------------------------------------------------------

absl::Status SitePipeline::Configure(const Layout& layout) {
  const absl::StatusOr<std::string> invitation = local_.Invite();
  if (!invitation.ok()) return invitation.status();
  const auto answer = std::make_shared<std::optional<absl::Status>>();  // guarded by mu_
  const uint64_t request = Expect({.done = [this, answer](Pending& all) {
    MutexLock lock(&mu_);
    *answer = all.status;
    changed_.NotifyAll();
  }});
  followers_->SendAll([request, layout, invitation = *invitation](v1::LeaderMessage* message) {
    v1::Configure* to = message->mutable_configure();
    to->set_request(request);
    ToProto(layout, to->mutable_layout());
    to->set_invitation(invitation);
  });
  bucket_count_ = 0;
  const absl::Status own = local_.ConfigurePart(
      layout, {.ranks = followers_->first_rank(followers_->machines()), .invitation = *invitation});
  if (own.ok()) bucket_count_ = buckets().count();
  // The others answer by themselves, each with what befell it; the first failure is the reason.
  (void)Answer(request, true, [&](Pending& pending) {
    if (pending.status.ok()) pending.status = own;
    return absl::OkStatus();
  });
  MutexLock lock(&mu_);
  while (!answer->has_value() && lost_.ok()) changed_.Wait(&mu_);
  return lost_.ok() ? **answer : lost_;
}

void SitePipeline::Adopt(std::shared_ptr<JobSession> job) {
  const std::span<const std::byte> constants = job->constants(0);
  std::string bytes(reinterpret_cast<const char*>(constants.data()), constants.size());
  followers_->SendAll([id = job->id(), bytes = std::move(bytes)](v1::LeaderMessage* message) {
    message->mutable_adopt()->set_leader_session(id);
    message->mutable_adopt()->set_constants(bytes);
  });
  local_.Adopt(std::move(job));
}

void SitePipeline::Load(std::shared_ptr<JobSession> job) {
  followers_->SendAll([id = job->id()](v1::LeaderMessage* message) {
    message->mutable_load()->set_leader_session(id);
  });
  local_.Load(std::move(job));
}

void SitePipeline::Process(std::shared_ptr<JobSession> job, Round round, BucketIndex bucket,
                           bool extract, StepIntake intake) {
  // (Ranks of several machines are GPUs, whose jobs do not step by themselves.)
  ISTHMUS_CHECK(intake.rank_weights.empty());
  followers_->SendAll([=, id = job->id(), lr = intake.lr](v1::LeaderMessage* message) {
    v1::ProcessOperation* to = message->mutable_process();
    to->set_leader_session(id);
    to->set_round(round.value());
    to->set_bucket(bucket.value());
    to->set_extract(extract);
    to->set_lr(lr);
  });
  local_.Process(std::move(job), round, bucket, extract, std::move(intake));
}

void SitePipeline::Apply(std::shared_ptr<const ReceivedUpdate> update, Credit credit,
                         std::shared_ptr<JobSession> gather_to) {
  const uint64_t session = gather_to == nullptr ? 0 : gather_to->id();
  followers_->SendAll([update, credit, session](v1::LeaderMessage* message) {
    v1::ApplyOperation* to = message->mutable_apply();
    ToMessage(*update, to->mutable_update());
    to->set_credit(static_cast<uint32_t>(credit));
    to->set_gather_session(session);
  });
  local_.Apply(std::move(update), credit, std::move(gather_to));
}

void SitePipeline::Gather(BucketIndex bucket, std::shared_ptr<JobSession> job, Gathering how) {
  ISTHMUS_CHECK(how == Gathering::kWithWay);  // others are of runs that no such group takes part in
  followers_->SendAll([bucket, id = job->id()](v1::LeaderMessage* message) {
    message->mutable_gather()->set_leader_session(id);
    message->mutable_gather()->set_bucket(bucket.value());
  });
  local_.Gather(bucket, std::move(job), how);
}

void SitePipeline::Release() {
  followers_->SendAll([](v1::LeaderMessage* message) { message->mutable_release(); });
  local_.Release();
}

std::vector<ImageRun> SitePipeline::RunsOfMachine(uint32_t machine) const {
  return RunsOf(local_.ownership(), vectors(), followers_->first_rank(machine),
                followers_->ranks()[machine]);
}

void SitePipeline::Snapshot(std::function<void(StateImage)> done) {
  const uint64_t request =
      Expect({.done = [done = std::move(done)](Pending& all) { done({std::move(all.image)}); },
              .image = std::string(state_bytes(), '\0')});
  followers_->SendAll(
      [request](v1::LeaderMessage* message) { message->mutable_snapshot()->set_request(request); });
  local_.Snapshot([this, request](StateImage own) {
    (void)Answer(request, true, [&](Pending& pending) {
      const auto take = [&](const ImageRun& run) {
        std::memcpy(pending.image.data() + run.offset, own.bytes.data() + run.offset, run.size);
      };
      for (const ImageRun& run : RunsOfMachine(0)) take(run);
      const uint64_t constants = constants_offset();
      take({constants, own.bytes.size() - constants});
      return absl::OkStatus();
    });
  });
}

void SitePipeline::Install(std::shared_ptr<const StateImage> image, InstalledAs as) {
  const uint64_t constants = constants_offset();
  for (uint32_t machine = 1; machine < followers_->machines(); ++machine) {
    std::vector<ImageRun> runs = RunsOfMachine(machine);
    for (const ImageRun& run : CutRun(constants, image->bytes.size() - constants)) {
      runs.push_back(run);
    }
    for (const ImageRun& run : runs) {
      followers_->Send(machine, [image, run](v1::LeaderMessage* message) {
        message->mutable_state()->set_offset(run.offset);
        message->mutable_state()->set_data(image->bytes.data() + run.offset, run.size);
      });
    }
  }
  followers_->SendAll([as](v1::LeaderMessage* message) {
    v1::InstallState* to = message->mutable_install();
    to->set_reset_momentum(as.reset_momentum);
    for (const Round round : as.applied_rounds) to->add_applied_rounds(round.value());
    for (const FormatChange& change : as.formats) ToProto(change, to->add_formats());
  });
  local_.Install(std::move(image), std::move(as));
}

void SitePipeline::Hash(std::function<void(std::vector<uint64_t>)> done) {
  const uint64_t request =
      Expect({.done = [done = std::move(done)](Pending& all) { done(std::move(all.hashes)); },
              .hashes = std::vector<uint64_t>(buckets().count())});
  followers_->SendAll(
      [request](v1::LeaderMessage* message) { message->mutable_hash()->set_request(request); });
  local_.Hash([this, request](std::vector<uint64_t> own) {
    (void)Answer(request, true, [&](Pending& pending) {
      for (size_t b = 0; b < own.size(); ++b) pending.hashes[b] += own[b];
      return absl::OkStatus();
    });
  });
}

void SitePipeline::Then(std::function<void()> done) {
  const uint64_t request = Expect({.done = [done = std::move(done)](Pending&) { done(); }});
  followers_->SendAll(
      [request](v1::LeaderMessage* message) { message->mutable_then()->set_request(request); });
  local_.Then(
      [this, request] { (void)Answer(request, true, [](Pending&) { return absl::OkStatus(); }); });
}

}  // namespace isthmus
