#include "tests/e2e/raw_peer.h"

#include <gtest/gtest.h>

#include <chrono>

#include "common/compression/payload.h"
#include "common/transport/endpoints.h"
#include "common/transport/status.h"
#include "tests/e2e/harness.h"

namespace isthmus::e2e {
namespace {

constexpr std::chrono::seconds kPatience(120);

void SetDeadline(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + kPatience);
}

}  // namespace

RawPeer::RawPeer(const std::string& coordinator, uint32_t group)
    : group_(group),
      channel_(MakeChannel(coordinator, Credentials::Insecure())),
      control_(v1::Control::NewStub(channel_)),
      exchange_(v1::Exchange::NewStub(channel_)) {}

RawPeer::~RawPeer() {
  if (context_ != nullptr) context_->TryCancel();
  if (stream_ != nullptr) AwaitEnd().IgnoreError();
}

v1::RegisterRequest RawPeer::MakeRegister() const {
  v1::RegisterRequest request;
  request.mutable_versions()->set_min(kProtocolVersions.min);
  request.mutable_versions()->set_max(kProtocolVersions.max);
  request.set_group_id(group_);
  request.set_nonce(0x1234567);
  request.set_ranks(1);
  return request;
}

absl::Status RawPeer::Register(const v1::RegisterRequest& request) {
  grpc::ClientContext context;
  SetDeadline(&context);
  return FromGrpc(control_->Register(&context, request, &registration_));
}

absl::Status RawPeer::Ready() {
  v1::Layout layout;
  for (const client::Tensor& tensor : Model().Tensors(group_)) {
    if (tensor.constant) {
      v1::Layout::Constant* constant = layout.add_constants();
      constant->set_name(tensor.name);
      constant->set_size_bytes(tensor.data.size());
      continue;
    }
    v1::Layout::Tensor* trained = layout.add_tensors();
    trained->set_name(tensor.name);
    for (int64_t extent : tensor.shape) trained->add_shape(extent);
    trained->set_parameter_group(tensor.parameter_group);
  }
  return Ready(layout);
}

absl::Status RawPeer::Ready(const v1::Layout& layout) {
  grpc::ClientContext context;
  SetDeadline(&context);
  v1::ReadyRequest request;
  *request.mutable_identity() = identity();
  request.set_change(++changes_);
  *request.mutable_layout() = layout;
  v1::ReadyReply reply;
  return FromGrpc(control_->Ready(&context, request, &reply));
}

absl::Status RawPeer::NotReady() {
  grpc::ClientContext context;
  SetDeadline(&context);
  v1::NotReadyRequest request;
  *request.mutable_identity() = identity();
  request.set_change(++changes_);
  request.set_reason("the test says so");
  v1::NotReadyReply reply;
  return FromGrpc(control_->NotReady(&context, request, &reply));
}

v1::Identity RawPeer::identity() const {
  v1::Identity identity;
  identity.set_group_id(group_);
  identity.set_incarnation(registration_.incarnation());
  return identity;
}

void RawPeer::Open() {
  context_ = std::make_unique<grpc::ClientContext>();
  SetDeadline(context_.get());
  stream_ = exchange_->Connect(context_.get());
}

v1::WorkerMessage RawPeer::MakeHello() const {
  v1::WorkerMessage message;
  *message.mutable_hello()->mutable_identity() = identity();
  message.mutable_hello()->set_instance(registration_.instance());
  return message;
}

void RawPeer::Write(const v1::WorkerMessage& message) {
  stream_->Write(message);  // false once the stream has ended: AwaitEnd() says how
}

absl::Status RawPeer::AwaitEnd() {
  v1::CoordinatorMessage message;
  while (stream_->Read(&message)) Acknowledge(message);
  const absl::Status status = FromGrpc(stream_->Finish());
  stream_.reset();
  return status;
}

absl::Status RawPeer::Leave() {
  stream_->WritesDone();
  return AwaitEnd();
}

void RawPeer::Acknowledge(const v1::CoordinatorMessage& message) {
  v1::WorkerMessage answer;
  if (message.has_snapshot_offer()) {
    answer.mutable_snapshot_held()->set_transfer(message.snapshot_offer().transfer());
  } else if (message.has_update() || message.has_snapshot()) {
    answer.mutable_ack()->set_bytes(message.ByteSizeLong());
    answer.mutable_ack()->set_frames(1);
    answer.mutable_ack()->set_elapsed_micros(100);
  } else {
    return;
  }
  Write(answer);
}

v1::Refused RawPeer::AwaitRefused() {
  v1::Refused refused;
  ReadUntil([&](const v1::CoordinatorMessage& message) {
    refused = message.refused();
    return message.has_refused();
  });
  return refused;
}

void RawPeer::ReadUntil(const std::function<bool(const v1::CoordinatorMessage&)>& done) {
  v1::CoordinatorMessage message;
  while (stream_->Read(&message)) {
    Acknowledge(message);
    if (done(message)) return;
  }
  ADD_FAILURE() << "the stream ended: " << AwaitEnd();
  abort();
}

void RawPeer::BecomeActive() {
  ASSERT_TRUE(Register(MakeRegister()).ok());
  Open();
  Write(MakeHello());
  ASSERT_TRUE(Ready().ok());
  v1::WorkerMessage caught_up;
  ReadUntil([&](const v1::CoordinatorMessage& message) {
    const v1::SnapshotFrame& frame = message.snapshot();
    caught_up.mutable_caught_up()->set_transfer(frame.transfer());
    caught_up.mutable_caught_up()->set_sequence(frame.sequence());
    return message.has_snapshot() && frame.last();
  });
  Write(caught_up);
  ReadUntil([&](const v1::CoordinatorMessage& message) {
    open_round_ = message.start().open_round();
    return message.has_start();
  });
}

v1::WorkerMessage RawPeer::MakePart(uint32_t bucket) const {
  const PayloadFormat format = RoundFormats(SmallRun(1, 1)).FormatAt(Round(1), GroupId(1));
  Selection selection;
  selection.chunk_count = 4096 / format.chunk_size;
  selection.first_chunk = bucket * selection.chunk_count;
  for (uint64_t i = 0; i < selection.chunk_count * format.k; ++i) {
    selection.indices.push_back(static_cast<uint16_t>(i % format.k * 3));
    selection.values.push_back(0.5f);
  }
  v1::WorkerMessage message;
  v1::PartFrame* part = message.mutable_part();
  part->set_round(open_round_);
  part->set_bucket(bucket);
  part->set_first_chunk(selection.first_chunk);
  part->set_chunk_count(selection.chunk_count);
  part->set_data(EncodePayload(format, open_round_, selection));
  part->set_payload_bytes(part->data().size());
  v1::ContributionInfo* info = part->mutable_info();
  info->set_base_round(open_round_ - 1);
  info->set_samples(1);
  for (float lr : JobOptions().lr) info->add_lr(lr);
  for (float decay : JobOptions().weight_decay) info->add_weight_decay(decay);
  return message;
}

}  // namespace isthmus::e2e
