// The open round: what has arrived, what is missing.
#ifndef ISTHMUS_SERVER_CORE_ROUND_H_
#define ISTHMUS_SERVER_CORE_ROUND_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "common/base/ids.h"
#include "common/run/update.h"
#include "server/core/membership.h"
#include "server/core/quorum.h"

namespace isthmus {

// A run of chunks.
struct ChunkRun {
  uint64_t first = 0;
  uint64_t count = 0;
  friend auto operator<=>(const ChunkRun&, const ChunkRun&) = default;
};

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

struct BucketRound {
  ChunkRun chunks;
  std::map<GroupId, Contribution> contributions;
  std::set<GroupId> abstained;
  std::optional<absl::Time> first_complete;
  std::optional<Sequence> sequence;  // once committed
  bool appended = false;
};

// One round, from its opening to the append of its last bucket. Single-threaded.
class OpenRound {
 public:
  OpenRound() = default;
  OpenRound(Round round, const std::vector<ChunkRun>& buckets, std::set<GroupId> awaited);

  Round round() const { return round_; }
  const std::set<GroupId>& awaited() const { return awaited_; }
  // True if the group was awaited.
  bool StopAwaiting(GroupId group) { return awaited_.erase(group) > 0; }

  BucketRound& bucket(BucketIndex index) { return buckets_[index.value()]; }
  const BucketRound& bucket(BucketIndex index) const { return buckets_[index.value()]; }
  uint32_t bucket_count() const { return static_cast<uint32_t>(buckets_.size()); }

  // Remembers when `group` completed its latest bucket.
  void NoteComplete(GroupId group, absl::Time now) { last_complete_[group] = now; }
  absl::Duration WaitedBy(GroupId group, absl::Time now) const;

  BucketTally Tally(BucketIndex index, absl::Time now, absl::Duration deadline) const;
  bool all_appended() const;
  // Buckets for which `group` has delivered everything.
  uint32_t CompleteBuckets(GroupId group) const;

 private:
  Round round_;
  std::set<GroupId> awaited_;
  std::vector<BucketRound> buckets_;
  std::map<GroupId, absl::Time> last_complete_;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_ROUND_H_
