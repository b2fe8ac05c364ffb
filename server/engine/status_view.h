// The coordinator's status as plain values, a copy that nobody else touches: the message of
// GetStatus, metrics and pages each read it in their own way.
#ifndef ISTHMUS_SERVER_ENGINE_STATUS_VIEW_H_
#define ISTHMUS_SERVER_ENGINE_STATUS_VIEW_H_

#include <absl/time/time.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/run/link_estimate.h"
#include "common/run/run_spec.h"
#include "common/run/worker_report.h"
#include "server/core/coordinator.h"
#include "server/core/event.h"

namespace isthmus {

// An event with when it happened, by the coordinator's own clock.
struct PastEvent {
  absl::Time at;
  uint64_t number = 0;  // from 1, without gaps: who reads again knows what is new
  Event event;
};

// A round that is in the log.
struct PastRound {
  Round round;
  RoundFormat format;
  absl::Duration took;    // since the one before, or since training began
  uint64_t bytes_up = 0;  // of all groups' streams meanwhile
  uint64_t bytes_down = 0;
};

struct GroupView {
  GroupId id;
  Incarnation incarnation;
  std::string label;
  // "registered", "syncing", "ready", "waiting for its job", "active", "silent", "too slow",
  // "gone".
  const char* state = "";
  bool connected = false;
  bool awaited = false;           // by the open round
  uint32_t buckets_received = 0;  // of the open round, complete
  uint32_t ranks = 0;
  uint64_t bytes_up = 0;  // message bytes of its streams
  uint64_t bytes_down = 0;
  LinkEstimate up;                           // the other direction is in its report
  std::optional<absl::Duration> round_trip;  // the shortest of its stream
  uint64_t contributions_merged = 0;         // (bucket)
  uint64_t contributions_late = 0;
  float loss = 0;                             // of the last one merged
  std::optional<absl::Duration> since_heard;  // of anything
  std::string last_event;
  std::optional<WorkerReport> report;  // of its last heartbeat
};

struct StatusView {
  uint64_t instance = 0;
  Epoch epoch;
  Coordinator::State state = Coordinator::State::kWaitingForGroups;
  std::string waiting_reason;
  Round round;  // the open one; the last one after the end
  Sequence sequence;
  RunSpec run;
  uint64_t parameters = 0;  // logical elements; 0 before a layout is known
  uint32_t buckets = 0;
  CoordinatorCounters counters;
  uint64_t rejected = 0;  // parts that were malformed or out of place
  absl::Time now;         // when it was taken
  absl::Duration uptime;
  float loss = 0;
  double samples_per_second = 0;
  absl::Duration deadline;  // of the open round's buckets
  uint64_t log_bytes = 0;
  std::vector<GroupView> groups;  // ascending id
  std::deque<PastEvent> events;   // the last ones, oldest first
  std::deque<PastRound> rounds;   // the same
  bool paced = false;
  bool pace_frozen = false;
  std::optional<PaceDecision> decision;  // the pace's last
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_ENGINE_STATUS_VIEW_H_
