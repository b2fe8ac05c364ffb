// What the coordinator's core asks of the world. Actions are performed in the order given; each
// names what it is about, so that a late one is recognised and ignored.
#ifndef ISTHMUS_SERVER_CORE_ACTIONS_H_
#define ISTHMUS_SERVER_CORE_ACTIONS_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "common/base/ids.h"
#include "common/run/update.h"
#include "server/core/event.h"

namespace isthmus {

// Merge the stored contributions of `update.contributors`, in that order, into a record. Answer
// with Coordinator::Merged(update.sequence).
struct MergeBucket {
  UpdateHeader update;
  // Per contributor: from its last complete contribution of the round to this commit.
  std::vector<absl::Duration> waited;
};
// Put the merged record into the log. Answer with Coordinator::Appended. In sequence order.
struct Append {
  Sequence sequence;
};
// Streams that receive updates may be sent everything up to `sequence`.
struct Publish {
  Sequence sequence;
};
// Send `stream` the updates from `from` on, as they are published; 0: none any more.
struct SendUpdates {
  StreamId stream;
  Sequence from;
};
struct SendStart {
  StreamId stream;
  uint32_t group_index = 0;
  uint32_t group_count = 0;
  Round open_round;
};
// The open round is to be taken in.
struct SendDue {
  StreamId stream;
  Round round;
};
// (round, bucket) was committed without this group: it can stop sending.
struct SendClosed {
  StreamId stream;
  Round round;
  BucketIndex bucket;
};
// Relay a snapshot as of `at_least` or later, frame by frame, from `donor` to `joiner`.
struct StartTransfer {
  TransferId transfer;
  StreamId donor;
  StreamId joiner;
  Sequence at_least;
};
// Stop relaying `transfer`, and tell whoever is still there.
struct AbortTransfer {
  TransferId transfer;
  StreamId donor;
  StreamId joiner;
  std::string reason;
};
// End `stream` with this status.
struct CloseStream {
  StreamId stream;
  absl::Status status;
};
// Forget the stored parts of a group's contribution to (round, bucket).
struct DropContribution {
  GroupId group;
  Round round;
  BucketIndex bucket;
};
// For the operator, status and metrics.
struct Happened {
  Event event;
};

using Action =
    std::variant<MergeBucket, Append, Publish, SendUpdates, SendStart, SendDue, SendClosed,
                 StartTransfer, AbortTransfer, CloseStream, DropContribution, Happened>;
using Actions = std::vector<Action>;

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_ACTIONS_H_
