// What happened in a run, as typed values: for the log, the status and metrics, which say it in
// words or count it, each as it needs.
#ifndef ISTHMUS_SERVER_CORE_EVENT_H_
#define ISTHMUS_SERVER_CORE_EVENT_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "common/base/ids.h"
#include "common/pace/pacer.h"
#include "common/run/update.h"

namespace isthmus {

// A process has registered for its group; `replaced`: the one before it is fenced.
struct Joined {
  Member member;
  std::string label;
  bool replaced = false;
};
// Its job has attached, with the run's layout; or is gone.
struct JobReady {
  Member member;
};
struct JobGone {
  Member member;
  std::string reason;
};
// It has said goodbye.
struct Left {
  Member member;
  std::string reason;
};
// It may not take part, or not like this.
struct RefusedMember {
  GroupId group;
  std::string reason;
};
// All groups start from its parameters.
struct ChosenDonor {
  GroupId group;
};
// The open round goes on without waiting for it.
struct NotAwaited {
  Round round;
  GroupId group;
  std::string reason;
};
// (round, bucket) was committed without these, which were awaited.
struct CommittedWithout {
  Round round;
  BucketIndex bucket;
  std::vector<GroupId> groups;
};
// How a group keeps up (P9).
struct FoundSilent {
  Member member;
  Round round;
  std::string phase;  // what keeps it, as it says; empty: it does not
};
struct SendsAgain {
  Member member;
};
struct FoundTooSlow {
  Member member;
  Round round;
  std::string phase;
};
struct InTimeAgain {
  Member member;
  Round round;
};
// Contributors of one update that brought other rates: those of `counts` are the ones applied.
struct RatesDiffer {
  Round round;
  BucketIndex bucket;
  GroupId group;
  GroupId counts;
};
// The audit (P22).
struct AuditDiffered {
  Round round;
  Member member;
  std::string difference;
};
// It is sent a snapshot, since it differs, or has its state from `source`, which does.
struct Resynced {
  Member member;
  Round round;
  GroupId source;  // itself: it differs by itself
};
struct Reinstated {
  Member member;
};
struct SnapshotFailed {
  TransferId transfer;
  GroupId donor;
  GroupId joiner;
  std::string reason;
};
struct RunEnded {
  Round round;
};
// Rounds are to have another format (P30), and what was predicted of it and of others.
struct PaceChanged {
  FormatChange change;
  RoundFormat before;
  PaceDecision decision;
};

// The pace was told to keep what rounds have, or to go on.
struct PaceFrozen {
  Round round;  // the open one
  bool frozen = false;
};

using Event = std::variant<Joined, JobReady, JobGone, Left, RefusedMember, ChosenDonor, NotAwaited,
                           CommittedWithout, FoundSilent, SendsAgain, FoundTooSlow, InTimeAgain,
                           RatesDiffer, AuditDiffered, Resynced, Reinstated, SnapshotFailed,
                           RunEnded, PaceChanged, PaceFrozen>;

// One line. May hold text of peers: who prints it sees to control characters.
std::string EventText(const Event& event);
// A stable word for metrics and scripts: "joined", "committed_without", ...
const char* EventKind(const Event& event);

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_EVENT_H_
