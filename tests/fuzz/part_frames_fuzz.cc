// Frames of contributions, as the coordinator takes them off a stream.
//
//   input := format:byte frame*
//   frame := flags:byte [kNewIds: round bucket first_chunk chunk_count] [kOwnTotal: payload_bytes]
//            [kOwnOffset: offset] [kExtra: lr_count] size:number [kRawData: bytes]
//
// scripts/fuzz: -max_len=256
#include <optional>
#include <string>

#include "common/base/status_macros.h"
#include "common/transport/convert.h"
#include "server/rpc/part_assembler.h"
#include "tests/fuzz/frame_data.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/grammar.h"

namespace isthmus::fuzz {
namespace {

constexpr PayloadFormat kFormats[] = {{Transform::kDct, 64, 4, ValueFormat::kBf16},
                                      {Transform::kNone, 16, 16, ValueFormat::kF32},
                                      {Transform::kDct, 4096, 1, ValueFormat::kF32},
                                      {Transform::kDct, 64, 4, ValueFormat::kOneBit}};
// Bucket 0 takes two frames in the second format, bucket 1 less than one.
constexpr Round kForgotten{7};
constexpr ChunkRun kBuckets[] = {{0, 1536}, {1536, 7}};

absl::StatusOr<ChunkRun> BucketChunks(BucketIndex bucket) {
  if (bucket.value() < std::size(kBuckets)) return kBuckets[bucket.value()];
  return absl::InvalidArgumentError("no such bucket");
}

class Sender {
 public:
  explicit Sender(const PayloadFormat& format) : format_(format) {}

  // The same frame each time, with other contents.
  v1::PartFrame& Next(Input& input) {
    const uint8_t flags = input.Byte();
    if (flags & kNewIds) {
      frame_.set_round(input.Number());
      frame_.set_bucket(static_cast<uint32_t>(input.Number()));
      frame_.set_first_chunk(input.Number());
      frame_.set_chunk_count(input.Number());
      const bool sane = frame_.chunk_count() <= kBuckets[0].count;
      frame_.set_payload_bytes(sane ? PayloadBytes(format_, frame_.chunk_count()) : 0);
    }
    if (flags & kOwnTotal) frame_.set_payload_bytes(input.Number());
    if (flags & kBegins) offset_ = 0;
    frame_.set_offset(flags & kOwnOffset ? input.Number() : offset_);
    frame_.clear_info();
    if (flags & kExtra) {
      const uint64_t count = std::min<uint64_t>(input.Number(), 2 * kMaxParameterGroups);
      frame_.mutable_info()->mutable_lr()->Resize(static_cast<int>(count), 0.5f);
      frame_.mutable_info()->mutable_weight_decay()->Resize(static_cast<int>(count), 0.25f);
    }
    data_.Read(input, (flags & kRawData) != 0, frame_.mutable_data());
    offset_ = frame_.offset() + frame_.data().size();
    return frame_;
  }

 private:
  const PayloadFormat format_;
  v1::PartFrame frame_;
  FrameData data_;
  uint64_t offset_ = 0;
};

void CheckWhole(const WholePart& part, const PayloadFormat& format, const v1::PartFrame& begun,
                const std::string& data) {
  const auto bucket = BucketChunks(part.bucket);
  ISTHMUS_CHECK(bucket.ok());
  ISTHMUS_CHECK(part.chunks.count > 0 && part.chunks.first >= bucket->first);
  ISTHMUS_CHECK(part.chunks.first + part.chunks.count <= bucket->first + bucket->count);
  ISTHMUS_CHECK(part.payload.size() == begun.payload_bytes());
  ISTHMUS_CHECK(part.payload.size() <= LargestPayloadBytes(format, part.chunks.count));
  ISTHMUS_CHECK(part.payload == data);
  ISTHMUS_CHECK(part.round.value() == begun.round() && part.bucket.value() == begun.bucket());
  ISTHMUS_CHECK(part.info == FromProto(begun.info()));
  ISTHMUS_CHECK(part.info.lr.size() <= kMaxParameterGroups);
}

void FuzzPartFrames(const uint8_t* bytes, size_t size) {
  Input input(bytes, size);
  const PayloadFormat format = kFormats[input.Byte() % std::size(kFormats)];
  const uint64_t largest = LargestPayloadBytes(format, kBuckets[0].count);
  if (format.has_indices()) IndexCoder::For(format.chunk_size, format.k);  // kept for ever
  Sender sender(format);
  std::string& data = ModelData();  // of the part begun
  data.reserve(largest);
  // The assembler's part, and a frame in the sender.
  const MemoryBound bound(largest + largest / 4 + 2 * kMaxFrameData + (uint64_t{64} << 10));
  const auto shape_of =
      [format](Round round, BucketIndex bucket) -> absl::StatusOr<std::optional<PayloadShape>> {
    ISTHMUS_ASSIGN_OR_RETURN(const ChunkRun chunks, BucketChunks(bucket));
    if (round == kForgotten) return std::nullopt;
    return PayloadShape{format, chunks};
  };
  std::optional<PartAssembler> assembler(std::in_place, shape_of);
  v1::PartFrame begun;
  while (!input.empty()) {
    v1::PartFrame& frame = sender.Next(input);
    const auto added = assembler->Add(frame);
    if (!added.ok()) {
      ISTHMUS_CHECK(added.status().code() == absl::StatusCode::kInvalidArgument);
      CheckRefusal(added.status());
      assembler.emplace(shape_of);  // the stream ends; another begins
      data.clear();
      continue;
    }
    if (frame.offset() == 0) {
      CopyHead(frame, &begun);
      data.clear();
    }
    if (Round(begun.round()) == kForgotten) {
      ISTHMUS_CHECK(!added->has_value());
      continue;
    }
    ISTHMUS_CHECK(frame.offset() == data.size() && frame.data().size() <= kFrameBytes);
    data += frame.data();
    ISTHMUS_CHECK(added->has_value() == (data.size() == begun.payload_bytes()));
    if (!added->has_value()) continue;
    CountAccepted();
    CheckWhole(**added, format, begun, data);
    data.clear();
    begun.set_payload_bytes(0);  // nothing follows
  }
}

}  // namespace
}  // namespace isthmus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  isthmus::fuzz::FuzzPartFrames(data, size);
  return 0;
}
