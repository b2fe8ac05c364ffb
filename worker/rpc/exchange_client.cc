#include "worker/rpc/exchange_client.h"

#include <absl/strings/str_cat.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/exchange/link_meter.h"
#include "common/exchange/pump.h"
#include "common/transport/ack_meter.h"
#include "common/transport/convert.h"
#include "common/transport/frame_order.h"
#include "common/transport/probe_lane.h"
#include "common/transport/snapshot_frame.h"
#include "common/transport/status.h"
#include "common/transport/waiting_reader.h"
#include "isthmus/v1/exchange.grpc.pb.h"
#include "worker/rpc/exchange_times.h"
#include "worker/rpc/update_assembler.h"
#include "worker/rpc/update_message.h"

namespace isthmus {
namespace {

// Parts in the order in which they were extracted. Of the pump, under its lock.
class PartLane : public FrameLane<v1::WorkerMessage> {
 public:
  void Put(std::shared_ptr<const OutgoingPart> part) { parts_.push_back(std::move(part)); }
  // Of (round, bucket), one half sent too: the next begins with offset 0, and drops that.
  void Drop(Round round, BucketIndex bucket) {
    const auto is_it = [&](const std::shared_ptr<const OutgoingPart>& p) {
      return p->part.round == round && p->part.bucket == bucket;
    };
    if (!parts_.empty() && is_it(parts_.front())) offset_ = 0;
    parts_.erase(std::remove_if(parts_.begin(), parts_.end(), is_it), parts_.end());
  }

  absl::StatusOr<bool> Wait() override { return !parts_.empty(); }
  absl::StatusOr<bool> Next(const FrameOrder& order, v1::WorkerMessage* message) override {
    if (parts_.empty()) return false;
    const OutgoingPart& out = *parts_.front();
    v1::PartFrame* frame = message->mutable_part();
    frame->set_round(out.part.round.value());
    frame->set_bucket(out.part.bucket.value());
    frame->set_first_chunk(out.part.chunks.first);
    frame->set_chunk_count(out.part.chunks.count);
    const std::string& payload = *out.part.payload;
    frame->set_payload_bytes(payload.size());
    frame->set_offset(offset_);
    const uint64_t size = std::min<uint64_t>(order.most_bytes, payload.size() - offset_);
    frame->set_data(payload.data() + offset_, size);
    Fill(order, frame);
    if (offset_ == 0) ToProto(out.info, frame->mutable_info());
    offset_ += size;
    if (offset_ < payload.size()) return true;
    offset_ = 0;
    parts_.pop_front();
    return true;
  }

 private:
  std::deque<std::shared_ptr<const OutgoingPart>> parts_;
  uint64_t offset_ = 0;  // of the first
};

// The snapshot that this group gives, at most one. Of the pump, under its lock.
class SnapshotLane : public FrameLane<v1::WorkerMessage> {
 public:
  void Begin(TransferId transfer, uint64_t window_bytes) {
    snapshot_.emplace(transfer, window_bytes);
  }
  // Null if that is not the one, or no more.
  OutgoingSnapshot* Find(TransferId transfer) {
    return snapshot_ && snapshot_->transfer() == transfer ? &*snapshot_ : nullptr;
  }
  void Drop(TransferId transfer) {
    if (Find(transfer) != nullptr) snapshot_.reset();
  }

  absl::StatusOr<bool> Wait() override { return snapshot_.has_value(); }
  absl::StatusOr<bool> Next(const FrameOrder& order, v1::WorkerMessage* message) override {
    if (!snapshot_) return false;
    std::optional<SnapshotPiece> piece = snapshot_->Next(order.most_bytes);
    if (!piece) return false;
    ToFrame(*std::move(piece), message->mutable_snapshot());
    Fill(order, message->mutable_snapshot());
    return true;
  }

 private:
  std::optional<OutgoingSnapshot> snapshot_;
};

class Stream : public ExchangeClient,
               public grpc::ClientBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>,
               FrameWriter<v1::WorkerMessage> {
 public:
  Stream(std::shared_ptr<grpc::Channel> channel, uint64_t id, StreamEvents* events)
      : id_(id),
        events_(events),
        stub_(v1::Exchange::NewStub(channel)),
        pump_(this, {&parts_, &snapshot_, &probe_}) {}

  void Start(std::shared_ptr<Stream> self, const Identity& identity, Sequence applied) {
    self_ = std::move(self);
    stub_->async()->Connect(&context_, this);
    v1::WorkerMessage message;
    v1::Hello* hello = message.mutable_hello();
    hello->mutable_identity()->set_group_id(identity.group.value());
    hello->mutable_identity()->set_incarnation(identity.incarnation.value());
    hello->set_instance(identity.instance);
    hello->set_applied_sequence(applied.value());
    hello->set_takes_probes(true);
    probe_bounds_.Ask();
    pump_.Send(std::move(message));
    StartRead(&reading_);
    StartCall();
  }

  // --- sending ---------------------------------------------------------------------------------

  void SendPart(std::shared_ptr<const OutgoingPart> part) override {
    pump_.Change([&] { parts_.Put(std::move(part)); });
  }

  void SendAbstain(Round round, BucketIndex bucket, AbstainReason reason) override {
    v1::WorkerMessage message;
    message.mutable_abstain()->set_round(round.value());
    message.mutable_abstain()->set_bucket(bucket.value());
    message.mutable_abstain()->set_reason(static_cast<v1::Abstain::Reason>(reason));
    pump_.Send(std::move(message));
  }

  void SendCaughtUp(TransferId transfer, Sequence sequence) override {
    v1::WorkerMessage message;
    message.mutable_caught_up()->set_transfer(transfer.value());
    message.mutable_caught_up()->set_sequence(sequence.value());
    pump_.Send(std::move(message));
  }

  void SendAudit(Round round, const std::vector<uint64_t>& bucket_hashes) override {
    v1::WorkerMessage message;
    message.mutable_audit()->set_round(round.value());
    message.mutable_audit()->mutable_bucket_hashes()->Assign(bucket_hashes.begin(),
                                                             bucket_hashes.end());
    pump_.Send(std::move(message));
  }

  void SendSnapshotHeld(TransferId transfer, const std::vector<uint64_t>& block_hashes) override {
    v1::WorkerMessage message;
    message.mutable_snapshot_held()->set_transfer(transfer.value());
    message.mutable_snapshot_held()->mutable_block_hashes()->Assign(block_hashes.begin(),
                                                                    block_hashes.end());
    pump_.Send(std::move(message));
  }

  void GiveSnapshot(TransferId transfer, OutgoingSnapshot::State state) override {
    pump_.Change([&] {
      if (OutgoingSnapshot* out = snapshot_.Find(transfer)) out->SetState(std::move(state));
    });
  }

  void StopSending(Round round, BucketIndex bucket) override {
    pump_.Change([&] { parts_.Drop(round, bucket); });
  }

  LinkEstimate link() const override {
    MutexLock lock(&mu_);
    return link_.estimate();
  }

  absl::Duration exchange_time() const override {
    MutexLock lock(&mu_);
    return times_.Median();
  }

  void Cancel() override { context_.TryCancel(); }

  void OnWriteDone(bool ok) override { pump_.Written(ok); }

  // --- hearing ---------------------------------------------------------------------------------

  void OnReadDone(bool ok) override {
    reader_.Came(Clock::Real().Now());
    if (ok) {
      const absl::Status status = Handle();
      if (status.ok()) {
        reader_.Asked(Clock::Real().Now());
        StartRead(&reading_);
        return;
      }
      Fail(status);
    }
    pump_.Stop();
  }

  void OnDone(const grpc::Status& status) override {
    pump_.Stop();
    absl::Status end = FromGrpc(status);
    {
      MutexLock lock(&mu_);
      if (!error_.ok()) end = error_;
    }
    if (end.ok()) end = absl::UnavailableError("the coordinator ended the stream");
    events_->OnStreamEnd(id_, end);
    self_.reset();
  }

 private:
  absl::Status Handle() {
    switch (reading_.message_case()) {
      case v1::CoordinatorMessage::kWelcome:
        return HandleWelcome();
      case v1::CoordinatorMessage::kUpdate:
        Arrived(reading_.update());
        return HandleUpdate();
      case v1::CoordinatorMessage::kProbe:
        Arrived(reading_.probe());
        return probe_bounds_.Take(reading_.probe().data().size());
      case v1::CoordinatorMessage::kStart:
        events_->OnStart(id_, reading_.start().group_index(), reading_.start().group_count());
        return absl::OkStatus();
      case v1::CoordinatorMessage::kDue:
        events_->OnDue(id_, Round(reading_.due().round()));
        return absl::OkStatus();
      case v1::CoordinatorMessage::kClosed:
        events_->OnClosed(id_, Round(reading_.closed().round()),
                          BucketIndex(reading_.closed().bucket()));
        return absl::OkStatus();
      case v1::CoordinatorMessage::kRefused:
        events_->OnRefused(id_, Round(reading_.refused().round()),
                           BucketIndex(reading_.refused().bucket()), reading_.refused().reason());
        return absl::OkStatus();
      case v1::CoordinatorMessage::kSnapshotRequest:
        return HandleSnapshotRequest(reading_.snapshot_request());
      case v1::CoordinatorMessage::kSnapshotHeld:
        HandleSnapshotHeld(reading_.snapshot_held());
        return absl::OkStatus();
      case v1::CoordinatorMessage::kSnapshotAck:
        HandleSnapshotAck(reading_.snapshot_ack());
        return absl::OkStatus();
      case v1::CoordinatorMessage::kSnapshotOffer:
        events_->OnSnapshotOffer(id_, TransferId(reading_.snapshot_offer().transfer()));
        return absl::OkStatus();
      case v1::CoordinatorMessage::kSnapshot:
        Arrived(reading_.snapshot());
        return HandleSnapshot();
      case v1::CoordinatorMessage::kSnapshotAborted:
        HandleSnapshotAborted(TransferId(reading_.snapshot_aborted().transfer()));
        return absl::OkStatus();
      case v1::CoordinatorMessage::kAck:
        pump_.Acked(reading_.ack().bytes(),
                    absl::Microseconds(static_cast<int64_t>(reading_.ack().elapsed_micros())));
        return absl::OkStatus();
      case v1::CoordinatorMessage::MESSAGE_NOT_SET:
        return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  absl::Status HandleWelcome() {
    ISTHMUS_RETURN_IF_ERROR(events_->OnWelcome(id_, Sequence(reading_.welcome().next_sequence())));
    if (reading_.welcome().probe()) pump_.Change([&] { probe_.Begin(); });
    return absl::OkStatus();
  }

  absl::Status HandleUpdate() {
    ISTHMUS_ASSIGN_OR_RETURN(std::optional<v1::Update> update, assembler_.Add(reading_.update()));
    if (!update) return absl::OkStatus();
    ISTHMUS_ASSIGN_OR_RETURN(ReceivedUpdate received, ToReceived(*std::move(update)));
    {
      MutexLock lock(&mu_);
      times_.Got(received.header.round, Clock::Real().Now());
    }
    return events_->OnUpdate(id_, std::move(received), assembler_.peer_wait());
  }

  absl::Status HandleSnapshot() {
    ISTHMUS_ASSIGN_OR_RETURN(SnapshotPiece piece, FromFrame(*reading_.mutable_snapshot()));
    return events_->OnSnapshotPiece(id_, std::move(piece));
  }

  absl::Status HandleSnapshotRequest(const v1::SnapshotRequest& request) {
    const TransferId transfer(request.transfer());
    // Before the core hears of it: GiveSnapshot() may follow at once.
    pump_.Change([&] { snapshot_.Begin(transfer, request.window_bytes()); });
    return events_->OnSnapshotRequest(id_, transfer, Sequence(request.min_sequence()));
  }

  void HandleSnapshotHeld(const v1::SnapshotHeld& held) {
    pump_.Change([&] {
      if (OutgoingSnapshot* out = snapshot_.Find(TransferId(held.transfer()))) {
        out->SetHeld({held.block_hashes().begin(), held.block_hashes().end()});
      }
    });
  }

  void HandleSnapshotAck(const v1::SnapshotAck& ack) {
    pump_.Change([&] {
      if (OutgoingSnapshot* out = snapshot_.Find(TransferId(ack.transfer()))) {
        out->Taken(ack.taken_bytes());
      }
    });
  }

  void HandleSnapshotAborted(TransferId transfer) {
    pump_.Change([&] { snapshot_.Drop(transfer); });
    events_->OnSnapshotAborted(id_, transfer);
  }

  template <typename Frame>
  void Arrived(const Frame& frame) {
    const uint64_t bytes = reading_.ByteSizeLong();
    const absl::Time now = Clock::Real().Now();
    {
      MutexLock lock(&mu_);
      link_.Arrived({bytes, IdleBefore(frame), reader_.waited()}, now);
    }
    std::optional<v1::Ack> ack = received_.Add(bytes, frame.ack(), now);
    if (!ack) return;
    v1::WorkerMessage message;
    *message.mutable_ack() = *std::move(ack);
    pump_.Send(std::move(message));
  }

  void BeginWrite(const v1::WorkerMessage& message) override {
    if (message.has_part()) {
      MutexLock lock(&mu_);
      times_.Sent(Round(message.part().round()), Clock::Real().Now());
    }
    StartWrite(&message);
  }
  void OnPumpFailed(const absl::Status& status) override { Fail(status); }

  void Fail(const absl::Status& status) {
    {
      MutexLock lock(&mu_);
      error_ = status;
    }
    context_.TryCancel();
  }

  const uint64_t id_;
  StreamEvents* const events_;
  const std::unique_ptr<v1::Exchange::Stub> stub_;
  grpc::ClientContext context_;
  std::shared_ptr<Stream> self_;  // until OnDone

  // Touched by one read at a time.
  v1::CoordinatorMessage reading_;
  UpdateAssembler assembler_;
  AckMeter received_{Clock::Real().Now()};
  ProbeBounds probe_bounds_;
  WaitingReader reader_;

  mutable Mutex mu_;
  absl::Status error_ ABSL_GUARDED_BY(mu_);  // ours; else the coordinator's counts
  LinkMeter link_ ABSL_GUARDED_BY(mu_);
  ExchangeTimes times_ ABSL_GUARDED_BY(mu_);

  PartLane parts_;                      // of the pump
  SnapshotLane snapshot_;               // of the pump
  ProbeLane<v1::WorkerMessage> probe_;  // of the pump
  FramePump<v1::WorkerMessage> pump_;
};

}  // namespace

void ExchangeClient::Prepare(grpc::Channel& channel) {
  (void)channel.GetState(/*try_to_connect=*/true);
}

std::shared_ptr<ExchangeClient> ExchangeClient::Connect(std::shared_ptr<grpc::Channel> channel,
                                                        uint64_t stream, const Identity& identity,
                                                        Sequence applied, StreamEvents* events) {
  auto made = std::make_shared<Stream>(std::move(channel), stream, events);
  made->Start(made, identity, applied);
  return made;
}

}  // namespace isthmus
