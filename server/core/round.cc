#include "server/core/round.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/status_macros.h"

namespace isthmus {

absl::StatusOr<Contribution::Fate> Contribution::Add(ChunkRun part, ChunkRun bucket) {
  if (!bucket.Holds(part)) {
    return absl::InvalidArgumentError(absl::StrCat("part of ", part.count, " chunks from ",
                                                   part.first, ": expected within [", bucket.first,
                                                   ", ", bucket.end(), ")"));
  }
  const auto same = parts_.find(part.first);
  if (same != parts_.end() && same->second == part.count) return Fate::kRepeat;
  const auto after = parts_.lower_bound(part.first);
  const bool hits_after = after != parts_.end() && after->first < part.end();
  const bool hits_before =
      after != parts_.begin() && std::prev(after)->first + std::prev(after)->second > part.first;
  if (hits_after || hits_before) {
    return absl::InvalidArgumentError(absl::StrCat("part of ", part.count, " chunks from ",
                                                   part.first, " overlaps an earlier part"));
  }
  parts_.emplace(part.first, part.count);
  covered_ += part.count;
  return Fate::kNew;
}

// --- one bucket --------------------------------------------------------------------------------

bool BucketRound::Completed(GroupId group) const {
  const auto at = contributions_.find(group);
  return at != contributions_.end() && at->second.complete(chunks_);
}

absl::StatusOr<BucketRound::Taken> BucketRound::Add(GroupId group, Incarnation incarnation,
                                                    const ContributionInfo& info, ChunkRun part,
                                                    absl::Time now) {
  auto at = contributions_.find(group);
  const bool is_new = at == contributions_.end();
  if (is_new) at = contributions_.emplace(group, Contribution(incarnation, info)).first;
  const absl::StatusOr<Contribution::Fate> fate = at->second.Add(part, chunks_);
  if (!fate.ok()) {
    if (is_new) contributions_.erase(at);
    return fate.status();
  }
  Taken taken{*fate, *fate == Contribution::Fate::kNew && at->second.complete(chunks_)};
  if (!taken.completes) return taken;
  ++complete_;
  pending_.erase(group);
  abstained_.erase(group);  // a complete contribution overrides it (P8)
  if (!first_complete_) first_complete_ = now;
  return taken;
}

bool BucketRound::Abstain(GroupId group, bool* dropped) {
  *dropped = false;
  if (Completed(group)) return false;  // it has answered
  *dropped = DropIncomplete(group);
  pending_.erase(group);
  return abstained_.insert(group).second;
}

bool BucketRound::DropIncomplete(GroupId group) {
  return !Completed(group) && contributions_.erase(group) > 0;
}

std::vector<GroupId> BucketRound::DropAllIncomplete() {
  std::vector<GroupId> dropped;
  std::erase_if(contributions_, [&](const auto& entry) {
    if (entry.second.complete(chunks_)) return false;
    dropped.push_back(entry.first);
    return true;
  });
  return dropped;
}

absl::Time BucketRound::WaitsUntil(const WaitRule& rule,
                                   const std::map<GroupId, absl::Time>& last_moves) const {
  if (!first_complete_) return absl::InfiniteFuture();
  absl::Time until = *first_complete_ + rule.deadline;
  for (GroupId group : pending_) {
    const auto moved = last_moves.find(group);
    if (moved != last_moves.end()) until = std::max(until, moved->second + rule.deadline);
  }
  return std::min(until, *first_complete_ + rule.most);
}

BucketTally BucketRound::Tally(absl::Time now, const WaitRule& rule,
                               const std::map<GroupId, absl::Time>& last_moves) const {
  BucketTally tally{.complete = complete_,
                    .abstained = static_cast<uint32_t>(abstained_.size()),
                    .pending = static_cast<uint32_t>(pending_.size())};
  // Only where it matters: the question is asked for every contribution, and the answer may take a
  // look at every pending group.
  if (tally.pending > 0 && first_complete_ && now >= *first_complete_ + rule.deadline) {
    tally.deadline_passed = now >= WaitsUntil(rule, last_moves);
  }
  return tally;
}

// --- the round ---------------------------------------------------------------------------------

OpenRound::OpenRound(Round round, const std::vector<ChunkRun>& buckets, std::set<GroupId> awaited,
                     absl::Time opened)
    : round_(round), opened_(opened), awaited_(std::move(awaited)) {
  for (const ChunkRun& chunks : buckets) buckets_.emplace_back(chunks, awaited_);
}

bool OpenRound::StopAwaiting(GroupId group) {
  if (awaited_.erase(group) == 0) return false;
  for (BucketRound& bucket : buckets_) bucket.StopAwaiting(group);
  return true;
}

void OpenRound::NoteAnswer(BucketIndex index, GroupId group, bool complete, absl::Time now) {
  if (complete) last_complete_[group] = now;
  Lag& lag = lags_[group];
  ++lag.answers;
  const std::optional<absl::Time> first = bucket(index).first_complete();
  if (first) lag.most = std::max(lag.most, now - *first);
}

std::map<GroupId, absl::Duration> OpenRound::Lags() const {
  std::map<GroupId, absl::Duration> lags;
  for (const auto& [group, lag] : lags_) {
    if (awaited_.contains(group) && lag.answers >= buckets_.size()) lags.emplace(group, lag.most);
  }
  return lags;
}

absl::Duration OpenRound::WaitedBy(GroupId group, absl::Time now) const {
  const auto it = last_complete_.find(group);
  return it == last_complete_.end() ? absl::ZeroDuration() : now - it->second;
}

namespace {

void SetLatest(std::map<GroupId, absl::Time>& times, GroupId group, absl::Time when) {
  absl::Time& last = times.try_emplace(group, when).first->second;
  last = std::max(last, when);
}

}  // namespace

void OpenRound::NoteFrame(GroupId group, absl::Time when) {
  SetLatest(last_frames_, group, when);
  SetLatest(last_moves_, group, when);
}

void OpenRound::NoteTaken(GroupId group, absl::Time when) { SetLatest(last_moves_, group, when); }

bool OpenRound::Sends(GroupId group, absl::Time now, absl::Duration within) const {
  const auto it = last_frames_.find(group);
  return it != last_frames_.end() && now < it->second + within;
}

bool OpenRound::SetAppended(BucketIndex index) {
  bucket(index).SetAppended();
  return ++appended_ == buckets_.size();
}

uint32_t OpenRound::CompleteBuckets(GroupId group) const {
  return static_cast<uint32_t>(std::ranges::count_if(
      buckets_, [&](const BucketRound& bucket) { return bucket.Completed(group); }));
}

}  // namespace isthmus
