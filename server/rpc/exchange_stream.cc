#include "server/rpc/exchange_stream.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/exchange/state_image.h"
#include "common/telemetry/log.h"
#include "common/transport/frame_order.h"
#include "common/transport/snapshot_frame.h"
#include "common/transport/status.h"
#include "server/rpc/engine_messages.h"

namespace isthmus {

namespace {

absl::Status TooSlow(Sequence needed) {
  return absl::ResourceExhaustedError(
      absl::StrCat("update ", needed.value(),
                   " is no longer held: this reader was slower than the ring of updates"));
}

}  // namespace

// --- lanes -------------------------------------------------------------------------------------

absl::StatusOr<bool> UpdateLane::Next(const FrameOrder& order, v1::CoordinatorMessage* message) {
  if (update_ == nullptr) {
    if (next_ == Sequence(0) || next_ > engine_->published()) return false;
    ISTHMUS_RETURN_IF_ERROR(Wait().status());
    const UpdateLog::ReadResult read = engine_->log().Read(next_, poke_);
    if (read.found == UpdateLog::Found::kLater) return false;
    if (read.found == UpdateLog::Found::kDropped) return TooSlow(next_);  // between the two
    update_ = read.record;
    offset_ = 0;
  }
  v1::UpdateFrame* frame = message->mutable_update();
  frame->set_sequence(next_.value());
  const uint64_t total = update_->BytesFor(group_, incarnation_);
  frame->set_update_bytes(total);
  frame->set_offset(offset_);
  const uint64_t size = std::min<uint64_t>(order.most_bytes, total - offset_);
  frame->set_data(update_->CopyFor(group_, incarnation_, offset_, size));
  Fill(order, frame);
  if (offset_ == 0) {
    for (const auto& [group, waited] : update_->waited) {
      if (group != group_) continue;
      frame->set_peer_wait_micros(static_cast<uint64_t>(absl::ToInt64Microseconds(waited)));
    }
  }
  offset_ += size;
  if (offset_ == total) {
    update_ = nullptr;
    ++next_;
  }
  return true;
}

// Who has stopped reading is told so here, not when it reads again.
absl::StatusOr<bool> UpdateLane::Wait() {
  if (next_ == Sequence(0)) return false;
  const Sequence needed = update_ == nullptr ? next_ : next_.next();
  if (needed < engine_->log().first_available()) return TooSlow(needed);
  return update_ != nullptr || next_ <= engine_->published();
}

absl::StatusOr<bool> RelayLane::Next(const FrameOrder& order, v1::CoordinatorMessage* message) {
  const uint64_t most_bytes = order.most_bytes;
  if (frames_.empty()) return false;
  v1::SnapshotFrame& first = frames_.front();
  v1::SnapshotFrame* frame = message->mutable_snapshot();
  // Who sends damaged data is found out by the joiner: it is not given a new checksum here.
  if (first.data().size() <= most_bytes || SnapshotCrc(first.data()) != first.crc32c()) {
    *frame = std::move(first);
    Fill(order, frame);
    frames_.pop_front();
    return true;
  }
  std::string rest = first.data().substr(most_bytes);
  frame->set_transfer(first.transfer());
  frame->set_sequence(first.sequence());
  frame->set_round(first.round());
  frame->set_total_bytes(first.total_bytes());
  frame->set_offset(first.offset());
  frame->set_data(first.data().data(), most_bytes);
  frame->set_crc32c(SnapshotCrc(frame->data()));
  frame->mutable_applied_rounds()->Swap(first.mutable_applied_rounds());
  if (first.has_totals()) frame->mutable_totals()->Swap(first.mutable_totals());
  first.clear_totals();
  frame->mutable_formats()->Swap(first.mutable_formats());
  Fill(order, frame);
  first.set_offset(first.offset() + most_bytes);
  first.set_crc32c(SnapshotCrc(rest));
  first.set_data(std::move(rest));
  return true;
}

// --- the stream --------------------------------------------------------------------------------

ExchangeStream* ExchangeStream::Start(Engine* engine) {
  auto stream = std::shared_ptr<ExchangeStream>(new ExchangeStream(engine));
  stream->self_ = stream;
  stream->updates_.SetPoke([weak = std::weak_ptr<ExchangeStream>(stream)] {
    if (const auto still = weak.lock()) still->Poke();
  });
  stream->StartRead(&stream->reading_);
  return stream.get();
}

ExchangeStream::ExchangeStream(Engine* engine)
    : engine_(engine),
      id_(engine->NewStreamId()),
      assembler_([this](Round round, BucketIndex bucket) {
        return engine_->ShapeOf(round, bucket, group_);
      }),
      received_(Clock::Real().Now()),
      updates_(engine),
      pump_(this, {&updates_, &relayed_, &probes_}) {}

// --- reading -----------------------------------------------------------------------------------

void ExchangeStream::OnReadDone(bool ok) {
  reader_.Came(Clock::Real().Now());
  if (!ok) {
    Close(absl::OkStatus());  // half-closed by the worker, or broken: OnDone tells the engine
    return;
  }
  Handle();
}

void ExchangeStream::Handle() {
  const uint64_t bytes = reading_.ByteSizeLong();
  if (meter_ != nullptr) meter_->Received(bytes, Clock::Real().Now());
  if (!hello_done_ && !reading_.has_hello()) {
    return FinishHandling(
        absl::FailedPreconditionError("exchange stream: expected Hello as the first message"));
  }
  switch (reading_.message_case()) {
    case v1::WorkerMessage::kHello:
      return FinishHandling(HandleHello(reading_.hello()));
    case v1::WorkerMessage::kPart:
      Arrived(bytes, reading_.part());
      return HandlePart(reading_.part());
    case v1::WorkerMessage::kAbstain:
      return FinishHandling(HandleAbstain(reading_.abstain()));
    case v1::WorkerMessage::kAck:
      meter_->Took(Clock::Real().Now());
      pump_.Acked(reading_.ack().bytes(),
                  absl::Microseconds(static_cast<int64_t>(reading_.ack().elapsed_micros())));
      if (const auto shortest = pump_.round_trip()) meter_->SetRoundTrip(*shortest);
      return FinishHandling(absl::OkStatus());
    case v1::WorkerMessage::kSnapshot:
      Arrived(bytes, reading_.snapshot());
      return FinishHandling(HandleSnapshot(std::move(*reading_.mutable_snapshot())));
    case v1::WorkerMessage::kProbe:
      Arrived(bytes, reading_.probe());
      return FinishHandling(probe_bounds_.Take(reading_.probe().data().size()));
    case v1::WorkerMessage::kSnapshotHeld:
      return FinishHandling(HandleHeld(std::move(*reading_.mutable_snapshot_held())));
    case v1::WorkerMessage::kCaughtUp:
      return FinishHandling(engine_->CaughtUp(id_, TransferId(reading_.caught_up().transfer()),
                                              Sequence(reading_.caught_up().sequence())));
    case v1::WorkerMessage::kAudit:
      return FinishHandling(HandleAudit(reading_.audit()));
    case v1::WorkerMessage::MESSAGE_NOT_SET:
      return FinishHandling(absl::InvalidArgumentError("exchange stream: an empty message"));
  }
}

absl::Status ExchangeStream::HandleHello(const v1::Hello& hello) {
  if (hello_done_) return absl::FailedPreconditionError("exchange stream: a second Hello");
  group_ = GroupId(hello.identity().group_id());
  incarnation_ = Incarnation(hello.identity().incarnation());
  Coordinator::Hello event{
      {group_, incarnation_}, hello.instance(), Sequence(hello.applied_sequence())};
  pump_.Change([&] { updates_.SetReceiver(group_, incarnation_); });
  takes_probes_ = hello.takes_probes();  // before Welcome is said
  ISTHMUS_ASSIGN_OR_RETURN(meter_, engine_->Opened(id_, self_, event));
  MutexLock lock(&mu_);
  write_meter_ = meter_;
  hello_done_ = true;
  return absl::OkStatus();
}

absl::Status ExchangeStream::HandleAbstain(const v1::Abstain& abstain) {
  if (abstain.reason() == v1::Abstain::REASON_UNSPECIFIED ||
      !v1::Abstain::Reason_IsValid(abstain.reason())) {
    engine_->CountRejected();
    return absl::InvalidArgumentError(
        absl::StrCat("abstain reason: expected 1 to 3, got ", static_cast<int>(abstain.reason())));
  }
  return engine_->Abstain(id_, Round(abstain.round()), BucketIndex(abstain.bucket()),
                          static_cast<AbstainReason>(abstain.reason()));
}

absl::Status ExchangeStream::HandleHeld(v1::SnapshotHeld held) {
  if (held.block_hashes_size() > static_cast<int>(kMaxStateBlocks)) {
    engine_->CountRejected();
    return absl::InvalidArgumentError(absl::StrCat("snapshot ", held.transfer(), ": hashes of ",
                                                   held.block_hashes_size(),
                                                   " blocks, expected at most ", kMaxStateBlocks));
  }
  const TransferId transfer(held.transfer());
  v1::CoordinatorMessage message;
  *message.mutable_snapshot_held() = std::move(held);
  engine_->Held(id_, transfer, std::make_unique<RelayedProto>(std::move(message)));
  return absl::OkStatus();
}

absl::Status ExchangeStream::HandleSnapshot(v1::SnapshotFrame frame) {
  const TransferId transfer(frame.transfer());
  const uint64_t offset = frame.offset(), size = frame.data().size();
  const bool last = frame.last();
  v1::CoordinatorMessage message;
  *message.mutable_snapshot() = std::move(frame);
  return engine_->Relay(id_, transfer, offset, size, last,
                        std::make_unique<RelayedProto>(std::move(message)));
}

absl::Status ExchangeStream::HandleAudit(const v1::AuditReport& report) {
  const BucketHashes hashes(report.bucket_hashes().begin(), report.bucket_hashes().end());
  return engine_->Audit(id_, Round(report.round()), hashes);
}

void ExchangeStream::HandlePart(const v1::PartFrame& frame) {
  meter_->PartFrame(Round(frame.round()), Clock::Real().Now());
  auto part = assembler_.Add(frame);
  if (!part.ok()) {
    engine_->CountRejected();
    return FinishHandling(part.status());
  }
  if (!*part) return FinishHandling(absl::OkStatus());
  engine_->Part(id_, group_, **std::move(part),
                [self = self_](absl::Status status) { self->FinishHandling(status); });
}

void ExchangeStream::FinishHandling(const absl::Status& status) {
  if (!status.ok()) {
    LogWarning(absl::StrCat("stream ", id_.value(), " ended: ", std::string(status.message())));
    return Close(status);
  }
  MutexLock lock(&mu_);
  if (finished_) return;
  reader_.Asked(Clock::Real().Now());
  StartRead(&reading_);
}

template <typename Frame>
void ExchangeStream::Arrived(uint64_t bytes, const Frame& frame) {
  const absl::Time now = Clock::Real().Now();
  link_.Arrived({bytes, IdleBefore(frame), reader_.waited()}, now);
  meter_->SetUp(link_.estimate());
  std::optional<v1::Ack> ack = received_.Add(bytes, frame.ack(), now);
  if (!ack) return;
  v1::CoordinatorMessage message;
  *message.mutable_ack() = *std::move(ack);
  pump_.Send(std::move(message));
}

// --- writing -----------------------------------------------------------------------------------

void ExchangeStream::Say(const ToWorker& what) {
  const auto* const welcome = std::get_if<SayWelcome>(&what);
  const bool probe = welcome != nullptr && welcome->probe;
  if (probe) probe_bounds_.Ask();
  pump_.Send(ToMessage(what));
  if (probe && takes_probes_) pump_.Change([&] { probes_.Begin(); });
}

void ExchangeStream::Relay(std::unique_ptr<RelayedMessage> message) {
  v1::CoordinatorMessage& said = static_cast<RelayedProto&>(*message).message;  // there is no other
  if (!said.has_snapshot()) return pump_.Send(std::move(said));
  pump_.Change([&] { relayed_.Put(std::move(*said.mutable_snapshot())); });
}

void ExchangeStream::SendUpdates(Sequence from) {
  pump_.Change([&] { updates_.SendFrom(from); });
}

void ExchangeStream::Poke() { pump_.Poke(); }

void ExchangeStream::OnWriteDone(bool ok) {
  const v1::CoordinatorMessage& written = pump_.writing();
  const bool relayed = written.has_snapshot();
  const TransferId transfer(written.snapshot().transfer());
  const uint64_t taken = written.snapshot().data().size();
  if (ok) {
    MutexLock lock(&mu_);
    if (write_meter_ != nullptr) write_meter_->Sent(written.ByteSizeLong());
  }
  pump_.Written(ok);
  if (!ok) return Close(absl::UnavailableError("the stream broke"));
  if (relayed) engine_->Relayed(transfer, taken);
}

// --- the end -----------------------------------------------------------------------------------

void ExchangeStream::Close(const absl::Status& status) {
  pump_.Stop();  // a write after Finish() would be one too many
  {
    MutexLock lock(&mu_);
    if (finished_) return;
    finished_ = true;
  }
  Finish(ToGrpc(status));
}

void ExchangeStream::OnCancel() { Close(absl::CancelledError("cancelled by the worker")); }

void ExchangeStream::OnDone() {
  engine_->Closed(id_, "ended");
  self_.reset();  // the last reference may go here
}

}  // namespace isthmus
