// The open round: what has arrived, what is missing.
#ifndef ISTHMUS_SERVER_CORE_ROUND_H_
#define ISTHMUS_SERVER_CORE_ROUND_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/run/update.h"
#include "common/tensor/chunk_run.h"
#include "server/core/quorum.h"

namespace isthmus {

// What one group has delivered of one bucket.
class Contribution {
 public:
  Contribution(Incarnation incarnation, ContributionInfo info)
      : incarnation_(incarnation), info_(std::move(info)) {}

  // Adds a part. kNew: keep its bytes. kRepeat: had it already. Errors: INVALID_ARGUMENT for a
  // part outside `bucket` or overlapping another one.
  enum class Fate { kNew, kRepeat };
  absl::StatusOr<Fate> Add(ChunkRun part, ChunkRun bucket);

  bool complete(ChunkRun bucket) const { return covered_ == bucket.count; }
  Incarnation incarnation() const { return incarnation_; }
  const ContributionInfo& info() const { return info_; }

 private:
  Incarnation incarnation_;
  ContributionInfo info_;
  std::map<uint64_t, uint64_t> parts_;  // first chunk -> count; disjoint
  uint64_t covered_ = 0;
};

// How long a bucket is waited for (P9).
struct WaitRule {
  absl::Duration deadline;  // after its first complete contribution, and after a late one's moves
  absl::Duration most;      // in all, however often it moves
};

// One bucket of the round. Counts what arrives as it does, so that no question takes time that
// grows with the number of groups. Single-threaded.
class BucketRound {
 public:
  BucketRound() = default;
  BucketRound(ChunkRun chunks, const std::set<GroupId>& awaited)
      : chunks_(chunks), pending_(awaited) {}

  ChunkRun chunks() const { return chunks_; }
  const std::map<GroupId, Contribution>& contributions() const { return contributions_; }
  // Awaited groups that have not answered, ascending.
  const std::set<GroupId>& pending() const { return pending_; }
  bool Completed(GroupId group) const;
  bool Answered(GroupId group) const { return abstained_.contains(group) || Completed(group); }
  std::optional<absl::Time> first_complete() const { return first_complete_; }
  std::optional<Sequence> sequence() const { return sequence_; }  // once committed
  bool appended() const { return appended_; }

  // Takes a part of `group`'s contribution. Errors: as Contribution::Add; nothing changes then.
  struct Taken {
    Contribution::Fate fate = Contribution::Fate::kNew;
    bool completes = false;
  };
  absl::StatusOr<Taken> Add(GroupId group, Incarnation incarnation, const ContributionInfo& info,
                            ChunkRun part, absl::Time now);
  // False if it has said so before, or answered in full. `dropped`: an incomplete contribution of
  // it is forgotten.
  bool Abstain(GroupId group, bool* dropped);
  void StopAwaiting(GroupId group) { pending_.erase(group); }
  // True if there was an incomplete contribution of `group`, which is forgotten.
  bool DropIncomplete(GroupId group);
  // The same of all; whose they were.
  std::vector<GroupId> DropAllIncomplete();
  void Commit(Sequence sequence) { sequence_ = sequence; }
  void SetAppended() { appended_ = true; }

  // `last_moves`: when each group was last seen to get on with the round. While a pending group
  // does, it is waited for.
  absl::Time WaitsUntil(const WaitRule& rule,
                        const std::map<GroupId, absl::Time>& last_moves) const;
  BucketTally Tally(absl::Time now, const WaitRule& rule,
                    const std::map<GroupId, absl::Time>& last_moves) const;

 private:
  ChunkRun chunks_;
  std::map<GroupId, Contribution> contributions_;
  std::set<GroupId> abstained_;  // and have not contributed since
  std::set<GroupId> pending_;
  uint32_t complete_ = 0;  // among contributions_
  std::optional<absl::Time> first_complete_;
  std::optional<Sequence> sequence_;
  bool appended_ = false;
};

// One round, from its opening to the append of its last bucket. Single-threaded.
class OpenRound {
 public:
  OpenRound() = default;
  OpenRound(Round round, const std::vector<ChunkRun>& buckets, std::set<GroupId> awaited,
            absl::Time opened);

  Round round() const { return round_; }
  absl::Time opened() const { return opened_; }
  const std::set<GroupId>& awaited() const { return awaited_; }
  // True if the group was awaited.
  bool StopAwaiting(GroupId group);

  BucketRound& bucket(BucketIndex index) { return buckets_[index.value()]; }
  const BucketRound& bucket(BucketIndex index) const { return buckets_[index.value()]; }
  uint32_t bucket_count() const { return static_cast<uint32_t>(buckets_.size()); }

  // Remembers that `group` has answered the bucket; `complete`: with a contribution.
  void NoteAnswer(BucketIndex index, GroupId group, bool complete, absl::Time now);
  // How far behind the first contribution of a bucket each came at most, of those that are awaited
  // and have answered all of them.
  std::map<GroupId, absl::Duration> Lags() const;
  absl::Duration WaitedBy(GroupId group, absl::Time now) const;
  // A frame of some contribution of `group` to this round has come.
  void NoteFrame(GroupId group, absl::Time when);
  // It has taken in more of the updates that it needs for that.
  void NoteTaken(GroupId group, absl::Time when);
  // It has sent something `within` that time, though it may be late.
  bool Sends(GroupId group, absl::Time now, absl::Duration within) const;

  BucketTally Tally(BucketIndex index, absl::Time now, const WaitRule& rule) const {
    return bucket(index).Tally(now, rule, last_moves_);
  }
  absl::Time WaitsUntil(BucketIndex index, const WaitRule& rule) const {
    return bucket(index).WaitsUntil(rule, last_moves_);
  }
  // True if it was the last one.
  bool SetAppended(BucketIndex index);
  bool all_appended() const { return appended_ == buckets_.size(); }
  // Buckets for which `group` has delivered everything.
  uint32_t CompleteBuckets(GroupId group) const;

 private:
  Round round_;
  absl::Time opened_ = absl::InfinitePast();
  std::set<GroupId> awaited_;
  std::vector<BucketRound> buckets_;
  size_t appended_ = 0;
  std::map<GroupId, absl::Time> last_complete_;
  struct Lag {
    uint32_t answers = 0;
    absl::Duration most;
  };
  std::map<GroupId, Lag> lags_;
  std::map<GroupId, absl::Time> last_frames_;
  std::map<GroupId, absl::Time> last_moves_;  // those, and what it has taken in
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_ROUND_H_
