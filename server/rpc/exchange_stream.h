// One worker's exchange stream: reads messages into the engine, writes what the engine sends.
#ifndef ISTHMUS_SERVER_RPC_EXCHANGE_STREAM_H_
#define ISTHMUS_SERVER_RPC_EXCHANGE_STREAM_H_

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "common/base/mutex.h"
#include "common/exchange/link_meter.h"
#include "common/exchange/pump.h"
#include "common/transport/ack_meter.h"
#include "common/transport/probe_lane.h"
#include "common/transport/waiting_reader.h"
#include "isthmus/v1/exchange.grpc.pb.h"
#include "server/engine/engine.h"
#include "server/rpc/part_assembler.h"

namespace isthmus {

// Updates from a sequence on, as they are published. Of the pump, under its lock.
class UpdateLane : public FrameLane<v1::CoordinatorMessage> {
 public:
  explicit UpdateLane(Engine* engine) : engine_(engine) {}
  // What the log calls when it has fetched something; before the first frame.
  void SetPoke(std::function<void()> poke) { poke_ = std::move(poke); }
  // Before the first frame: whose stream it is.
  void SetReceiver(GroupId group, Incarnation incarnation) {
    group_ = group;
    incarnation_ = incarnation;
  }
  void SendFrom(Sequence from) {
    next_ = from;
    update_ = nullptr;
    offset_ = 0;
  }
  absl::StatusOr<bool> Next(const FrameOrder& order, v1::CoordinatorMessage* message) override;
  absl::StatusOr<bool> Wait() override;

 private:
  Engine* const engine_;
  std::function<void()> poke_;
  GroupId group_;
  Incarnation incarnation_;
  Sequence next_;  // 0: none yet
  std::shared_ptr<const UpdateRecord> update_;
  uint64_t offset_ = 0;
};

// Relayed frames of snapshots, cut again if this link's are to be smaller; bounded by the snapshot
// window. Of the pump, under its lock.
class RelayLane : public FrameLane<v1::CoordinatorMessage> {
 public:
  void Put(v1::SnapshotFrame frame) { frames_.push_back(std::move(frame)); }
  absl::StatusOr<bool> Next(const FrameOrder& order, v1::CoordinatorMessage* message) override;
  absl::StatusOr<bool> Wait() override { return !frames_.empty(); }

 private:
  std::deque<v1::SnapshotFrame> frames_;
};

// Reads one message at a time: the next is asked for when the last has been dealt with, so a fast
// sender is held back by flow control. What is written, and in which order, is the pump's
// (common/exchange/pump.h): short messages, then frames of updates, then relayed snapshot frames,
// then those that only fill the link.
//
// Made by the service; keeps itself alive until gRPC is done with it. Thread-safe.
class ExchangeStream : public grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>,
                       public UpdateStream,
                       FrameWriter<v1::CoordinatorMessage> {
 public:
  static ExchangeStream* Start(Engine* engine);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void Say(const ToWorker& what) override;
  void Relay(std::unique_ptr<RelayedMessage> message) override;
  void SendUpdates(Sequence from) override;
  void Poke() override;
  void Close(const absl::Status& status) override;

 private:
  explicit ExchangeStream(Engine* engine);

  void Handle();
  absl::Status HandleHello(const v1::Hello& hello);
  absl::Status HandleAbstain(const v1::Abstain& abstain);
  absl::Status HandleHeld(v1::SnapshotHeld held);
  absl::Status HandleSnapshot(v1::SnapshotFrame frame);
  absl::Status HandleAudit(const v1::AuditReport& report);
  void HandlePart(const v1::PartFrame& frame);
  void FinishHandling(const absl::Status& status);  // asks for the next message, or ends
  template <typename Frame>
  void Arrived(uint64_t bytes, const Frame& frame);  // a message with a frame
  void BeginWrite(const v1::CoordinatorMessage& message) override { StartWrite(&message); }
  void OnPumpFailed(const absl::Status& status) override { Close(status); }

  Engine* const engine_;
  const StreamId id_;
  std::shared_ptr<ExchangeStream> self_;  // until OnDone

  // Touched by one read at a time.
  v1::WorkerMessage reading_;
  PartAssembler assembler_;
  bool hello_done_ = false;
  bool takes_probes_ = false;          // as Hello says
  std::shared_ptr<GroupMeter> meter_;  // from Hello on
  GroupId group_;
  Incarnation incarnation_;
  AckMeter received_;
  LinkMeter link_;
  ProbeBounds probe_bounds_;
  WaitingReader reader_;

  Mutex mu_;
  std::shared_ptr<GroupMeter> write_meter_ ABSL_GUARDED_BY(mu_);  // meter_, for who writes
  // Finish() was called: nothing else may be begun on the stream.
  bool finished_ ABSL_GUARDED_BY(mu_) = false;

  UpdateLane updates_;                        // of the pump
  RelayLane relayed_;                         // of the pump
  ProbeLane<v1::CoordinatorMessage> probes_;  // of the pump
  FramePump<v1::CoordinatorMessage> pump_;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_RPC_EXCHANGE_STREAM_H_
