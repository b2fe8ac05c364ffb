// Who is alive, in which incarnation, and how far: registered, ready, in sync, connected.
#ifndef ISTHMUS_SERVER_CORE_MEMBERSHIP_H_
#define ISTHMUS_SERVER_CORE_MEMBERSHIP_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/run/update.h"
#include "common/run/worker_report.h"

namespace isthmus {

inline constexpr size_t kMaxLabelBytes = 64;
inline constexpr size_t kMaxPastNonces = 64;  // remembered per group

// What is known of a group for as long as the run lasts, whatever becomes of its streams: what a
// coordinator that is started again needs of it (coordinator_state.h).
struct GroupRecord {
  GroupId id;
  Incarnation incarnation;
  uint64_t nonce = 0;
  std::vector<uint64_t> past_nonces;  // of fenced processes, the newest last
  std::string label;
  uint32_t ranks = 0;
  uint64_t last_change = 0;  // of Ready and NotReady
  bool ready = false;        // all local ranks attached, layout accepted
  bool left = false;         // said goodbye
  // The masters are those of the run: agreed at the start, or from a snapshot, or resumed.
  bool in_sync = false;
  // Of the snapshot that its masters came from: its sequence, and who gave it, until an audit finds
  // the two to agree with the others.
  Sequence synced_at;
  std::optional<Member> source;
  // The audited rounds (P22): the last in which it, or who it got its state from, agreed; and the
  // one that found it to differ, until a snapshot has mended it.
  Round agreed;
  std::optional<Round> resync;
  // It let a deadline pass without sending anything (P9): nobody waits for it until it sends again.
  bool silent = false;
  // The last round in which it was sending when the others could wait no longer, until it has
  // answered a whole round in time: it should send less.
  std::optional<Round> too_slow;
  // (bucket) of this group's, over all its incarnations: merged; committed without it, though it
  // was awaited or silent. The loss of the last one merged that was a number.
  uint64_t contributions_merged = 0;
  uint64_t contributions_late = 0;
  float last_loss = 0;
  uint32_t version = 3;  // of the protocol, that the process speaks
  friend bool operator==(const GroupRecord&, const GroupRecord&) = default;
};

// And what goes with its streams, or is told anew on the next.
struct GroupState : GroupRecord {
  bool started = false;  // has been sent Start since it became ready
  // While not in sync: it may have applied updates up to this one, and never goes back.
  Sequence applied_at_most;
  Round told_due;                  // the last round that its stream was told to take in
  Round audited;                   // of its last report
  std::optional<StreamId> stream;  // set by Membership
  absl::Time stream_lost = absl::InfinitePast();
  std::string last_event;
  WorkPhase phase = WorkPhase::kUnknown;  // as its last heartbeat says

  // Takes part in rounds.
  bool active() const { return ready && in_sync && stream.has_value(); }
  // Has every update, or will again within the grace period.
  bool holds_state(absl::Time now, absl::Duration grace) const {
    return in_sync && !left && (stream.has_value() || now < stream_lost + grace);
  }
  // Takes part, or will again within the grace period.
  bool active_or_graced(absl::Time now, absl::Duration grace) const {
    return ready && in_sync && (stream.has_value() || now < stream_lost + grace);
  }
};

inline Member MemberOf(const GroupState& group) { return {group.id, group.incarnation}; }

// What keeps it, in words: "its job computes"; empty if it does not say.
std::string PhaseText(const GroupState& group);
// "group 3 incarnation 2", for messages.
std::string GroupText(const GroupState& group);

// Single-threaded.
class Membership {
 public:
  explicit Membership(uint32_t max_groups) : max_groups_(max_groups) {}
  // What it was in `epoch`, but that all streams have been lost as of `now`.
  void Restore(const std::vector<GroupRecord>& groups, Epoch epoch, absl::Time now);

  struct Registration {
    GroupState* group = nullptr;
    bool new_incarnation = false;
    std::optional<StreamId> fenced_stream;  // of the incarnation that was replaced
  };
  // The same nonce is the same incarnation; a new one gets the next number and fences the old.
  // Errors: RESOURCE_EXHAUSTED beyond max_groups; ABORTED for the nonce of a fenced incarnation.
  absl::StatusOr<Registration> Register(GroupId group, uint64_t nonce, const std::string& label,
                                        uint32_t ranks);

  // The group `member` speaks for. Errors: FAILED_PRECONDITION if it never registered; ABORTED if
  // a newer incarnation has.
  absl::StatusOr<GroupState*> Find(Member member);
  // Null if the stream is nobody's (any more). Asked for every message: takes no time that grows
  // with the number of groups.
  GroupState* FindByStream(StreamId stream);
  // `stream` becomes the group's, which has none.
  void Attach(GroupState& group, StreamId stream);
  // It has none any more, as of `now`.
  void Detach(GroupState& group, absl::Time now);

  const std::map<GroupId, GroupState>& groups() const { return groups_; }
  std::map<GroupId, GroupState>& groups() { return groups_; }

  // Changes whenever who takes part, or may, changes.
  Epoch epoch() const { return epoch_; }
  void Touch() { ++epoch_; }

 private:
  const uint32_t max_groups_;
  Epoch epoch_{1};
  std::map<GroupId, GroupState> groups_;  // ascending group id
  std::map<StreamId, GroupId> streams_;   // whose they are
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_MEMBERSHIP_H_
