// Frames of a snapshot, as a joiner takes them off its stream.
//
//   input := state_bytes:number frame*
//   frame := flags:byte [kNewIds: transfer sequence round] [kOwnTotal: total_bytes]
//            [kOwnOffset: offset] [kExtra: rounds:number round*] size:number [kRawData: bytes]
//            [kWrongCrc: crc32c]
//
// Transfer 4 has been offered to a joiner that holds a state of zeros.
//
// scripts/fuzz: -max_len=256
#include <optional>
#include <string>
#include <vector>

#include "common/exchange/snapshot.h"
#include "common/transport/snapshot_frame.h"
#include "tests/fuzz/frame_data.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/grammar.h"

namespace isthmus::fuzz {
namespace {

constexpr uint64_t kMaxState = uint64_t{16} << 10;  // of a group here
constexpr TransferId kTransfer{4};

void Offer(IncomingSnapshot& incoming, uint64_t state_bytes) {
  incoming.Drop();
  ISTHMUS_CHECK(incoming.Offered(kTransfer, state_bytes));
  std::string zeros(state_bytes, '\0');
  std::vector<uint64_t> hashes = HashBlocks(zeros);
  incoming.SetHeld(kTransfer, {std::move(zeros)}, std::move(hashes));
}

class Sender {
 public:
  explicit Sender(uint64_t state_bytes) : state_bytes_(state_bytes) {}

  // The same frame each time, with other contents. `state` is what the joiner has before it.
  v1::SnapshotFrame& Next(Input& input, const std::string& state) {
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
    frame_.set_last(flags & kEnds);
    frame_.clear_state_hash();
    if (frame_.last() && frame_.offset() <= state.size() &&
        frame_.data().size() <= state.size() - frame_.offset()) {
      std::string whole = state;
      whole.replace(frame_.offset(), frame_.data().size(), frame_.data());
      frame_.set_state_hash(StateHashOf(HashBlocks(whole)));
    }
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
  const std::string& image = whole.image->bytes;
  OutgoingSnapshot out(kTransfer, 1 + image.size() / 3);  // up to three pieces
  out.SetState({whole.sequence, round, whole.applied_rounds, StateImage{image}, HashBlocks(image)});
  out.SetHeld({});
  IncomingSnapshot in;
  Offer(in, image.size());
  uint64_t taken = 0;
  while (auto piece = out.Next(kFrameBytes)) {
    taken += piece->data.size();
    out.Taken(taken);
    v1::SnapshotFrame frame;
    ToFrame(*std::move(piece), &frame);
    const auto added = Hear(std::move(frame), image.size(), in);
    ISTHMUS_CHECK(added.ok());
    if (!added->has_value()) continue;
    ISTHMUS_CHECK((*added)->image->bytes == image);
    ISTHMUS_CHECK((*added)->applied_rounds == whole.applied_rounds);
    ISTHMUS_CHECK((*added)->sequence == whole.sequence);
    return;
  }
  ISTHMUS_CHECK(false);
}

void FuzzSnapshotFrames(const uint8_t* bytes, size_t size) {
  Input input(bytes, size);
  const uint64_t state_bytes = 1 + input.Number() % kMaxState;
  Sender sender(state_bytes);
  std::string& state = ModelData();  // as the joiner has it
  state.assign(state_bytes, '\0');
  // The state being put together, and four times that for the relay; a copy in the sender, a frame
  // there and one on its way; rounds, a byte of input each.
  const MemoryBound bound(6 * state_bytes + 3 * kMaxFrameData + (uint64_t{64} << 10) + 64 * size);
  IncomingSnapshot incoming;
  Offer(incoming, state_bytes);
  std::optional<v1::SnapshotFrame> begun;
  uint64_t end = 0;  // of what has come
  while (!input.empty()) {
    v1::SnapshotFrame& frame = sender.Next(input, state);
    const auto added = Hear(frame, state_bytes, incoming);
    const auto begin_anew = [&] {
      Offer(incoming, state_bytes);
      state.assign(state_bytes, '\0');
      begun.reset();
      end = 0;
    };
    if (!added.ok()) {
      CheckRefusal(added.status());
      begin_anew();  // the stream ends; another begins
      continue;
    }
    ISTHMUS_CHECK(frame.crc32c() == SnapshotCrc(frame.data()));
    if (TransferId(frame.transfer()) != kTransfer) {
      ISTHMUS_CHECK(!added->has_value());
      continue;
    }
    if (!begun) CopyHead(frame, &begun.emplace());
    ISTHMUS_CHECK(frame.total_bytes() == state_bytes && frame.offset() >= end);
    ISTHMUS_CHECK(frame.sequence() == begun->sequence());
    if (!frame.data().empty()) {
      end = frame.offset() + frame.data().size();
      ISTHMUS_CHECK(end <= state_bytes);
      state.replace(frame.offset(), frame.data().size(), frame.data());
    }
    ISTHMUS_CHECK(added->has_value() == frame.last());
    if (!added->has_value()) continue;
    CountAccepted();
    const WholeSnapshot& whole = **added;
    ISTHMUS_CHECK(whole.image->bytes == state);
    ISTHMUS_CHECK(whole.transfer == kTransfer);
    ISTHMUS_CHECK(whole.sequence.value() == begun->sequence());
    const auto& rounds = begun->applied_rounds();
    ISTHMUS_CHECK(whole.applied_rounds == std::vector<Round>(rounds.begin(), rounds.end()));
    CheckRelay(whole, Round(begun->round()));
    begin_anew();
  }
}

}  // namespace
}  // namespace isthmus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  isthmus::fuzz::FuzzSnapshotFrames(data, size);
  return 0;
}
