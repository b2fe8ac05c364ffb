// Writes the corpus in the tree: a few valid inputs of each target, and some that break one rule.
//
//   fuzz_seeds DIRECTORY       tests/fuzz/corpus, to write it anew after a format has changed
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "client/isthmus.h"
#include "common/transport/convert.h"
#include "isthmus/v1/state.pb.h"
#include "server/rpc/state_bytes.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/grammar.h"
#include "tests/fuzz/index_sizes.h"
#include "tests/fuzz/payload_input.h"
#include "tests/support/coordinator_states.h"
#include "tests/worker/jobs/packets.h"

namespace isthmus::fuzz {
namespace {

std::filesystem::path root;

// A name that begins with "valid" promises that the target accepts something in it.
void Write(const std::string& target, const std::string& name, const std::string& bytes) {
  std::filesystem::create_directories(root / target);
  std::ofstream out(root / target / name, std::ios::binary);
  out << bytes;
  ISTHMUS_CHECK(out.good());
}

std::string Pattern(uint64_t size) {
  std::string bytes;
  for (uint64_t i = 0; i < size; ++i) bytes.push_back(static_cast<char>(7 * i + 3));
  return bytes;
}

// --- layout --------------------------------------------------------------------------------------

std::string LayoutBytes(std::vector<TensorSpec> tensors, std::vector<ConstantSpec> constants) {
  v1::Layout message;
  ToProto(*Layout::Create(std::move(tensors), std::move(constants)), &message);
  return message.SerializeAsString();
}

void WriteLayouts() {
  const TensorSpec weight{"block.0.weight", {64, 48}, DType::kFloat32, 0};
  const TensorSpec bias{"block.0.bias", {48}, DType::kFloat32, 1};
  const TensorSpec half{"half", {3, 5}, DType::kBFloat16, 1};
  Write("layout", "valid_scalar", LayoutBytes({{"s", {}, DType::kFloat32, 0}}, {}));
  Write("layout", "valid_model", LayoutBytes({weight, bias, half}, {{"mask", 100}, {"table", 0}}));
  Write("layout", "valid_largest",
        LayoutBytes({{"all", {1 << 20, 1 << 20}, DType::kFloat32, 63}},
                    {{"much", kMaxConstantBytes - 64}}));
  Write("layout", "empty", "");
  v1::Layout message;
  message.add_tensors()->set_name("too long");
  message.mutable_tensors(0)->add_shape(int64_t{1} << 41);
  Write("layout", "too_long", message.SerializeAsString());
  message.mutable_tensors(0)->set_shape(0, -1);
  message.mutable_tensors(0)->set_dtype(2);
  Write("layout", "negative", message.SerializeAsString());
}

// --- frames --------------------------------------------------------------------------------------

// One frame of `size` pattern bytes that begins a part.
void BeginPart(Output& out, uint64_t first_chunk, uint64_t chunk_count, uint64_t size) {
  out.Byte(kNewIds | kBegins | kExtra).Number(3).Number(first_chunk < 1536 ? 0 : 1);
  out.Number(first_chunk).Number(chunk_count).Number(1).Number(size);
}

void WritePartFrames() {
  const uint64_t small = PayloadBytes({Transform::kDct, 64, 4, ValueFormat::kBf16}, 7);
  Output one;
  BeginPart(one.Byte(0), 1536, 7, small);
  Write("part_frames", "valid_one_frame", one.bytes());
  Output two;
  BeginPart(two.Byte(1), 0, 1536, kFrameBytes);
  const uint64_t large = PayloadBytes({Transform::kNone, 16, 16, ValueFormat::kF32}, 1536);
  two.Byte(0).Number(large - kFrameBytes);
  Write("part_frames", "valid_two_frames", two.bytes());
  Output parts;
  parts.Byte(2);
  BeginPart(parts, 0, 100, 20);  // dropped by the next
  BeginPart(parts, 1537, 3, PayloadBytes({Transform::kDct, 4096, 1, ValueFormat::kF32}, 3));
  BeginPart(parts, 1536, 2, 10);
  parts.Byte(kRawData).Number(5).Bytes("hello").Byte(kOwnOffset).Number(14).Number(1);
  Write("part_frames", "valid_parts", parts.bytes());
  Output wrong;
  wrong.Byte(1).Byte(kNewIds | kBegins | kOwnTotal);
  wrong.Number(1).Number(1).Number(1536).Number(7).Number(~uint64_t{0}).Number(1);
  Write("part_frames", "declares_too_much", wrong.bytes());
  Output oversize;
  BeginPart(oversize.Byte(1), 0, 1536, kFrameBytes + 1);
  Write("part_frames", "oversize", oversize.bytes());
}

void WriteUpdateFrames() {
  v1::Update update;
  UpdateHeader header{Sequence(5), Round(2), BucketIndex(1), {}, {}, 0.5f, 0.25f, true};
  header.contributors = {{GroupId(1), Incarnation(1), 32, 2.5f},
                         {GroupId(2), Incarnation(4), 16, 3}};
  header.scalars = {{0.001f, 1}, {0.002f, 0.5f}};
  ToProto(header, &update);
  update.set_payload(Pattern(60));
  const std::string bytes = update.SerializeAsString();
  Output one;
  one.Byte(kNewIds | kOwnTotal | kBegins | kExtra | kRawData).Number(5).Number(bytes.size());
  one.Number(1500).Number(bytes.size()).Bytes(bytes);
  Write("update_frames", "valid_one_frame", one.bytes());
  Output two;
  two.Byte(kNewIds | kOwnTotal | kBegins | kRawData).Number(5).Number(bytes.size());
  two.Number(40).Bytes(bytes.substr(0, 40));
  two.Byte(kRawData).Number(bytes.size() - 40).Bytes(bytes.substr(40));
  two.Byte(0).Number(0);  // one too many
  Write("update_frames", "valid_two_frames", two.bytes());
  v1::Update unmerged;
  ToProto(header, &unmerged);
  unmerged.add_contributions()->add_parts(Pattern(20));
  unmerged.add_contributions()->set_contributor(1);
  const std::string parts = unmerged.SerializeAsString();
  Output left;
  left.Byte(kNewIds | kOwnTotal | kBegins | kRawData).Number(5).Number(parts.size());
  left.Number(parts.size()).Bytes(parts);
  Write("update_frames", "valid_contributions", left.bytes());
  Output large;  // a payload of two frames, of which the input has only what is before it
  std::string whole = bytes.substr(0, bytes.size() - 62);
  whole += std::string("\x4a\x80\x80\x05", 4);  // field 9, 81920 bytes
  large.Byte(kNewIds | kOwnTotal | kBegins | kRawData).Number(5).Number(whole.size() + 81920);
  large.Number(whole.size()).Bytes(whole);
  large.Byte(0).Number(kFrameBytes).Byte(0).Number(81920 - kFrameBytes);
  Write("update_frames", "valid_three_frames", large.bytes());
  Output much;
  much.Byte(kNewIds | kOwnTotal | kBegins).Number(6).Number(uint64_t{1} << 31).Number(kFrameBytes);
  Write("update_frames", "declares_too_much", much.bytes());
}

void WriteSnapshotFrames() {
  Output one;
  one.Number(99).Byte(kNewIds | kBegins | kExtra | kRawData | kEnds).Number(4).Number(9).Number(3);
  one.Number(2).Number(3).Number(4).Number(100).Bytes(Pattern(100));
  Write("snapshot_frames", "valid_one_frame", one.bytes());
  Output more;
  more.Number(14999).Byte(kNewIds | kBegins | kExtra).Number(4).Number(9).Number(3);
  more.Number(1).Number(3).Number(6000).Byte(0).Number(6000).Byte(kEnds).Number(15000 - 12000);
  more.Byte(kBegins).Number(6000);
  Write("snapshot_frames", "valid_three_frames", more.bytes());
  Output gaps;
  gaps.Number(14999).Byte(kNewIds | kOwnOffset).Number(4).Number(9).Number(3).Number(50).Number(10);
  gaps.Byte(kOwnOffset).Number(9000).Number(500).Byte(kEnds).Number(0);
  gaps.Byte(kNewIds).Number(5).Number(9).Number(3).Number(10);  // of another transfer
  Write("snapshot_frames", "valid_gaps", gaps.bytes());
  Output wrong;
  wrong.Number(99).Byte(kBegins | kWrongCrc | kRawData).Number(4).Bytes("data").Number(77);
  wrong.Byte(kNewIds | kBegins | kOwnTotal).Number(4).Number(9).Number(3).Number(~uint64_t{0});
  wrong.Number(3);
  Write("snapshot_frames", "wrong", wrong.bytes());
}

// --- attach_socket -------------------------------------------------------------------------------

Output& Op(Output& out, AttachOp op, uint8_t connection) {
  return out.Byte(static_cast<uint8_t>(op)).Byte(connection);
}

// `packet` as what differs from an empty one of its type.
void Send(Output& out, uint8_t connection, const Packet& packet) {
  isthmus_wire_header header;
  std::memcpy(&header, packet.data(), sizeof(header));
  std::vector<std::pair<size_t, std::string>> patches;
  for (size_t at = sizeof(header); at < packet.size(); ++at) {
    if (packet[at] == std::byte{0}) continue;
    if (patches.empty() || patches.back().first + patches.back().second.size() != at) {
      patches.emplace_back(at, "");
    }
    patches.back().second.push_back(std::to_integer<char>(packet[at]));
  }
  Op(out, AttachOp::kPacket, connection).Byte(static_cast<uint8_t>(header.type));
  out.Number(patches.size());
  for (const auto& [at, bytes] : patches) out.Number(at).Number(bytes.size()).Bytes(bytes);
}

Packet ConstantPacket(uint32_t index) {
  auto wire = NewWire<isthmus_wire_entry>(ISTHMUS_WIRE_ENTRY);
  wire.index = index;
  wire.constant = 1;
  wire.size_bytes = 100;
  wire.name_size = 4;
  std::memcpy(wire.name, "mask", 4);
  return ToPacket(wire);
}

void Attach(Output& out, uint8_t rank, uint32_t memory = 0, int32_t dtype = 0,
            uint32_t own_optimizer = 0) {
  Op(out, AttachOp::kConnect, rank);
  Send(out, rank, HelloPacket(rank, 3, -1, memory, own_optimizer));
  Send(out, rank, EntryPacket(0, "weight", 48, dtype));
  Send(out, rank, ConstantPacket(1));
  Send(out, rank, EntryPacket(2, "bias", 5, dtype));
  Send(out, rank, BarePacket(ISTHMUS_WIRE_FILLED));
}

void WriteAttachSocket() {
  constexpr uint64_t kSession = uint64_t{1} << 40;
  Output steps;
  steps.Byte(1).Number(kSession);  // 2 ranks
  Attach(steps, 0);
  Attach(steps, 1);
  Op(steps, AttachOp::kAnswer, 0).Byte(0);
  for (int step = 0; step < 2; ++step) {
    for (const uint8_t rank : {0, 1}) Send(steps, rank, StepPacket());
    Op(steps, AttachOp::kAnswer, 0).Byte(0);
  }
  Send(steps, 1, BarePacket(ISTHMUS_WIRE_DETACH));
  Op(steps, AttachOp::kLate, 0);
  Write("attach_socket", "valid_steps", steps.bytes());
  Output named;
  named.Byte(1).Number(kSession);
  for (const uint8_t rank : {0, 1}) Attach(named, rank, 0, 0, /*own_optimizer=*/1);
  Op(named, AttachOp::kAnswer, 0).Byte(2);
  Op(named, AttachOp::kNameStep, 0);
  // Named from 1 on, and 2 in the end.
  for (const uint64_t step : {1, 2}) Send(named, 0, StepPacket(0, 1, 1, ISTHMUS_WIRE_TAKE, step));
  Send(named, 1, StepPacket(0, 1, 1, ISTHMUS_WIRE_TAKE, 2));
  Op(named, AttachOp::kAnswer, 0).Byte(0);
  for (const uint8_t rank : {0, 1}) Send(named, rank, StepPacket(0, 1, 1, ISTHMUS_WIRE_GIVE, 3));
  Op(named, AttachOp::kAnswer, 0).Byte(0);
  Write("attach_socket", "valid_named_steps", named.bytes());
  Output device;
  device.Byte(1).Number(kSession);
  Attach(device, 0, ISTHMUS_DEVICE_MEMORY, ISTHMUS_BFLOAT16);
  Attach(device, 1, ISTHMUS_HOST_MEMORY, ISTHMUS_BFLOAT16);  // refused: not as rank 0
  Op(device, AttachOp::kClose, 1);
  Attach(device, 1, ISTHMUS_DEVICE_MEMORY, ISTHMUS_FLOAT32);
  Op(device, AttachOp::kClose, 1);
  Attach(device, 1, ISTHMUS_DEVICE_MEMORY, ISTHMUS_BFLOAT16);
  Op(device, AttachOp::kAnswer, 0).Byte(0);
  Write("attach_socket", "valid_device_memory", device.bytes());
  Output unlike;
  unlike.Byte(1).Number(kSession);
  Attach(unlike, 0);
  Attach(unlike, 1);
  Op(unlike, AttachOp::kAnswer, 0).Byte(0);
  Send(unlike, 0, StepPacket(0.5f));
  Send(unlike, 1, StepPacket(0.25f));
  Attach(unlike, 0);
  Op(unlike, AttachOp::kClose, 0);
  Write("attach_socket", "valid_unlike_rates", unlike.bytes());
  Output ends;
  ends.Byte(0).Number(kSession);  // 1 rank
  Attach(ends, 0);
  Op(ends, AttachOp::kAnswer, 0).Byte(1);
  Attach(ends, 0);
  Op(ends, AttachOp::kEnd, 0);
  Op(ends, AttachOp::kConnect, 2);
  Op(ends, AttachOp::kTick, 0).Number(31);
  Op(ends, AttachOp::kConnect, 3);
  Op(ends, AttachOp::kFail, 3);
  Write("attach_socket", "valid_ends", ends.bytes());
  Output many;
  Op(many.Byte(0).Number(kSession), AttachOp::kConnect, 0);
  Send(many, 0, HelloPacket(0, ISTHMUS_WIRE_MAX_ENTRIES));
  Send(many, 0, EntryPacket(0, "w", int64_t{1} << 40));
  Write("attach_socket", "declares_too_much", many.bytes());
  Output raw;
  raw.Byte(0).Number(1000);
  Attach(raw, 0);  // more than a session may have
  Op(raw, AttachOp::kConnect, 1);
  Op(raw, AttachOp::kRaw, 1).Number(5).Bytes("bytes");
  Write("attach_socket", "refused", raw.bytes());
}

// --- payloads ------------------------------------------------------------------------------------

constexpr PayloadPlace kSeedPlace{9, {1000, 3}};

Output& Place(Output& out, const PayloadPlace& place) {
  return out.Number(place.chunks.first).Number(place.chunks.count).Number(place.round);
}

std::string CaseBytes(uint8_t flags, size_t format, const PayloadPlace& place,
                      const std::string& payload) {
  Output out;
  out.Byte(flags).Byte(static_cast<uint8_t>(format));
  return Place(out, place).Bytes(payload).bytes();
}

// Without `sparse` every chunk is present.
std::string SeedPayload(const PayloadFormat& format, const PayloadPlace& place, bool sparse) {
  Selection selection{place.chunks.first, place.chunks.count, {}, {}};
  for (uint64_t i = 0; i < place.chunks.count * format.k; ++i) {
    const uint64_t index = i % format.k * (format.chunk_size / format.k);
    if (format.k < format.chunk_size) selection.indices.push_back(static_cast<uint16_t>(index));
    const bool absent = sparse && i / format.k % 3 == 1;
    selection.values.push_back(absent ? 0.0f : i % 2 == 0 ? 1.5f : -0.25f);
  }
  return EncodePayload(format, place.round, selection);
}

void WritePayloads() {
  for (size_t f = 0; f < std::size(kContributionFormats); ++f) {
    const std::string number = std::to_string(f);
    for (const bool sparse : {false, true}) {
      const std::string payload = SeedPayload(kContributionFormats[f], kSeedPlace, sparse);
      const std::string name = (sparse ? "sparse_" : "") + number;
      Write("payload", "valid_" + name, CaseBytes(0, f, kSeedPlace, payload));
      Write("payload", "valid_fixed_" + name,
            CaseBytes(kFixCrc | kFixHeader, f, kSeedPlace, payload));
    }
  }
  Write("payload", "empty", CaseBytes(kFixCrc, 0, {}, ""));
}

void WriteUpdatePayloads() {
  for (size_t f = 0; f < std::size(kUpdateFormats); ++f) {
    const UpdateFormat& format = kUpdateFormats[f];
    for (const bool sparse : {false, true}) {
      const std::string payload = SeedPayload(format.contribution, kSeedPlace, sparse);
      const PayloadView view =
          PayloadView::Parse(AsBytes(payload), format.contribution, kSeedPlace).value();
      // Twice with opposite weights: all is zero, and digits or values beat signs.
      for (const size_t groups : {1, 2}) {
        const MergeInput inputs[] = {{1.0f, {&view, 1}}, {-1.0f, {&view, 1}}};
        const std::string update =
            EncodeUpdate(format, kSeedPlace, std::span(inputs).first(groups));
        const std::string name = std::string(sparse ? "sparse_" : "dense_") +
                                 (groups == 2 ? "zero_" : "") + std::to_string(f);
        Write("update_payload", "valid_" + name, CaseBytes(0, f, kSeedPlace, update));
        Write("update_payload", "valid_fixed_" + name,
              CaseBytes(kFixCrc | kFixHeader, f, kSeedPlace, update));
      }
    }
  }
}

// --- index_coding ------------------------------------------------------------------------------

void WriteIndexCodings() {
  const std::vector<IndexSize> sizes = IndexSizes();
  const auto number = [&](const IndexSize& size) {
    return static_cast<uint8_t>(std::ranges::find(sizes, size) - sizes.begin());
  };
  constexpr IndexSize kSizes[] = {{64, 4},  {16, 1}, {64, 12}, {128, 32},  {256, 40},
                                  {512, 3}, {2, 1},  {64, 63}, {4096, 16}, {65536, 1}};
  for (const auto& [chunk_size, k] : kSizes) {
    const IndexCoder coder(chunk_size, k);
    std::vector<std::byte> bits(BytesForBits(3 * static_cast<uint64_t>(coder.bits())));
    BitWriter writer(bits.data(), bits.data() + bits.size());
    for (uint32_t chunk = 0; chunk < 3; ++chunk) {
      std::vector<uint16_t> indices;
      const uint32_t first = chunk * (chunk_size - k) / 2;  // first, middle and last subset
      for (uint32_t i = 0; i < k; ++i) indices.push_back(static_cast<uint16_t>(first + i));
      coder.Encode(indices.data(), writer);
    }
    writer.Finish();
    Output out;
    out.Byte(number({chunk_size, k})).Byte(0);
    for (const std::byte byte : bits) out.Byte(std::to_integer<uint8_t>(byte));
    const std::string name = std::to_string(chunk_size) + "_" + std::to_string(k);
    Write("index_coding", "valid_" + name, out.bytes());
    Output high;  // ranks beyond the last
    high.Byte(number({chunk_size, k})).Byte(3).Bytes(std::string(bits.size() + 1, '\xff'));
    Write("index_coding", "high_" + name, high.bytes());
  }
}

// --- contributions -----------------------------------------------------------------------------

void Part(Output& out, uint8_t flags, const PayloadPlace& place, const std::string& payload) {
  out.Byte(flags).Number(place.chunks.first - kSeedPlace.chunks.first).Number(place.chunks.count);
  out.Number(payload.size()).Bytes(payload);
}

void WriteContributions() {
  for (size_t f = 0; f < std::size(kUpdateFormats); ++f) {
    const PayloadFormat& format = kUpdateFormats[f].contribution;
    const PayloadPlace first{9, {1000, 1}};
    const PayloadPlace rest{9, {1001, 2}};
    for (const uint8_t flags : {0, kFixCrc | kFixHeader}) {
      Output out;
      out.Byte(static_cast<uint8_t>(f));
      Place(out, kSeedPlace).Byte(flags == 0 ? 5 : 1).Byte(3);  // the receiver's is number 1
      out.Byte(64).Byte(1);
      Part(out, flags, kSeedPlace, SeedPayload(format, kSeedPlace, true));
      out.Byte(96).Byte(1);
      Part(out, flags, kSeedPlace, SeedPayload(format, kSeedPlace, false));
      out.Byte(32).Byte(2);
      Part(out, flags, rest, SeedPayload(format, rest, true));
      Part(out, flags, first, SeedPayload(format, first, false));
      const std::string name = (flags == 0 ? "" : "fixed_") + std::to_string(f);
      Write("contributions", "valid_" + name, out.bytes());
    }
  }
  const PayloadFormat& format = kUpdateFormats[0].contribution;
  Output gap;
  Place(gap.Byte(0), kSeedPlace).Byte(5).Byte(1).Byte(64).Byte(2);
  for (const uint64_t chunk : {1000, 1002}) {
    Part(gap, 0, {9, {chunk, 1}}, SeedPayload(format, {9, {chunk, 1}}, false));
  }
  Write("contributions", "gap", gap.bytes());
  Output twice;
  Place(twice.Byte(0), kSeedPlace).Byte(5).Byte(1).Byte(64).Byte(2);
  for (int i = 0; i < 2; ++i) Part(twice, 0, kSeedPlace, SeedPayload(format, kSeedPlace, false));
  Write("contributions", "twice", twice.bytes());
  Output nobody;
  Write("contributions", "valid_nobody", Place(nobody.Byte(0), kSeedPlace).Byte(5).Byte(0).bytes());
}

// --- coordinator_state --------------------------------------------------------------------------

std::string StateBytes(const CoordinatorState& state) {
  v1::SavedState saved;
  ISTHMUS_CHECK(saved.ParseFromString(EncodeState(state)));
  return saved.state();
}

void WriteCoordinatorStates() {
  CoordinatorState state = FullState();
  Write("coordinator_state", "valid_mid_round", StateBytes(state));
  state.buckets[1].sequence = state.last_sequence = Sequence(21);
  state.counters.rounds_committed = state.run.rounds = 7;
  Write("coordinator_state", "valid_ended", StateBytes(state));
  CoordinatorState fresh;
  fresh.instance = 1;
  Write("coordinator_state", "valid_fresh", StateBytes(fresh));
  state.last_sequence = Sequence(5);
  Write("coordinator_state", "gap", StateBytes(state));
}

}  // namespace

void WriteSeeds(const std::string& directory) {
  root = directory;
  WriteLayouts();
  WritePartFrames();
  WriteUpdateFrames();
  WriteSnapshotFrames();
  WriteAttachSocket();
  WritePayloads();
  WriteUpdatePayloads();
  WriteIndexCodings();
  WriteContributions();
  WriteCoordinatorStates();
}

}  // namespace isthmus::fuzz

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_seeds DIRECTORY\n");
    return 2;
  }
  isthmus::fuzz::WriteSeeds(argv[1]);
}
