// The worker's end of one exchange stream. One object per connection; when it ends, the daemon
// makes another.
#ifndef ISTHMUS_WORKER_RPC_EXCHANGE_CLIENT_H_
#define ISTHMUS_WORKER_RPC_EXCHANGE_CLIENT_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/exchange/messages.h"
#include "common/exchange/snapshot.h"
#include "common/run/link_estimate.h"
#include "common/run/update.h"

namespace grpc {
class Channel;
}

namespace isthmus {

// What is heard. Called one at a time, from gRPC's threads. An error ends the stream.
class StreamEvents {
 public:
  virtual ~StreamEvents() = default;
  virtual absl::Status OnWelcome(uint64_t stream, Sequence next) = 0;
  virtual void OnStart(uint64_t stream, uint32_t group_index, uint32_t group_count) = 0;
  virtual absl::Status OnUpdate(uint64_t stream, ReceivedUpdate update,
                                absl::Duration peer_wait) = 0;
  virtual void OnDue(uint64_t stream, Round round) = 0;
  virtual void OnClosed(uint64_t stream, Round round, BucketIndex bucket) = 0;
  // The contribution to (round, bucket) will never be taken.
  virtual void OnRefused(uint64_t stream, Round round, BucketIndex bucket,
                         const std::string& reason) = 0;
  // A state as of `at_least` or later is to be given: GiveSnapshot() answers.
  virtual absl::Status OnSnapshotRequest(uint64_t stream, TransferId transfer,
                                         Sequence at_least) = 0;
  // A state will come: SendSnapshotHeld() answers.
  virtual void OnSnapshotOffer(uint64_t stream, TransferId transfer) = 0;
  virtual absl::Status OnSnapshotPiece(uint64_t stream, SnapshotPiece piece) = 0;
  virtual void OnSnapshotAborted(uint64_t stream, TransferId transfer) = 0;
  // The last call for `stream`.
  virtual void OnStreamEnd(uint64_t stream, const absl::Status& status) = 0;
};

// Thread-safe; calls return at once and do nothing once the stream has ended. Short messages go
// first, then parts in order, then pieces of the snapshot (common/exchange/pump.h).
class ExchangeClient {
 public:
  struct Identity {
    GroupId group;
    Incarnation incarnation;
    uint64_t instance = 0;
  };
  // Begins to connect, so that Connect() need not. Does nothing if that is done or under way.
  static void Prepare(grpc::Channel& channel);

  // Opens stream number `stream` and says Hello. `events` must outlive the stream.
  static std::shared_ptr<ExchangeClient> Connect(std::shared_ptr<grpc::Channel> channel,
                                                 uint64_t stream, const Identity& identity,
                                                 Sequence applied, StreamEvents* events);
  virtual ~ExchangeClient() = default;

  virtual void SendPart(std::shared_ptr<const OutgoingPart> part) = 0;
  virtual void SendAbstain(Round round, BucketIndex bucket, AbstainReason reason) = 0;
  virtual void SendCaughtUp(TransferId transfer, Sequence sequence) = 0;
  virtual void SendAudit(Round round, const std::vector<uint64_t>& bucket_hashes) = 0;
  virtual void SendSnapshotHeld(TransferId transfer, const std::vector<uint64_t>& block_hashes) = 0;
  // Sends of the state what the joiner does not hold, within the window; nothing if the transfer
  // has been given up.
  virtual void GiveSnapshot(TransferId transfer, OutgoingSnapshot::State state) = 0;
  // Drops what is queued for (round, bucket), a part half sent too.
  virtual void StopSending(Round round, BucketIndex bucket) = 0;
  // How fast updates come.
  virtual LinkEstimate link() const = 0;
  // As ExchangeTimes::Median().
  virtual absl::Duration exchange_time() const = 0;
  // Ends the stream; OnStreamEnd follows.
  virtual void Cancel() = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_RPC_EXCHANGE_CLIENT_H_
