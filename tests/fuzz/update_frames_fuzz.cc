// Frames of updates, as a worker takes them off its stream.
//
//   input := frame*
//   frame := flags:byte [kNewIds: sequence] [kOwnTotal: update_bytes] [kOwnOffset: offset]
//            [kExtra: peer_wait_micros] size:number [kRawData: bytes]
#include <optional>
#include <string>

#include "common/transport/convert.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/grammar.h"
#include "worker/rpc/update_assembler.h"

namespace isthmus::fuzz {
namespace {

constexpr uint64_t kMaxBytes = 3 * kFrameBytes;  // of an update here
constexpr uint64_t kMaxData = kFrameBytes + 1;

class Sender {
 public:
  v1::UpdateFrame Next(Input& input) {
    const uint8_t flags = input.Byte();
    if (flags & kNewIds) frame_.set_sequence(input.Number());
    if (flags & kOwnTotal) frame_.set_update_bytes(input.Number());
    if (flags & kBegins) offset_ = 0;
    frame_.set_offset(flags & kOwnOffset ? input.Number() : offset_);
    frame_.set_peer_wait_micros(flags & kExtra ? input.Number() : 0);
    const uint64_t size = std::min(input.Number(), kMaxData);
    frame_.set_data(flags & kRawData ? input.Bytes(size) : std::string(size, '\0'));
    offset_ = frame_.offset() + frame_.data().size();
    return frame_;
  }

 private:
  v1::UpdateFrame frame_;
  uint64_t offset_ = 0;
};

void CheckWhole(const v1::Update& update, const v1::UpdateFrame& begun, const std::string& data) {
  ISTHMUS_CHECK(update.sequence() == begun.sequence());
  v1::Update expected;
  ISTHMUS_CHECK(expected.ParseFromString(data));
  ISTHMUS_CHECK(expected.SerializeAsString() == update.SerializeAsString());
  const UpdateHeader header = FromProto(update);
  ISTHMUS_CHECK(header.sequence.value() == update.sequence());
  v1::Update again;
  ToProto(header, &again);
  again.set_payload(update.payload());
  v1::Update known = update;
  known.DiscardUnknownFields();
  ISTHMUS_CHECK(again.SerializeAsString() == known.SerializeAsString());
}

void FuzzUpdateFrames(const uint8_t* bytes, size_t size) {
  Input input(bytes, size);
  // The assembler's bytes, growing; the copy to compare with; frames. Then what parsing makes of
  // it, the largest of which are empty contributors: 2 bytes that become a message.
  const MemoryBound bound(5 * kMaxBytes + 6 * kMaxData + (uint64_t{128} << 10) + 256 * size);
  Sender sender;
  std::optional<UpdateAssembler> assembler(std::in_place, kMaxBytes);
  v1::UpdateFrame begun;
  std::string data;  // of the update begun
  data.reserve(kMaxBytes);
  bool whole = true;  // nothing has been begun that is still to be completed
  while (!input.empty()) {
    const v1::UpdateFrame frame = sender.Next(input);
    const auto added = assembler->Add(frame);
    if (!added.ok()) {
      ISTHMUS_CHECK(added.status().code() == absl::StatusCode::kDataLoss);
      CheckRefusal(added.status());
      assembler.emplace(kMaxBytes);  // the stream ends; another begins
      whole = true;
      continue;
    }
    if (frame.offset() == 0) {
      begun = frame;
      begun.clear_data();
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
