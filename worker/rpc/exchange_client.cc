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
#include "common/transport/ack_meter.h"
#include "common/transport/convert.h"
#include "common/transport/status.h"
#include "isthmus/v1/exchange.grpc.pb.h"
#include "worker/rpc/snapshot_frame.h"
#include "worker/rpc/update_assembler.h"
#include "worker/rpc/update_message.h"

namespace isthmus {
namespace {

class Stream : public ExchangeClient,
               public grpc::ClientBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage> {
 public:
  Stream(std::shared_ptr<grpc::Channel> channel, uint64_t id, StreamEvents* events)
      : id_(id), events_(events), stub_(v1::Exchange::NewStub(channel)) {}

  void Start(std::shared_ptr<Stream> self, const Identity& identity, Sequence applied) {
    self_ = std::move(self);
    stub_->async()->Connect(&context_, this);
    v1::WorkerMessage message;
    v1::Hello* hello = message.mutable_hello();
    hello->mutable_identity()->set_group_id(identity.group.value());
    hello->mutable_identity()->set_incarnation(identity.incarnation.value());
    hello->set_instance(identity.instance);
    hello->set_applied_sequence(applied.value());
    Send(std::move(message));
    StartRead(&reading_);
    StartCall();
  }

  // --- sending ---------------------------------------------------------------------------------

  void SendPart(std::shared_ptr<const OutgoingPart> part) override {
    {
      MutexLock lock(&mu_);
      if (finished_) return;
      parts_.push_back(std::move(part));
    }
    Pump();
  }

  void SendAbstain(Round round, BucketIndex bucket, AbstainReason reason) override {
    v1::WorkerMessage message;
    message.mutable_abstain()->set_round(round.value());
    message.mutable_abstain()->set_bucket(bucket.value());
    message.mutable_abstain()->set_reason(static_cast<v1::Abstain::Reason>(reason));
    Send(std::move(message));
  }

  void SendCaughtUp(TransferId transfer, Sequence sequence) override {
    v1::WorkerMessage message;
    message.mutable_caught_up()->set_transfer(transfer.value());
    message.mutable_caught_up()->set_sequence(sequence.value());
    Send(std::move(message));
  }

  void SendAudit(Round round, const std::vector<uint64_t>& bucket_hashes) override {
    v1::WorkerMessage message;
    message.mutable_audit()->set_round(round.value());
    message.mutable_audit()->mutable_bucket_hashes()->Assign(bucket_hashes.begin(),
                                                             bucket_hashes.end());
    Send(std::move(message));
  }

  void SendSnapshotPiece(SnapshotPiece piece) override {
    {
      MutexLock lock(&mu_);
      if (finished_) return;
      snapshot_.push_back(std::move(piece));
    }
    Pump();
  }

  void StopSending(Round round, BucketIndex bucket) override {
    MutexLock lock(&mu_);
    const auto is_it = [&](const std::shared_ptr<const OutgoingPart>& p) {
      return p->part.round == round && p->part.bucket == bucket;
    };
    if (!parts_.empty() && is_it(parts_.front())) part_offset_ = 0;
    parts_.erase(std::remove_if(parts_.begin(), parts_.end(), is_it), parts_.end());
  }

  void Cancel() override { context_.TryCancel(); }

  void OnWriteDone(bool ok) override {
    {
      MutexLock lock(&mu_);
      write_in_flight_ = false;
      if (!ok) finished_ = true;
    }
    if (ok) Pump();
  }

  // --- hearing ---------------------------------------------------------------------------------

  void OnReadDone(bool ok) override {
    if (ok) {
      const absl::Status status = Handle();
      if (status.ok()) {
        StartRead(&reading_);
        return;
      }
      {
        MutexLock lock(&mu_);
        error_ = status;
      }
      context_.TryCancel();
    }
    MutexLock lock(&mu_);
    finished_ = true;
  }

  void OnDone(const grpc::Status& status) override {
    absl::Status end = FromGrpc(status);
    {
      MutexLock lock(&mu_);
      finished_ = true;
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
        return events_->OnWelcome(id_, Sequence(reading_.welcome().next_sequence()));
      case v1::CoordinatorMessage::kUpdate:
        CountFrame();
        return HandleUpdate();
      case v1::CoordinatorMessage::kStart:
        events_->OnStart(id_, reading_.start().group_index(), reading_.start().group_count());
        return absl::OkStatus();
      case v1::CoordinatorMessage::kClosed:
        events_->OnClosed(id_, Round(reading_.closed().round()),
                          BucketIndex(reading_.closed().bucket()));
        return absl::OkStatus();
      case v1::CoordinatorMessage::kSnapshotRequest:
        return events_->OnSnapshotRequest(id_, TransferId(reading_.snapshot_request().transfer()),
                                          reading_.snapshot_request().window_bytes(),
                                          Sequence(reading_.snapshot_request().min_sequence()));
      case v1::CoordinatorMessage::kSnapshotAck:
        events_->OnSnapshotAck(id_, TransferId(reading_.snapshot_ack().transfer()),
                               reading_.snapshot_ack().offset());
        return absl::OkStatus();
      case v1::CoordinatorMessage::kSnapshot:
        CountFrame();
        return HandleSnapshot();
      case v1::CoordinatorMessage::kSnapshotAborted:
        events_->OnSnapshotAborted(id_, TransferId(reading_.snapshot_aborted().transfer()));
        return absl::OkStatus();
      case v1::CoordinatorMessage::kAck:
      case v1::CoordinatorMessage::MESSAGE_NOT_SET:
        return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  absl::Status HandleUpdate() {
    ISTHMUS_ASSIGN_OR_RETURN(std::optional<v1::Update> update, assembler_.Add(reading_.update()));
    if (!update) return absl::OkStatus();
    return events_->OnUpdate(id_, ToReceived(*std::move(update)), assembler_.peer_wait());
  }

  absl::Status HandleSnapshot() {
    ISTHMUS_ASSIGN_OR_RETURN(SnapshotPiece piece, FromFrame(*reading_.mutable_snapshot()));
    return events_->OnSnapshotPiece(id_, std::move(piece));
  }

  void CountFrame() {
    std::optional<v1::Ack> ack = received_.Add(reading_.ByteSizeLong(), Clock::Real().Now());
    if (!ack) return;
    v1::WorkerMessage message;
    *message.mutable_ack() = *std::move(ack);
    Send(std::move(message));
  }

  void Send(v1::WorkerMessage message) {
    {
      MutexLock lock(&mu_);
      if (finished_) return;
      short_.push_back(std::move(message));
    }
    Pump();
  }

  void Pump() {
    MutexLock lock(&mu_);
    if (finished_ || write_in_flight_ || !NextMessage()) return;
    write_in_flight_ = true;
    StartWrite(&writing_);
  }

  bool NextMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (!short_.empty()) {
      writing_ = std::move(short_.front());
      short_.pop_front();
      return true;
    }
    if (!parts_.empty()) {
      NextPartFrame();
      return true;
    }
    if (snapshot_.empty()) return false;
    writing_.Clear();
    ToFrame(std::move(snapshot_.front()), writing_.mutable_snapshot());
    snapshot_.pop_front();
    return true;
  }

  void NextPartFrame() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const OutgoingPart& out = *parts_.front();
    writing_.Clear();
    v1::PartFrame* frame = writing_.mutable_part();
    frame->set_round(out.part.round.value());
    frame->set_bucket(out.part.bucket.value());
    frame->set_first_chunk(out.part.first_chunk);
    frame->set_chunk_count(out.part.chunk_count);
    const std::string& payload = *out.part.payload;
    frame->set_payload_bytes(payload.size());
    frame->set_offset(part_offset_);
    const uint64_t size = std::min<uint64_t>(kFrameBytes, payload.size() - part_offset_);
    frame->set_data(payload.data() + part_offset_, size);
    if (part_offset_ == 0) ToProto(out.info, frame->mutable_info());
    part_offset_ += size;
    if (part_offset_ < payload.size()) return;
    part_offset_ = 0;
    parts_.pop_front();
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

  Mutex mu_;
  v1::WorkerMessage writing_ ABSL_GUARDED_BY(mu_);
  bool write_in_flight_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status error_ ABSL_GUARDED_BY(mu_);
  std::deque<v1::WorkerMessage> short_ ABSL_GUARDED_BY(mu_);
  std::deque<std::shared_ptr<const OutgoingPart>> parts_ ABSL_GUARDED_BY(mu_);
  uint64_t part_offset_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<SnapshotPiece> snapshot_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

std::shared_ptr<ExchangeClient> ExchangeClient::Connect(std::shared_ptr<grpc::Channel> channel,
                                                        uint64_t stream, const Identity& identity,
                                                        Sequence applied, StreamEvents* events) {
  auto made = std::make_shared<Stream>(std::move(channel), stream, events);
  made->Start(made, identity, applied);
  return made;
}

}  // namespace isthmus
