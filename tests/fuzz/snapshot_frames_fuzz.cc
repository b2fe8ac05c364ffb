// Frames of a snapshot, as a joiner takes them off its stream.
//
//   input := state_bytes:number frame*
//   frame := flags:byte [kNewIds: transfer sequence round] [kOwnTotal: total_bytes]
//            [kOwnOffset: offset] [kExtra: rounds:number round*] size:number [kRawData: bytes]
//            [kWrongCrc: crc32c]
//
// scripts/fuzz: -max_len=256
#include <optional>
#include <string>
#include <vector>

#include "tests/fuzz/frame_data.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/grammar.h"
#include "worker/daemon/snapshot_relay.h"
#include "worker/rpc/snapshot_frame.h"

namespace isthmus::fuzz {
namespace {

constexpr uint64_t kMaxState = uint64_t{16} << 10;  // of a group here

class Sender {
 public:
  explicit Sender(uint64_t state_bytes) : state_bytes_(state_bytes) {}

  // The same frame each time, with other contents.
  v1::SnapshotFrame& Next(Input& input) {
    const uint8_t flags = input.Byte();
    if (flags & kNewIds) {
      frame_.set_transfer(input.Number());
      frame_.set_sequence(input.Number());
      frame_.set_round(input.Number());
    }
    frame_.set_total_bytes(flags & kOwnTotal ? input.Number() : state_bytes_);
    if (flags & kBegins) offset_ = 0;
    frame_.set_offset(flags & kOwnOffset ? input.Number() : offset_);
    frame_.clear_applied_rounds();
    if (flags & kExtra) {
      for (uint64_t left = input.Number(); left > 0 && !input.empty(); --left) {
        frame_.add_applied_rounds(input.Number());
      }
    }
    data_.Read(input, (flags & kRawData) != 0, frame_.mutable_data());
    frame_.set_crc32c(flags & kWrongCrc ? static_cast<uint32_t>(input.Number())
                                        : SnapshotCrc(frame_.data()));
    offset_ = frame_.offset() + frame_.data().size();
    return frame_;
  }

 private:
  const uint64_t state_bytes_;
  v1::SnapshotFrame frame_;
  FrameData data_{2 * kMaxState};
  uint64_t offset_ = 0;
};

absl::StatusOr<std::optional<WholeSnapshot>> Hear(v1::SnapshotFrame frame, uint64_t state_bytes,
                                                  IncomingSnapshot& incoming) {
  const uint32_t crc = frame.crc32c();
  absl::StatusOr<SnapshotPiece> piece = FromFrame(frame);
  if (!piece.ok()) return piece.status();
  ISTHMUS_CHECK(SnapshotCrc(piece->data) == crc);
  return incoming.Add(*std::move(piece), state_bytes);
}

// A whole snapshot cut up again is the same frames to a joiner: its image and all that goes with
// it.
void CheckRelay(const WholeSnapshot& whole, Round round) {
  OutgoingSnapshot out(whole.transfer, whole.sequence, round, whole.applied_rounds,
                       1 + whole.image->bytes.size() / 3);  // up to three pieces
  out.SetImage(StateImage{whole.image->bytes});
  IncomingSnapshot in;
  while (auto piece = out.Next()) {
    out.Acked(piece->offset + piece->data.size());
    v1::SnapshotFrame frame;
    ToFrame(*std::move(piece), &frame);
    const auto added = Hear(std::move(frame), whole.image->bytes.size(), in);
    ISTHMUS_CHECK(added.ok());
    if (!added->has_value()) continue;
    ISTHMUS_CHECK((*added)->image->bytes == whole.image->bytes);
    ISTHMUS_CHECK((*added)->applied_rounds == whole.applied_rounds);
    ISTHMUS_CHECK((*added)->sequence == whole.sequence);
    return;
  }
  ISTHMUS_CHECK(whole.image->bytes.empty());
}

void FuzzSnapshotFrames(const uint8_t* bytes, size_t size) {
  Input input(bytes, size);
  const uint64_t state_bytes = 1 + input.Number() % kMaxState;
  Sender sender(state_bytes);
  std::string& data = ModelData();
  data.reserve(state_bytes);
  // The state being put together, and thrice that for the relay; a frame in the sender and one on
  // its way; rounds, a byte of input each.
  const MemoryBound bound(5 * state_bytes + 3 * kMaxFrameData + (uint64_t{64} << 10) + 64 * size);
  std::optional<IncomingSnapshot> incoming(std::in_place);
  v1::SnapshotFrame begun;
  while (!input.empty()) {
    v1::SnapshotFrame& frame = sender.Next(input);
    const auto added = Hear(frame, state_bytes, *incoming);
    if (!added.ok()) {
      CheckRefusal(added.status());
      incoming.emplace();  // the stream ends; another begins
      data.clear();
      continue;
    }
    if (frame.offset() == 0) {
      CopyHead(frame, &begun);
      data.clear();
    }
    ISTHMUS_CHECK(frame.crc32c() == SnapshotCrc(frame.data()));
    ISTHMUS_CHECK(frame.total_bytes() == state_bytes && frame.offset() == data.size());
    ISTHMUS_CHECK(frame.transfer() == begun.transfer() && frame.sequence() == begun.sequence());
    data += frame.data();
    ISTHMUS_CHECK(added->has_value() == (data.size() == state_bytes));
    if (!added->has_value()) continue;
    CountAccepted();
    const WholeSnapshot& whole = **added;
    ISTHMUS_CHECK(whole.image->bytes == data);
    ISTHMUS_CHECK(whole.transfer.value() == begun.transfer());
    ISTHMUS_CHECK(whole.sequence.value() == begun.sequence());
    const auto& rounds = begun.applied_rounds();
    ISTHMUS_CHECK(whole.applied_rounds == std::vector<Round>(rounds.begin(), rounds.end()));
    CheckRelay(whole, Round(begun.round()));
    data.clear();
  }
}

}  // namespace
}  // namespace isthmus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  isthmus::fuzz::FuzzSnapshotFrames(data, size);
  return 0;
}
