// Frames of a snapshot, as a joiner takes them off its stream.
//
//   input := state_bytes:number frame*
//   frame := flags:byte [kNewIds: transfer sequence round] [kOwnTotal: total_bytes]
//            [kOwnOffset: offset] [kExtra: rounds:number round*] size:number [kRawData: bytes]
//            [kWrongCrc: crc32c]
#include <optional>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/grammar.h"
#include "worker/daemon/snapshot_relay.h"
#include "worker/rpc/snapshot_frame.h"

namespace isthmus::fuzz {
namespace {

constexpr uint64_t kMaxState = 3 * kFrameBytes;  // of a group here
constexpr uint64_t kMaxData = kFrameBytes + 1;

class Sender {
 public:
  explicit Sender(uint64_t state_bytes) : state_bytes_(state_bytes) {}

  v1::SnapshotFrame Next(Input& input) {
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
    const uint64_t size = std::min(input.Number(), kMaxData);
    frame_.set_data(flags & kRawData ? input.Bytes(size)
                                     : std::string(size, static_cast<char>('a' + size % 26)));
    frame_.set_crc32c(flags & kWrongCrc ? static_cast<uint32_t>(input.Number())
                                        : SnapshotCrc(frame_.data()));
    offset_ = frame_.offset() + frame_.data().size();
    return frame_;
  }

 private:
  const uint64_t state_bytes_;
  v1::SnapshotFrame frame_;
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
  OutgoingSnapshot out(whole.transfer, whole.sequence, round, whole.applied_rounds, kFrameBytes);
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
  // The state being put together, the copy to compare with, and twice that for the relay; frames;
  // rounds, a byte of input each.
  const MemoryBound bound(6 * state_bytes + 8 * kMaxData + (uint64_t{64} << 10) + 64 * size);
  Sender sender(state_bytes);
  std::optional<IncomingSnapshot> incoming(std::in_place);
  v1::SnapshotFrame begun;
  std::string data;
  data.reserve(state_bytes);
  while (!input.empty()) {
    const v1::SnapshotFrame frame = sender.Next(input);
    const auto added = Hear(frame, state_bytes, *incoming);
    if (!added.ok()) {
      CheckRefusal(added.status());
      incoming.emplace();  // the stream ends; another begins
      data.clear();
      continue;
    }
    if (frame.offset() == 0) {
      begun = frame;
      begun.clear_data();
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
