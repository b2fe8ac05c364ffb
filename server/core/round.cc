#include "server/core/round.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

namespace isthmus {

absl::StatusOr<Contribution::Fate> Contribution::Add(ChunkRun part, ChunkRun bucket) {
  const uint64_t bucket_end = bucket.first + bucket.count;
  if (part.count == 0 || part.first < bucket.first || part.first >= bucket_end ||
      part.count > bucket_end - part.first) {
    return absl::InvalidArgumentError(absl::StrCat("part of ", part.count, " chunks from ",
                                                   part.first, ": expected within [", bucket.first,
                                                   ", ", bucket_end, ")"));
  }
  const auto same = parts_.find(part.first);
  if (same != parts_.end() && same->second == part.count) return Fate::kRepeat;
  const auto after = parts_.lower_bound(part.first);
  const bool hits_after = after != parts_.end() && after->first < part.first + part.count;
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

OpenRound::OpenRound(Round round, const std::vector<ChunkRun>& buckets, std::set<GroupId> awaited)
    : round_(round), awaited_(std::move(awaited)), buckets_(buckets.size()) {
  for (size_t i = 0; i < buckets.size(); ++i) buckets_[i].chunks = buckets[i];
}

absl::Duration OpenRound::WaitedBy(GroupId group, absl::Time now) const {
  const auto it = last_complete_.find(group);
  return it == last_complete_.end() ? absl::ZeroDuration() : now - it->second;
}

BucketTally OpenRound::Tally(BucketIndex index, absl::Time now, absl::Duration deadline) const {
  const BucketRound& bucket = buckets_[index.value()];
  BucketTally tally;
  std::set<GroupId> answered;
  for (const auto& [group, contribution] : bucket.contributions) {
    if (!contribution.complete(bucket.chunks)) continue;
    answered.insert(group);
    ++tally.complete;
  }
  for (GroupId group : bucket.abstained) {
    if (answered.insert(group).second) ++tally.abstained;
  }
  for (GroupId group : awaited_) {
    if (!answered.contains(group)) tally.pending.push_back(group);
  }
  tally.deadline_passed = bucket.first_complete && now >= *bucket.first_complete + deadline;
  return tally;
}

bool OpenRound::all_appended() const {
  return std::all_of(buckets_.begin(), buckets_.end(),
                     [](const BucketRound& bucket) { return bucket.appended; });
}

uint32_t OpenRound::CompleteBuckets(GroupId group) const {
  uint32_t complete = 0;
  for (const BucketRound& bucket : buckets_) {
    const auto it = bucket.contributions.find(group);
    if (it != bucket.contributions.end() && it->second.complete(bucket.chunks)) ++complete;
  }
  return complete;
}

}  // namespace isthmus
