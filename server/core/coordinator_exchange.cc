// The coordinator's data plane: streams, contributions, snapshots, and the answers of the log.

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "server/core/coordinator.h"

namespace isthmus {

void Coordinator::AbortTransfersOf(StreamId stream, GroupId group, const char* why, Actions& out) {
  std::vector<TransferId> broken;
  for (const auto& [id, t] : transfers_.all()) {
    if (t.donor_stream == stream || t.joiner_stream == stream) broken.push_back(id);
  }
  for (TransferId id : broken) {
    const Transfer& t = *transfers_.Find(id);
    out.push_back(AbortTransfer{id, t.donor_stream, t.joiner_stream,
                                absl::StrCat("group ", group.value(), " ", why)});
    transfers_.Erase(id);
  }
}

void Coordinator::DetachStream(GroupState& group, absl::Time now, Actions& out) {
  AbortTransfersOf(*group.stream, group.id, "lost its stream", out);
  membership_.Detach(group, now);
  wakeup_moved_ = true;
}

absl::StatusOr<Sequence> Coordinator::StreamOpened(StreamId stream, const Hello& hello,
                                                   Sequence first_available, absl::Time now,
                                                   Actions& out) {
  ISTHMUS_ASSIGN_OR_RETURN(GroupState * group, membership_.Find(hello.member));
  ISTHMUS_RETURN_IF_ERROR(CheckSpeaks(group->id, group->version));
  if (hello.instance != config_.instance) {
    return absl::FailedPreconditionError(
        absl::StrCat("instance: ", GroupText(*group), " speaks of coordinator instance ",
                     hello.instance, ", this one is instance ", config_.instance));
  }
  if (hello.applied > last_sequence_) {
    return absl::InvalidArgumentError(absl::StrCat("applied_sequence: ", GroupText(*group),
                                                   " says ", hello.applied.value(),
                                                   ", the run is at ", last_sequence_.value()));
  }
  if (group->stream) {
    const StreamId old = *group->stream;
    DetachStream(*group, now, out);
    out.push_back(CloseStream{
        old, absl::CancelledError(absl::StrCat(GroupText(*group), " opened a newer stream"))});
  }
  membership_.Attach(*group, stream);
  group->told_due = Round(0);
  group->last_event = "connected";
  membership_.Touch();
  // Who was never in sync, or fell behind what the log still holds, gets a snapshot.
  group->in_sync = group->in_sync && hello.applied.next() >= first_available;
  group->applied_at_most = hello.applied;
  Sequence next;
  if (group->in_sync) {
    next = hello.applied.next();
    out.push_back(SendUpdates{stream, next});
    if (training_ && group->ready) group->started = false;  // Start may have been lost: repeat it
    MendWhoDiffered(now, out);
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

absl::StatusOr<ChunkRun> Coordinator::BucketChunks(Round round, BucketIndex bucket) const {
  ISTHMUS_RETURN_IF_ERROR(CheckBucket(bucket));
  return formats_.ChunksAt(round, buckets_.bucket(bucket));
}

absl::Status Coordinator::CheckBucket(BucketIndex bucket) const {
  if (!layout_) return absl::FailedPreconditionError("no layout is known yet");
  if (bucket.value() < buckets_.count()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("bucket: expected below ", buckets_.count(), ", got ", bucket.value()));
}

absl::StatusOr<GroupState*> Coordinator::SenderOf(StreamId stream, Round round,
                                                  BucketIndex bucket) {
  GroupState* group = membership_.FindByStream(stream);
  if (group == nullptr) return absl::AbortedError("this stream was replaced or fenced");
  ISTHMUS_RETURN_IF_ERROR(CheckBucket(bucket));
  // Who is to get a snapshot because it differs does not know yet.
  const bool in_sync = group->in_sync || group->resync;
  if (!training_ || !in_sync || round > round_.round() || round == Round(0)) {
    return absl::FailedPreconditionError(
        absl::StrCat(GroupText(*group), " spoke of round ", round.value(), " bucket ",
                     bucket.value(), "; it is ", group->in_sync ? "" : "not ",
                     "in sync, and the open round is ", round_.round().value()));
  }
  return group;
}

absl::Status Coordinator::CheckInfo(const ContributionInfo& info, Round round) const {
  if (info.base_round >= round) {
    return absl::InvalidArgumentError(absl::StrCat(
        "base_round: expected below round ", round.value(), ", got ", info.base_round.value()));
  }
  if (info.samples > ContributionInfo::kMaxSamples) {
    return absl::InvalidArgumentError(
        absl::StrCat("samples: expected at most 2^53, got ", info.samples));
  }
  if (info.steps > ContributionInfo::kMaxSteps) {
    return absl::InvalidArgumentError(
        absl::StrCat("steps: expected at most 2^32, got ", info.steps));
  }
  const auto check = [&](const char* name, const std::vector<float>& values) -> absl::Status {
    if (values.size() != layout_->parameter_groups()) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": expected one per parameter group (",
                                                     layout_->parameter_groups(), "), got ",
                                                     values.size()));
    }
    for (float value : values) {
      if (!(value >= 0.0f && value <= ContributionInfo::kMaxRate)) {
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
  ISTHMUS_ASSIGN_OR_RETURN(GroupState * group, SenderOf(stream, round, index));
  ISTHMUS_RETURN_IF_ERROR(CheckInfo(info, round));
  if (!group->in_sync) return PartFate::kLate;  // what its snapshot leaves undecided comes again
  Heard(*group, out);
  if (round < round_.round() || round_.bucket(index).sequence()) {
    const bool listed =
        round == round_.round() && round_.bucket(index).contributions().contains(group->id);
    if (listed) {
      ++counters_.contributions_repeated;
      return PartFate::kRepeat;
    }
    out.push_back(SendClosed{stream, round, index});
    return PartFate::kLate;
  }
  BucketRound& bucket = round_.bucket(index);
  const auto existing = bucket.contributions().find(group->id);
  if (existing != bucket.contributions().end() &&
      existing->second.incarnation() != group->incarnation) {
    // The process before this one had answered in full: first complete wins.
    ++counters_.contributions_repeated;
    return PartFate::kRepeat;
  }
  const bool first = !bucket.first_complete();
  const auto taken = bucket.Add(group->id, group->incarnation, info, part, now);
  if (!taken.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(GroupText(*group), " round ", round.value(),
                                                   " bucket ", index.value(), ": ",
                                                   std::string(taken.status().message())));
  }
  if (taken->fate == Contribution::Fate::kRepeat) {
    ++counters_.contributions_repeated;
    return PartFate::kRepeat;
  }
  round_.NoteFrame(group->id, now);
  BecomesDue(now, out);
  if (taken->completes) {
    wakeup_moved_ |= first;  // the bucket's deadline runs from here
    round_.NoteAnswer(index, group->id, true, now);
    // The caller stores this last part before it performs the actions.
    CommitIfDue(index, now, out);
  }
  return PartFate::kStore;
}

absl::Status Coordinator::Abstained(StreamId stream, Round round, BucketIndex index, AbstainReason,
                                    absl::Time now, Actions& out) {
  ISTHMUS_ASSIGN_OR_RETURN(GroupState * group, SenderOf(stream, round, index));
  if (!group->in_sync) return absl::OkStatus();  // as for a part
  Heard(*group, out);
  if (round < round_.round() || round_.bucket(index).sequence()) return absl::OkStatus();
  BecomesDue(now, out);
  bool dropped = false;
  if (round_.bucket(index).Abstain(group->id, &dropped)) {
    ++counters_.abstentions;
    round_.NoteAnswer(index, group->id, false, now);
  }
  if (dropped) out.push_back(DropContribution{group->id, round, index});
  CommitIfDue(index, now, out);
  return absl::OkStatus();
}

void Coordinator::FrameArrived(StreamId stream, Round round, absl::Time when, absl::Time now,
                               Actions& out) {
  GroupState* const group = membership_.FindByStream(stream);
  if (group == nullptr || !group->in_sync || round != round_.round()) return;
  Heard(*group, out);
  round_.NoteFrame(group->id, std::min(when, now));
}

void Coordinator::UpdatesTaken(StreamId stream, absl::Time when, absl::Time now) {
  const GroupState* const group = membership_.FindByStream(stream);
  if (group != nullptr && group->in_sync) round_.NoteTaken(group->id, std::min(when, now));
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
  const bool last = round_.SetAppended(it->second);
  CountCommit(it->second);
  in_log_queue_.erase(it);
  last_published_ = sequence;
  out.push_back(Publish{sequence});
  if (!last) return;
  ++counters_.rounds_committed;
  NoteWhoIsInTime(now, out);
  OpenAudit(now, out);
  if (config_.run.rounds != 0 && round_.round() == Round(config_.run.rounds)) {
    ended_ = true;
    out.push_back(Happened{RunEnded{round_.round()}});
  } else {
    OpenNextRound(now, out);
  }
  Advance(now, out);
}

void Coordinator::TransferProgress(TransferId transfer, absl::Time now) {
  if (Transfer* t = transfers_.Find(transfer)) t->last_progress = now;  // wakes later, not earlier
}

void Coordinator::TransferFailed(TransferId transfer, const std::string& reason, absl::Time now,
                                 Actions& out) {
  const Transfer* t = transfers_.Find(transfer);
  if (t == nullptr) return;
  out.push_back(AbortTransfer{transfer, t->donor_stream, t->joiner_stream, reason});
  out.push_back(Happened{SnapshotFailed{transfer, t->donor, t->joiner, reason}});
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
    return absl::InvalidArgumentError(absl::StrCat(GroupText(*group), " caught up to sequence ",
                                                   sequence.value(), ", the run is at ",
                                                   last_sequence_.value()));
  }
  const GroupState& donor = membership_.groups().at(t->donor);
  transfers_.Erase(transfer);
  ++counters_.snapshots;
  if (sequence.next() >= first_available) {
    group->in_sync = true;
    group->synced_at = sequence;
    group->source = Member{donor.id, donor.incarnation};
    group->agreed = donor.agreed;
    group->resync.reset();
    group->started = false;  // Start follows, again if one was lost on an older stream
    membership_.Touch();
    out.push_back(SendUpdates{stream, sequence.next()});
  }  // else the log moved on meanwhile: Advance starts another transfer
  Advance(now, out);
  return absl::OkStatus();
}

}  // namespace isthmus
