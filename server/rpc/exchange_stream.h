// One worker's exchange stream: reads messages into the engine, writes what the engine sends.
#ifndef ISTHMUS_SERVER_RPC_EXCHANGE_STREAM_H_
#define ISTHMUS_SERVER_RPC_EXCHANGE_STREAM_H_

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <optional>

#include "common/base/mutex.h"
#include "common/transport/ack_meter.h"
#include "isthmus/v1/exchange.grpc.pb.h"
#include "server/rpc/engine.h"
#include "server/rpc/part_assembler.h"

namespace isthmus {

// Reads one message at a time: the next is asked for when the last has been dealt with, so a fast
// sender is held back by flow control. Writes one message at a time: short messages first, then
// frames of the next update, then relayed snapshot frames (bounded by the snapshot window).
//
// Made by the service; keeps itself alive until gRPC is done with it. Thread-safe.
class ExchangeStream : public grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>,
                       public UpdateStream {
 public:
  static ExchangeStream* Start(Engine* engine);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void Send(v1::CoordinatorMessage message) override;
  void SendUpdates(Sequence from) override;
  void Poke() override;
  void Close(const absl::Status& status) override;

 private:
  explicit ExchangeStream(Engine* engine);

  void Handle();
  absl::Status HandleHello(const v1::Hello& hello);
  void HandlePart(const v1::PartFrame& frame);
  void FinishHandling(const absl::Status& status);  // asks for the next message, or ends
  void AckReceived(uint64_t bytes);
  void Pump();
  // Fills `writing_` with the next message. False when there is nothing to send.
  bool NextMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool NextUpdateFrame() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Engine* const engine_;
  const StreamId id_;
  std::shared_ptr<ExchangeStream> self_;  // until OnDone

  // Touched by one read at a time.
  v1::WorkerMessage reading_;
  PartAssembler assembler_;
  bool hello_done_ = false;
  std::shared_ptr<GroupMeter> meter_;  // from Hello on
  GroupId group_;
  Incarnation incarnation_;
  AckMeter received_;

  Mutex mu_;
  std::shared_ptr<GroupMeter> write_meter_ ABSL_GUARDED_BY(mu_);  // meter_, for who writes
  v1::CoordinatorMessage writing_ ABSL_GUARDED_BY(mu_);
  bool write_in_flight_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<v1::CoordinatorMessage> short_ ABSL_GUARDED_BY(mu_);
  std::deque<v1::SnapshotFrame> snapshot_ ABSL_GUARDED_BY(mu_);
  Sequence next_update_ ABSL_GUARDED_BY(mu_);  // 0: none yet
  std::shared_ptr<const UpdateRecord> update_ ABSL_GUARDED_BY(mu_);
  uint64_t update_offset_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<absl::Status> close_after_ ABSL_GUARDED_BY(mu_);
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_RPC_EXCHANGE_STREAM_H_
