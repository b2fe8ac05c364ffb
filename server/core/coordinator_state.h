// What a coordinator must know to go on with a run after its process has ended (docs/protocol.md,
// P14): a plain value, saved by Coordinator::Save() and taken up by Coordinator::Restore().
//
// Who is started again is like one whose streams have all broken at once and who has lost what it
// held of the open round. Left out is what then ends by itself, or is said again:
//   streams, transfers     are broken; who gets a snapshot is offered another
//   contributions and      of buckets that are not in the log: groups send them again after a
//   abstentions            reconnect, from their first byte (P12), and find the bucket open
//   decided buckets        not yet in the log: no update of them was sent, so that they are decided
//                          anew, of whoever answers then
//   who answered buckets   in the log: their updates say it. Only who is found in time again (P9)
//                          has to wait for another round
//   audit reports          the last of each group is sent again (P22). What is asked, of whom, and
//                          who was right is kept, so that nobody is judged by who reports first
//   applied_at_most        the Hello of the next stream says it
//   started                Start is repeated on every new stream
//   times                  deadlines, grace and silence count from the restart: everybody is within
//                          the grace period, even who had been away for longer
//   last_event, heartbeats words and figures for status, of this process
#ifndef ISTHMUS_SERVER_CORE_COORDINATOR_STATE_H_
#define ISTHMUS_SERVER_CORE_COORDINATOR_STATE_H_

#include <absl/status/status.h>

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "common/base/ids.h"
#include "common/run/run_spec.h"
#include "common/tensor/layout.h"
#include "server/core/audit.h"
#include "server/core/counters.h"
#include "server/core/membership.h"

namespace isthmus {

// One bucket, as far as the log has it.
struct BucketRecord {
  uint64_t commits = 0;              // updates with contributors, for Adam's bias correction (P11)
  std::optional<Sequence> sequence;  // of its update in the open round
  friend bool operator==(const BucketRecord&, const BucketRecord&) = default;
};

struct CoordinatorState {
  uint64_t instance = 0;
  // How often this instance has been started again. Ids of transfers begin anew with each, beyond
  // all that workers have heard of.
  uint32_t restarts = 0;
  RunSpec run;
  std::optional<Layout> layout;  // once a job has brought one
  Epoch epoch{1};
  std::vector<GroupRecord> groups;  // ascending id
  Round round;                      // the open one, or the last after the end; 0 before training
  std::set<GroupId> awaited;        // in it
  Sequence last_sequence;           // of the newest update in the log
  std::vector<BucketRecord> buckets;
  std::map<Round, AuditRecord> audits;
  CoordinatorCounters counters;
  float last_loss = std::numeric_limits<float>::quiet_NaN();
  RunTotals totals;
  // Of the open round and coming ones, ascending, as the log has them; none where they are the
  // run's.
  std::vector<FormatChange> formats;
};

// INVALID_ARGUMENT, naming what was expected and what is there, for a state that no coordinator
// saves: parts of it that contradict each other, or that nothing leads to.
absl::Status Check(const CoordinatorState& state);

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_COORDINATOR_STATE_H_
