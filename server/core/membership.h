// Who is alive, in which incarnation, and how far: registered, ready, in sync, connected.
#ifndef ISTHMUS_SERVER_CORE_MEMBERSHIP_H_
#define ISTHMUS_SERVER_CORE_MEMBERSHIP_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/run/update.h"

namespace isthmus {

struct GroupState {
  GroupId id;
  Incarnation incarnation;
  uint64_t nonce = 0;
  std::string label;
  uint32_t ranks = 0;
  uint64_t last_change = 0;  // of Ready and NotReady
  bool ready = false;        // all local ranks attached, layout accepted
  bool left = false;         // said goodbye
  // The masters are those of the run: agreed at the start, or from a snapshot, or resumed.
  bool in_sync = false;
  bool started = false;  // has been sent Start since it became ready
  // Of the snapshot that its masters came from: its sequence, and who gave it, until an audit finds
  // the two to agree with the others.
  Sequence synced_at;
  std::optional<Member> source;
  // While not in sync: it may have applied updates up to this one, and never goes back.
  Sequence applied_at_most;
  // The audited rounds (P22): of its last report; the last in which it, or who it got its state
  // from, agreed; and the one that found it to differ, until a snapshot has mended it.
  Round audited;
  Round agreed;
  std::optional<Round> resync;
  std::optional<StreamId> stream;  // set by Membership
  absl::Time stream_lost = absl::InfinitePast();
  std::string last_event;
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

// "group 3 incarnation 2", for messages.
std::string GroupText(const GroupState& group);

// Single-threaded.
class Membership {
 public:
  explicit Membership(uint32_t max_groups) : max_groups_(max_groups) {}

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

  // Changes whenever who takes part changes.
  Epoch epoch() const { return epoch_; }
  void Touch() { ++epoch_; }

 private:
  const uint32_t max_groups_;
  Epoch epoch_{1};
  std::map<GroupId, GroupState> groups_;                  // ascending group id
  std::map<StreamId, GroupId> streams_;                   // whose they are
  std::map<GroupId, std::vector<uint64_t>> past_nonces_;  // fenced ones, newest last, bounded
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_MEMBERSHIP_H_
