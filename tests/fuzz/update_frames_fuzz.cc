// Frames of updates, as a worker takes them off its stream.
//
//   input := frame*
//   frame := flags:byte [kNewIds: sequence] [kOwnTotal: update_bytes] [kOwnOffset: offset]
//            [kExtra: peer_wait_micros] size:number [kRawData: bytes]
//
// scripts/fuzz: -max_len=512
#include <optional>
#include <string>

#include "common/transport/convert.h"
#include "tests/fuzz/frame_data.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/grammar.h"
#include "worker/rpc/update_assembler.h"

namespace isthmus::fuzz {
namespace {

constexpr uint64_t kMaxBytes = kFrameBytes + kFrameBytes / 2;  // of an update here
// What protobuf reserves, at most, for a string in a nested message that says it is longer than
// what follows. It frees it as it finds out, so that this is not held after.
constexpr uint64_t kProtobufReserves = 50'000'000 + 4096;

class Sender {
 public:
  // The same frame each time, with other contents.
  v1::UpdateFrame& Next(Input& input) {
    const uint8_t flags = input.Byte();
    if (flags & kNewIds) frame_.set_sequence(input.Number());
    if (flags & kOwnTotal) frame_.set_update_bytes(input.Number());
    if (flags & kBegins) offset_ = 0;
    frame_.set_offset(flags & kOwnOffset ? input.Number() : offset_);
    frame_.set_peer_wait_micros(flags & kExtra ? input.Number() : 0);
    data_.Read(input, (flags & kRawData) != 0, frame_.mutable_data());
    offset_ = frame_.offset() + frame_.data().size();
    return frame_;
  }

 private:
  v1::UpdateFrame frame_;
  FrameData data_;
  uint64_t offset_ = 0;
};

void CheckWhole(const v1::Update& update, const v1::UpdateFrame& begun, const std::string& data) {
  ISTHMUS_CHECK(update.sequence() == begun.sequence());
  v1::Update expected;
  ISTHMUS_CHECK(expected.ParseFromString(data));
  ISTHMUS_CHECK(expected.SerializeAsString() == update.SerializeAsString());
  const absl::StatusOr<UpdateHeader> converted = FromProto(update);
  if (!converted.ok()) {  // formats that are none
    ISTHMUS_CHECK(converted.status().code() == absl::StatusCode::kInvalidArgument);
    return;
  }
  const UpdateHeader& header = *converted;
  ISTHMUS_CHECK(header.sequence.value() == update.sequence());
  v1::Update known = update;
  known.DiscardUnknownFields();
  if (header.totals == RunTotals()) known.clear_totals();  // none, and zero, are one
  known.clear_change();  // its numbers may be written in many ways
  v1::Update again;      // the header, and what is none of its
  ToProto(header, &again);
  ISTHMUS_CHECK(again.has_change() == update.has_change());
  again.clear_change();
  again.set_payload(known.payload());
  *again.mutable_contributions() = known.contributions();
  ISTHMUS_CHECK(again.SerializeAsString() == known.SerializeAsString());
}

void FuzzUpdateFrames(const uint8_t* bytes, size_t size) {
  Input input(bytes, size);
  Sender sender;
  std::string& data = ModelData();  // of the update begun
  data.reserve(kMaxBytes);
  // The assembler's bytes, growing; a frame in the sender; copies in CheckWhole(). Then what
  // parsing makes of it, the largest of which are empty contributors: 2 bytes that become a
  // message.
  MemoryBound bound(8 * kMaxBytes + 2 * kMaxFrameData + (uint64_t{64} << 10) + 256 * size);
  std::optional<UpdateAssembler> assembler(std::in_place, kMaxBytes);
  v1::UpdateFrame begun;
  bool whole = true;  // nothing has been begun that is still to be completed
  while (!input.empty()) {
    v1::UpdateFrame& frame = sender.Next(input);
    bound.Allow(kProtobufReserves);
    const auto added = assembler->Add(frame);
    bound.Disallow(kProtobufReserves);
    if (!added.ok()) {
      ISTHMUS_CHECK(added.status().code() == absl::StatusCode::kDataLoss);
      CheckRefusal(added.status());
      assembler.emplace(kMaxBytes);  // the stream ends; another begins
      whole = true;
      continue;
    }
    if (frame.offset() == 0) {
      CopyHead(frame, &begun);
      data.clear();
      whole = false;
    }
    ISTHMUS_CHECK(!whole);
    ISTHMUS_CHECK(frame.sequence() == begun.sequence());
    ISTHMUS_CHECK(frame.offset() == data.size() && frame.data().size() <= kFrameBytes);
    data += frame.data();
    ISTHMUS_CHECK(begun.update_bytes() <= kMaxBytes && data.size() <= begun.update_bytes());
    ISTHMUS_CHECK(added->has_value() == (data.size() == begun.update_bytes()));
    if (!added->has_value()) continue;
    CountAccepted();
    CheckWhole(**added, begun, data);
    whole = true;
  }
}

}  // namespace
}  // namespace isthmus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  isthmus::fuzz::FuzzUpdateFrames(data, size);
  return 0;
}
