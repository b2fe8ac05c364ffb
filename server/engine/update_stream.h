// A worker's exchange stream, as the engine uses it: in plain values, whatever carries them.
#ifndef ISTHMUS_SERVER_ENGINE_UPDATE_STREAM_H_
#define ISTHMUS_SERVER_ENGINE_UPDATE_STREAM_H_

#include <absl/status/status.h>

#include <cstdint>
#include <memory>
#include <string>
#include <variant>

#include "common/base/ids.h"
#include "common/run/update.h"

namespace isthmus {

// What a coordinator says (proto/isthmus/v1/exchange.proto has the same, field by field).
struct SayWelcome {
  Epoch epoch;
  Sequence next;       // 0: a snapshot or Start comes first
  bool probe = false;  // the link is to be filled for a moment (P24b)
};
struct SayStart {
  uint32_t group_index = 0;
  uint32_t group_count = 0;
  Round open_round;
};
// The round is to be taken in.
struct SayDue {
  Round round;
};
struct SayClosed {
  Round round;
  BucketIndex bucket;
};
// The contribution is never to be taken, and never to be sent again.
struct SayRefused {
  Round round;
  BucketIndex bucket;
  std::string reason;
};
struct AskForSnapshot {
  TransferId transfer;
  uint64_t window_bytes = 0;
  Sequence at_least;
};
// To a joiner: say what you hold of it already.
struct OfferSnapshot {
  TransferId transfer;
};
// To a donor: the joiner's stream has taken so many bytes, in all.
struct SaySnapshotTaken {
  TransferId transfer;
  uint64_t bytes = 0;
};
struct SaySnapshotAborted {
  TransferId transfer;
  std::string reason;
};
using ToWorker = std::variant<SayWelcome, SayStart, SayDue, SayClosed, SayRefused, AskForSnapshot,
                              OfferSnapshot, SaySnapshotTaken, SaySnapshotAborted>;

// A message from one worker to another, which the engine passes on without looking into it.
class RelayedMessage {
 public:
  virtual ~RelayedMessage() = default;
};

// Thread-safe; calls return at once, and do nothing once the stream has ended.
class UpdateStream {
 public:
  virtual ~UpdateStream() = default;
  virtual void Say(const ToWorker& what) = 0;
  virtual void Relay(std::unique_ptr<RelayedMessage> message) = 0;
  // Sends updates from `from` on, up to what has been published (0: none); Poke() says there is
  // more.
  virtual void SendUpdates(Sequence from) = 0;
  virtual void Poke() = 0;
  virtual void Close(const absl::Status& status) = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_ENGINE_UPDATE_STREAM_H_
