#include "server/rpc/exchange_stream.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/telemetry/log.h"
#include "common/transport/status.h"

namespace isthmus {
namespace {

// Short messages waiting for a slow reader: bounded, because each answers something bounded.
constexpr size_t kMaxShortMessages = 65536;

}  // namespace

ExchangeStream* ExchangeStream::Start(Engine* engine) {
  auto stream = std::shared_ptr<ExchangeStream>(new ExchangeStream(engine));
  stream->self_ = stream;
  stream->StartRead(&stream->reading_);
  return stream.get();
}

ExchangeStream::ExchangeStream(Engine* engine)
    : engine_(engine),
      id_(engine->NewStreamId()),
      assembler_([this](Round round) { return engine_->formats().FormatAt(round, group_); },
                 [engine](BucketIndex bucket) { return engine->BucketChunks(bucket); }),
      received_(Clock::Real().Now()) {}

// --- reading -----------------------------------------------------------------------------------

void ExchangeStream::OnReadDone(bool ok) {
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
      AckReceived(bytes);
      return HandlePart(reading_.part());
    case v1::WorkerMessage::kAbstain:
      return FinishHandling(engine_->Abstain(id_, reading_.abstain()));
    case v1::WorkerMessage::kAck:
      return FinishHandling(absl::OkStatus());
    case v1::WorkerMessage::kSnapshot:
      AckReceived(bytes);
      return FinishHandling(engine_->Relay(id_, std::move(*reading_.mutable_snapshot())));
    case v1::WorkerMessage::kCaughtUp:
      return FinishHandling(engine_->CaughtUp(id_, reading_.caught_up()));
    case v1::WorkerMessage::kAudit:
      return FinishHandling(engine_->Audit(id_, reading_.audit()));
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
  ISTHMUS_ASSIGN_OR_RETURN(meter_, engine_->Opened(id_, self_, event));
  MutexLock lock(&mu_);
  write_meter_ = meter_;
  hello_done_ = true;
  return absl::OkStatus();
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
  if (!finished_) StartRead(&reading_);
}

void ExchangeStream::AckReceived(uint64_t bytes) {
  std::optional<v1::Ack> ack = received_.Add(bytes, Clock::Real().Now());
  if (!ack) return;
  v1::CoordinatorMessage message;
  *message.mutable_ack() = *std::move(ack);
  Send(std::move(message));
}

// --- writing -----------------------------------------------------------------------------------

void ExchangeStream::Send(v1::CoordinatorMessage message) {
  {
    MutexLock lock(&mu_);
    if (finished_) return;
    if (message.has_snapshot()) {
      snapshot_.push_back(std::move(*message.mutable_snapshot()));
    } else if (short_.size() < kMaxShortMessages) {
      short_.push_back(std::move(message));
    } else {
      close_after_ = absl::ResourceExhaustedError("the worker does not read");
    }
  }
  Pump();
}

void ExchangeStream::SendUpdates(Sequence from) {
  {
    MutexLock lock(&mu_);
    next_update_ = from;
    update_ = nullptr;
    update_offset_ = 0;
  }
  Pump();
}

void ExchangeStream::Poke() { Pump(); }

void ExchangeStream::Pump() {
  std::optional<absl::Status> close;
  {
    MutexLock lock(&mu_);
    if (finished_ || write_in_flight_) return;
    if (!close_after_ && NextMessage()) {
      write_in_flight_ = true;
      StartWrite(&writing_);
      return;
    }
    close = close_after_;
  }
  if (close) Close(*close);
}

bool ExchangeStream::NextMessage() {
  if (!short_.empty()) {
    writing_ = std::move(short_.front());
    short_.pop_front();
    return true;
  }
  if (NextUpdateFrame()) return true;
  if (snapshot_.empty()) return false;
  writing_.Clear();
  *writing_.mutable_snapshot() = std::move(snapshot_.front());
  snapshot_.pop_front();
  return true;
}

bool ExchangeStream::NextUpdateFrame() {
  if (update_ == nullptr) {
    if (next_update_ == Sequence(0) || next_update_ > engine_->published()) return false;
    update_ = engine_->ring().Get(next_update_);
    update_offset_ = 0;
    if (update_ == nullptr) {
      close_after_ = absl::ResourceExhaustedError(
          absl::StrCat("update ", next_update_.value(),
                       " is no longer held: this reader was slower than the ring of updates"));
      return false;
    }
  }
  writing_.Clear();
  v1::UpdateFrame* frame = writing_.mutable_update();
  frame->set_sequence(next_update_.value());
  const uint64_t total = update_->BytesFor(group_, incarnation_);
  frame->set_update_bytes(total);
  frame->set_offset(update_offset_);
  const uint64_t size = std::min<uint64_t>(kFrameBytes, total - update_offset_);
  frame->set_data(update_->CopyFor(group_, incarnation_, update_offset_, size));
  if (update_offset_ == 0) {
    for (const auto& [group, waited] : update_->waited) {
      if (group != group_) continue;
      frame->set_peer_wait_micros(static_cast<uint64_t>(absl::ToInt64Microseconds(waited)));
    }
  }
  update_offset_ += size;
  if (update_offset_ == total) {
    update_ = nullptr;
    ++next_update_;
  }
  return true;
}

void ExchangeStream::OnWriteDone(bool ok) {
  std::optional<std::pair<TransferId, uint64_t>> relayed;
  {
    MutexLock lock(&mu_);
    write_in_flight_ = false;
    if (ok && write_meter_ != nullptr) write_meter_->Sent(writing_.ByteSizeLong());
    if (writing_.has_snapshot()) {
      const v1::SnapshotFrame& frame = writing_.snapshot();
      relayed = {TransferId(frame.transfer()), frame.offset() + frame.data().size()};
    }
  }
  if (!ok) return Close(absl::UnavailableError("the stream broke"));
  if (relayed) engine_->Relayed(relayed->first, relayed->second);
  Pump();
}

// --- the end -----------------------------------------------------------------------------------

void ExchangeStream::Close(const absl::Status& status) {
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
