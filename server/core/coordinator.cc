#include "server/core/coordinator.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace isthmus {
namespace {

constexpr uint64_t kMaxSamples = uint64_t{1} << 53;  // exact in a double

std::string GroupText(const GroupState& group) {
  return absl::StrCat("group ", group.id.value(), " incarnation ", group.incarnation.value());
}

ParameterGroupScalars Scalars(float lr, float weight_decay) {
  return {lr, static_cast<float>(1.0 - static_cast<double>(lr) * weight_decay)};
}

}  // namespace

Coordinator::Coordinator(CoordinatorConfig config)
    : config_(std::move(config)), membership_(config_.max_groups) {}

// --- control plane -----------------------------------------------------------------------------

absl::StatusOr<Coordinator::Registered> Coordinator::Register(const RegisterArgs& args,
                                                              absl::Time now, Actions& out) {
  const uint32_t version = std::min(args.versions.max, kProtocolVersions.max);
  if (version < std::max(args.versions.min, kProtocolVersions.min)) {
    return absl::FailedPreconditionError(
        absl::StrCat("protocol versions: the coordinator speaks ", kProtocolVersions.min, " to ",
                     kProtocolVersions.max, ", group ", args.group.value(), " speaks ",
                     args.versions.min, " to ", args.versions.max));
  }
  if (args.nonce == 0) return absl::InvalidArgumentError("nonce: expected non-zero, got 0");
  if (args.label.size() > 64) {
    return absl::InvalidArgumentError(
        absl::StrCat("label: expected at most 64 bytes, got ", args.label.size()));
  }
  if (args.ranks == 0) return absl::InvalidArgumentError("ranks: expected at least 1, got 0");
  if (args.instance != 0 && args.instance != config_.instance) {
    return absl::FailedPreconditionError(absl::StrCat(
        "instance: group ", args.group.value(), " holds updates of coordinator instance ",
        args.instance, ", this one is instance ", config_.instance,
        ": it cannot continue that run"));
  }
  ISTHMUS_RETURN_IF_ERROR(CheckExpectations(config_.run, args.expect));
  ISTHMUS_ASSIGN_OR_RETURN(
      const Membership::Registration registration,
      membership_.Register(args.group, args.nonce, args.label, args.ranks));
  GroupState& group = *registration.group;
  if (registration.new_incarnation && group.incarnation > Incarnation(1)) {
    ++counters_.fenced;
    group.last_event = absl::StrCat("incarnation ", group.incarnation.value(),
                                    " replaced incarnation ", group.incarnation.value() - 1);
    out.push_back(Note{absl::StrCat("group ", group.id.value(), ": ", group.last_event)});
    StopAwaiting(group, "a newer process registered", out);
    for (uint32_t b = 0; b < round_.bucket_count(); ++b) {
      BucketRound& bucket = round_.bucket(BucketIndex(b));
      const auto it = bucket.contributions.find(group.id);
      if (it == bucket.contributions.end() || it->second.complete(bucket.chunks)) continue;
      bucket.contributions.erase(it);
      out.push_back(DropContribution{group.id, round_.round(), BucketIndex(b)});
    }
  }
  if (registration.fenced_stream) {
    out.push_back(CloseStream{*registration.fenced_stream,
                              absl::AbortedError(absl::StrCat(
                                  "group ", group.id.value(),
                                  ": fenced, a newer process has registered for it"))});
    AbortTransfersOf(*registration.fenced_stream, group.id, out);
  }
  Advance(now, out);
  return Registered{version, group.incarnation, membership_.epoch()};
}

absl::Status Coordinator::AcceptLayout(const Layout& layout, const GroupState& group) {
  const bool others_ready = std::any_of(
      membership_.groups().begin(), membership_.groups().end(),
      [&](const auto& entry) { return entry.first != group.id && entry.second.ready; });
  if (layout_ && (training_ || others_ready)) {
    const std::string difference = layout_->DifferenceFrom(layout);
    if (difference.empty()) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(GroupText(group), ": the layout differs from the run's: ", difference));
  }
  ISTHMUS_ASSIGN_OR_RETURN(Buckets buckets,
                           Buckets::Create(layout.length(), config_.run.bucket_length));
  layout_ = layout;
  buckets_ = buckets;
  bucket_chunks_.clear();
  for (uint32_t b = 0; b < buckets_.count(); ++b) {
    const Extent extent = buckets_.bucket(BucketIndex(b));
    bucket_chunks_.push_back(
        {extent.begin / config_.run.chunk_size, extent.size() / config_.run.chunk_size});
  }
  commits_.assign(buckets_.count(), 0);
  return absl::OkStatus();
}

absl::Status Coordinator::Ready(Member member, uint64_t change, const Layout& layout,
                                absl::Time now, Actions& out) {
  ISTHMUS_ASSIGN_OR_RETURN(GroupState* group, membership_.Find(member));
  if (change <= group->last_change) return absl::OkStatus();
  ISTHMUS_RETURN_IF_ERROR(AcceptLayout(layout, *group));
  group->last_change = change;
  if (!group->ready) membership_.Touch();
  group->ready = true;
  group->started = false;
  group->left = false;
  group->last_event = "ready";
  Advance(now, out);
  return absl::OkStatus();
}

absl::Status Coordinator::NotReady(Member member, uint64_t change, const std::string& reason,
                                   absl::Time now, Actions& out) {
  ISTHMUS_ASSIGN_OR_RETURN(GroupState* group, membership_.Find(member));
  if (change <= group->last_change) return absl::OkStatus();
  group->last_change = change;
  if (group->ready) membership_.Touch();
  group->ready = false;
  // Before Start the masters are still the job's own and may change with the next job.
  if (!group->started && !training_) group->in_sync = false;
  group->last_event = reason;
  StopAwaiting(*group, reason, out);
  Advance(now, out);
  return absl::OkStatus();
}

absl::Status Coordinator::Leave(Member member, const std::string& reason, absl::Time now,
                                Actions& out) {
  ISTHMUS_ASSIGN_OR_RETURN(GroupState* group, membership_.Find(member));
  membership_.Touch();
  group->ready = false;
  group->left = true;
  group->last_event = absl::StrCat("left: ", reason);
  StopAwaiting(*group, group->last_event, out);
  Advance(now, out);
  return absl::OkStatus();
}

absl::Status Coordinator::CheckMember(Member member) { return membership_.Find(member).status(); }

// --- data plane --------------------------------------------------------------------------------

void Coordinator::AbortTransfersOf(StreamId stream, GroupId group, Actions& out) {
  std::vector<TransferId> broken;
  for (const auto& [id, t] : transfers_.all()) {
    if (t.donor_stream == stream || t.joiner_stream == stream) broken.push_back(id);
  }
  for (TransferId id : broken) {
    const Transfer& t = *transfers_.Find(id);
    out.push_back(AbortTransfer{id, t.donor_stream, t.joiner_stream,
                                absl::StrCat("group ", group.value(), " lost its stream")});
    transfers_.Erase(id);
  }
}

void Coordinator::DetachStream(GroupState& group, absl::Time now, Actions& out) {
  AbortTransfersOf(*group.stream, group.id, out);
  group.stream.reset();
  group.stream_lost = now;
}

absl::StatusOr<Sequence> Coordinator::StreamOpened(StreamId stream, const Hello& hello,
                                                   Sequence first_available, absl::Time now,
                                                   Actions& out) {
  ISTHMUS_ASSIGN_OR_RETURN(GroupState* group, membership_.Find(hello.member));
  if (hello.instance != config_.instance) {
    return absl::FailedPreconditionError(
        absl::StrCat("instance: ", GroupText(*group), " speaks of coordinator instance ",
                     hello.instance, ", this one is instance ", config_.instance));
  }
  if (hello.applied > last_sequence_) {
    return absl::InvalidArgumentError(
        absl::StrCat("applied_sequence: ", GroupText(*group), " says ", hello.applied.value(),
                     ", the run is at ", last_sequence_.value()));
  }
  if (group->stream) {
    const StreamId old = *group->stream;
    DetachStream(*group, now, out);
    out.push_back(CloseStream{
        old, absl::CancelledError(absl::StrCat(GroupText(*group), " opened a newer stream"))});
  }
  group->stream = stream;
  group->last_event = "connected";
  membership_.Touch();
  // Who was never in sync, or fell behind what the log still holds, gets a snapshot.
  group->in_sync = group->in_sync && hello.applied.next() >= first_available;
  Sequence next;
  if (group->in_sync) {
    next = hello.applied.next();
    out.push_back(SendUpdates{stream, next});
    if (training_ && group->ready) group->started = false;  // Start may have been lost: repeat it
  }
  Advance(now, out);
  return next;
}

void Coordinator::StreamClosed(StreamId stream, const std::string& reason, absl::Time now,
                               Actions& out) {
  GroupState* group = membership_.FindByStream(stream);
  if (group == nullptr) return;  // fenced or replaced meanwhile
  DetachStream(*group, now, out);
  group->last_event = absl::StrCat("stream lost: ", reason);
  membership_.Touch();
  if (group->left) StopAwaiting(*group, "left", out);
  Advance(now, out);
}

absl::StatusOr<ChunkRun> Coordinator::BucketChunks(BucketIndex bucket) const {
  if (!layout_) return absl::FailedPreconditionError("no layout is known yet");
  if (bucket.value() >= bucket_chunks_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("bucket: expected below ", bucket_chunks_.size(),
                                                   ", got ", bucket.value()));
  }
  return bucket_chunks_[bucket.value()];
}

absl::StatusOr<GroupState*> Coordinator::SenderOf(StreamId stream, Round round,
                                                  BucketIndex bucket) {
  GroupState* group = membership_.FindByStream(stream);
  if (group == nullptr) return absl::AbortedError("this stream was replaced or fenced");
  ISTHMUS_RETURN_IF_ERROR(BucketChunks(bucket).status());
  if (!training_ || !group->in_sync || round > round_.round() || round == Round(0)) {
    return absl::FailedPreconditionError(absl::StrCat(
        GroupText(*group), " spoke of round ", round.value(), " bucket ", bucket.value(),
        "; it is ", group->in_sync ? "" : "not ", "in sync, and the open round is ",
        round_.round().value()));
  }
  return group;
}

absl::Status Coordinator::CheckInfo(const ContributionInfo& info, Round round) const {
  if (info.base_round >= round) {
    return absl::InvalidArgumentError(absl::StrCat("base_round: expected below round ",
                                                   round.value(), ", got ",
                                                   info.base_round.value()));
  }
  if (info.samples > kMaxSamples) {
    return absl::InvalidArgumentError(
        absl::StrCat("samples: expected at most 2^53, got ", info.samples));
  }
  const auto check = [&](const char* name, const std::vector<float>& values) -> absl::Status {
    if (values.size() != layout_->parameter_groups()) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": expected one per parameter group (",
                                                     layout_->parameter_groups(), "), got ",
                                                     values.size()));
    }
    for (float value : values) {
      if (!(value >= 0.0f && value <= 1e6f)) {
        return absl::InvalidArgumentError(
            absl::StrCat(name, ": expected a number from 0 to 1e6, got ", value));
      }
    }
    return absl::OkStatus();
  };
  ISTHMUS_RETURN_IF_ERROR(check("lr", info.lr));
  return check("weight_decay", info.weight_decay);
}

absl::StatusOr<Coordinator::PartFate> Coordinator::PartArrived(StreamId stream, Round round,
                                                               BucketIndex index, ChunkRun part,
                                                               const ContributionInfo& info,
                                                               absl::Time now, Actions& out) {
  ISTHMUS_ASSIGN_OR_RETURN(GroupState* group, SenderOf(stream, round, index));
  ISTHMUS_RETURN_IF_ERROR(CheckInfo(info, round));
  if (round < round_.round() || round_.bucket(index).sequence) {
    const bool listed = round == round_.round() &&
                        round_.bucket(index).contributions.contains(group->id);
    if (listed) {
      ++counters_.contributions_repeated;
      return PartFate::kRepeat;
    }
    out.push_back(SendClosed{stream, round, index});
    return PartFate::kLate;
  }
  BucketRound& bucket = round_.bucket(index);
  const auto it =
      bucket.contributions.try_emplace(group->id, Contribution(group->incarnation, info)).first;
  if (it->second.incarnation() != group->incarnation) {
    // The process before this one had answered in full: first complete wins.
    ++counters_.contributions_repeated;
    return PartFate::kRepeat;
  }
  const absl::StatusOr<Contribution::Fate> fate = it->second.Add(part, bucket.chunks);
  if (!fate.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(GroupText(*group), " round ", round.value(), " bucket ", index.value(), ": ",
                     std::string(fate.status().message())));
  }
  if (*fate == Contribution::Fate::kRepeat) {
    ++counters_.contributions_repeated;
    return PartFate::kRepeat;
  }
  if (it->second.complete(bucket.chunks)) {
    bucket.abstained.erase(group->id);
    if (!bucket.first_complete) bucket.first_complete = now;
    round_.NoteComplete(group->id, now);
    // The caller stores this last part before it performs the actions.
    if (DecideCommit(round_.Tally(index, now, config_.deadline), config_.run.min_groups).commit) {
      Commit(index, now, out);
    }
  }
  return PartFate::kStore;
}

absl::Status Coordinator::Abstained(StreamId stream, Round round, BucketIndex index,
                                    AbstainReason, absl::Time now, Actions& out) {
  ISTHMUS_ASSIGN_OR_RETURN(GroupState* group, SenderOf(stream, round, index));
  if (round < round_.round() || round_.bucket(index).sequence) return absl::OkStatus();
  BucketRound& bucket = round_.bucket(index);
  const auto it = bucket.contributions.find(group->id);
  if (it != bucket.contributions.end()) {
    if (it->second.complete(bucket.chunks)) return absl::OkStatus();  // it has answered
    bucket.contributions.erase(it);
    out.push_back(DropContribution{group->id, round, index});
  }
  if (bucket.abstained.insert(group->id).second) ++counters_.abstentions;
  Advance(now, out);
  return absl::OkStatus();
}

// --- answers to actions ------------------------------------------------------------------------

void Coordinator::Merged(Sequence sequence, absl::Time, Actions& out) {
  ISTHMUS_CHECK(sequence > last_append_ && sequence <= last_sequence_);
  merged_.insert(sequence);
  while (!merged_.empty() && *merged_.begin() == last_append_.next()) {
    merged_.erase(merged_.begin());
    ++last_append_;
    out.push_back(Append{last_append_});
  }
}

void Coordinator::Appended(Sequence sequence, absl::Time now, Actions& out) {
  const auto it = in_log_queue_.find(sequence);
  ISTHMUS_CHECK(it != in_log_queue_.end());
  round_.bucket(it->second).appended = true;
  in_log_queue_.erase(it);
  out.push_back(Publish{sequence});
  if (!round_.all_appended()) return;
  ++counters_.rounds_committed;
  if (config_.run.rounds != 0 && round_.round() == Round(config_.run.rounds)) {
    ended_ = true;
    out.push_back(Note{absl::StrCat("the run ended with round ", round_.round().value())});
    return;
  }
  OpenNextRound(now, out);
}

void Coordinator::TransferProgress(TransferId transfer, absl::Time now) {
  if (Transfer* t = transfers_.Find(transfer)) t->last_progress = now;
}

void Coordinator::TransferFailed(TransferId transfer, const std::string& reason, absl::Time now,
                                 Actions& out) {
  const Transfer* t = transfers_.Find(transfer);
  if (t == nullptr) return;
  out.push_back(AbortTransfer{transfer, t->donor_stream, t->joiner_stream, reason});
  out.push_back(Note{absl::StrCat("snapshot ", transfer.value(), " from group ",
                                  t->donor.value(), " to group ", t->joiner.value(), ": ",
                                  reason)});
  transfers_.Erase(transfer);
  Advance(now, out);
}

absl::Status Coordinator::CaughtUp(StreamId stream, TransferId transfer, Sequence sequence,
                                   Sequence first_available, absl::Time now, Actions& out) {
  GroupState* group = membership_.FindByStream(stream);
  if (group == nullptr) return absl::AbortedError("this stream was replaced or fenced");
  const Transfer* t = transfers_.Find(transfer);
  if (t == nullptr || t->joiner_stream != stream) return absl::OkStatus();  // aborted meanwhile
  if (sequence > last_sequence_) {
    return absl::InvalidArgumentError(
        absl::StrCat(GroupText(*group), " caught up to sequence ", sequence.value(),
                     ", the run is at ", last_sequence_.value()));
  }
  transfers_.Erase(transfer);
  ++counters_.snapshots;
  if (sequence.next() >= first_available) {
    group->in_sync = true;
    membership_.Touch();
    out.push_back(SendUpdates{stream, sequence.next()});
  }  // else the log moved on meanwhile: Advance starts another transfer
  Advance(now, out);
  return absl::OkStatus();
}

// --- time --------------------------------------------------------------------------------------

void Coordinator::Tick(absl::Time now, Actions& out) {
  for (auto& [id, group] : membership_.groups()) {
    if (group.stream || now < group.stream_lost + config_.reconnect_grace) continue;
    StopAwaiting(group, "no stream within the grace period", out);
    // Nobody may come back with masters that the others, meanwhile, no longer start from.
    if (!training_) group.in_sync = false;
  }
  std::vector<TransferId> stalled;
  for (const auto& [id, t] : transfers_.all()) {
    if (now >= t.last_progress + config_.transfer_timeout) stalled.push_back(id);
  }
  for (TransferId id : stalled) TransferFailed(id, "no progress", now, out);
  Advance(now, out);
}

absl::Time Coordinator::NextWakeup() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [id, group] : membership_.groups()) {
    const bool matters = !group.stream && (round_.awaited().contains(id) || group.in_sync);
    if (matters && (round_.awaited().contains(id) || !training_)) {
      next = std::min(next, group.stream_lost + config_.reconnect_grace);
    }
  }
  for (uint32_t b = 0; b < round_.bucket_count(); ++b) {
    const BucketRound& bucket = round_.bucket(BucketIndex(b));
    if (bucket.first_complete && !bucket.sequence) {
      next = std::min(next, *bucket.first_complete + config_.deadline);
    }
  }
  for (const auto& [id, t] : transfers_.all()) {
    next = std::min(next, t.last_progress + config_.transfer_timeout);
  }
  return next;
}

// --- what follows ------------------------------------------------------------------------------

void Coordinator::StopAwaiting(GroupState& group, const std::string& why, Actions& out) {
  if (!round_.StopAwaiting(group.id)) return;
  membership_.Touch();
  out.push_back(Note{absl::StrCat("round ", round_.round().value(), " no longer waits for group ",
                                  group.id.value(), ": ", why)});
}

void Coordinator::Advance(absl::Time now, Actions& out) {
  if (!layout_) return;
  if (!training_) AgreeOnStart(now, out);
  StartTransfers(now, out);
  if (training_) {
    SendStarts(out);
    CommitWhatCan(now, out);
  }
}

void Coordinator::AgreeOnStart(absl::Time now, Actions& out) {
  uint32_t active = 0;
  std::vector<GroupState*> candidates;
  bool agreed = false;
  for (auto& [id, group] : membership_.groups()) {
    if (group.active()) ++active;
    if (group.in_sync) agreed = true;
    if (group.ready && group.stream) candidates.push_back(&group);
  }
  if (active >= config_.run.start_groups) {
    training_ = true;
    OpenNextRound(now, out);
    return;
  }
  if (agreed || candidates.size() < config_.run.start_groups) return;
  GroupState* donor = candidates.front();
  if (config_.run.initial_donor) {
    const auto named = std::find_if(candidates.begin(), candidates.end(), [&](GroupState* g) {
      return g->id == *config_.run.initial_donor;
    });
    if (named == candidates.end()) return;
    donor = *named;
  }
  donor->in_sync = true;
  out.push_back(SendUpdates{*donor->stream, Sequence(1)});
  out.push_back(Note{absl::StrCat("all groups start from the parameters of group ",
                                  donor->id.value())});
  AgreeOnStart(now, out);
}

void Coordinator::StartTransfers(absl::Time now, Actions& out) {
  for (auto& [id, joiner] : membership_.groups()) {
    if (!joiner.ready || !joiner.stream || joiner.in_sync || transfers_.Joining(id)) continue;
    for (auto& [donor_id, donor] : membership_.groups()) {
      if (!donor.in_sync || !donor.stream || transfers_.Donating(donor_id)) continue;
      const Transfer& t =
          transfers_.Start(donor_id, *donor.stream, id, *joiner.stream, now);
      out.push_back(StartTransfer{t.id, t.donor_stream, t.joiner_stream});
      break;
    }
  }
}

void Coordinator::OpenNextRound(absl::Time now, Actions& out) {
  std::set<GroupId> awaited;
  for (const auto& [id, group] : membership_.groups()) {
    if (group.active_or_graced(now, config_.reconnect_grace)) awaited.insert(id);
  }
  round_ = OpenRound(round_.round().next(), bucket_chunks_, std::move(awaited));
  SendStarts(out);
}

void Coordinator::SendStarts(Actions& out) {
  uint32_t known = 0;
  for (const auto& [id, group] : membership_.groups()) {
    if (!group.left) ++known;
  }
  uint32_t index = 0;
  for (auto& [id, group] : membership_.groups()) {
    if (group.left) continue;
    if (group.active() && !group.started) {
      group.started = true;
      out.push_back(SendStart{*group.stream, index, std::max(known, config_.run.start_groups),
                              round_.round()});
    }
    ++index;
  }
}

void Coordinator::CommitWhatCan(absl::Time now, Actions& out) {
  for (uint32_t b = 0; b < round_.bucket_count(); ++b) {
    const BucketIndex index(b);
    if (round_.bucket(index).sequence) continue;
    if (DecideCommit(round_.Tally(index, now, config_.deadline), config_.run.min_groups).commit) {
      Commit(index, now, out);
    }
  }
}

UpdateHeader Coordinator::MakeUpdate(BucketIndex index, Actions& out) {
  const BucketRound& bucket = round_.bucket(index);
  UpdateHeader update;
  update.sequence = last_sequence_;
  update.round = round_.round();
  update.bucket = index;
  const Contribution* first = nullptr;
  for (const auto& [group, contribution] : bucket.contributions) {  // ascending group id
    if (!contribution.complete(bucket.chunks)) continue;
    const ContributionInfo& info = contribution.info();
    update.contributors.push_back({group, contribution.incarnation(), info.samples, info.loss});
    if (first == nullptr) {
      first = &contribution;
    } else if (info.lr != first->info().lr || info.weight_decay != first->info().weight_decay) {
      ++counters_.scalar_mismatches;
      out.push_back(Note{absl::StrCat(
          "round ", round_.round().value(), " bucket ", index.value(), ": group ", group.value(),
          " has another learning rate or weight decay than group ",
          update.contributors.front().group.value(), ", whose count")});
    }
  }
  if (first == nullptr) return update;
  for (size_t g = 0; g < first->info().lr.size(); ++g) {
    update.scalars.push_back(Scalars(first->info().lr[g], first->info().weight_decay[g]));
  }
  const uint64_t t = ++commits_[index.value()];
  update.first = t == 1;
  const OptimizerSpec& optimizer = config_.run.optimizer;
  if (optimizer.kind == OptimizerKind::kAdamW) {
    const double steps = static_cast<double>(t);
    update.bias1 = static_cast<float>(1.0 - std::pow(double{optimizer.beta1}, steps));
    update.bias2_sqrt =
        static_cast<float>(std::sqrt(1.0 - std::pow(double{optimizer.beta2}, steps)));
  }
  return update;
}

void Coordinator::Commit(BucketIndex index, absl::Time now, Actions& out) {
  BucketRound& bucket = round_.bucket(index);
  ++last_sequence_;
  bucket.sequence = last_sequence_;
  in_log_queue_[last_sequence_] = index;
  MergeBucket merge{MakeUpdate(index, out), {}};
  double loss = 0;
  for (const Contributor& c : merge.update.contributors) {
    merge.waited.push_back(round_.WaitedBy(c.group, now));
    loss += c.loss / static_cast<double>(merge.update.contributors.size());
  }
  counters_.contributions_merged += merge.update.contributors.size();
  if (!merge.update.contributors.empty()) last_loss_ = static_cast<float>(loss);
  for (auto it = bucket.contributions.begin(); it != bucket.contributions.end();) {
    if (it->second.complete(bucket.chunks)) {
      ++it;
      continue;
    }
    out.push_back(DropContribution{it->first, round_.round(), index});
    it = bucket.contributions.erase(it);
  }
  out.push_back(std::move(merge));
  for (const auto& [id, group] : membership_.groups()) {
    if (!group.active() || bucket.contributions.contains(id) || bucket.abstained.contains(id)) {
      continue;
    }
    if (round_.awaited().contains(id)) ++counters_.contributions_late;
    out.push_back(SendClosed{*group.stream, round_.round(), index});
  }
}

// --- status ------------------------------------------------------------------------------------

Coordinator::State Coordinator::state(absl::Time now) const {
  if (ended_) return State::kEnded;
  if (!training_) {
    const bool agreeing =
        std::any_of(membership_.groups().begin(), membership_.groups().end(),
                    [](const auto& entry) { return entry.second.in_sync; });
    return agreeing ? State::kAgreeing : State::kWaitingForGroups;
  }
  uint32_t able = 0;
  for (const auto& [id, group] : membership_.groups()) {
    if (group.active_or_graced(now, config_.reconnect_grace)) ++able;
  }
  return able < config_.run.min_groups ? State::kWaitingForQuorum : State::kTraining;
}

std::string Coordinator::WaitingReason(absl::Time now) const {
  if (ended_) return "";
  uint32_t ready = 0;
  uint32_t active = 0;
  for (const auto& [id, group] : membership_.groups()) {
    if (group.ready && group.stream) ++ready;
    if (group.active()) ++active;
  }
  if (!training_ && ready < config_.run.start_groups) {
    return absl::StrCat("waiting for groups: ", ready, " of start_groups ",
                        config_.run.start_groups, " are ready");
  }
  if (!training_) {
    return absl::StrCat("agreeing on initial parameters: ", active, " of ", ready,
                        " groups have them");
  }
  if (active == 0 && ready > 0) return "no group in sync is left to give a snapshot";
  if (active < config_.run.min_groups) {
    return absl::StrCat("waiting for quorum: ", active, " of min_groups ", config_.run.min_groups,
                        " are active");
  }
  for (uint32_t b = 0; b < round_.bucket_count(); ++b) {
    if (round_.bucket(BucketIndex(b)).sequence) continue;
    const auto verdict = DecideCommit(round_.Tally(BucketIndex(b), now, config_.deadline),
                                      config_.run.min_groups);
    if (!verdict.waiting_for.empty()) {
      return absl::StrCat("round ", round_.round().value(), " bucket ", b, ": ",
                          verdict.waiting_for);
    }
  }
  return "";
}

}  // namespace isthmus
