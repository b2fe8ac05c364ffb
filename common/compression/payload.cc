#include "common/compression/payload.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/string_view.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compression/bit_stream.h"
#include "common/compression/payload_check.h"
#include "common/compression/topk.h"

namespace isthmus {
namespace {

constexpr absl::string_view kName = "contribution";
constexpr uint16_t kMagic = 0x4349;  // "IC"
constexpr uint8_t kVersion = 1;
constexpr uint64_t kHeaderBytes = 44;
constexpr uint64_t kCrcOffset = kHeaderBytes - sizeof(uint32_t);

IndexCoding CodingOf(const PayloadFormat& format) {
  return format.k == format.chunk_size ? IndexCoding::kNone : IndexCoding::kPacked;
}

int IndexBits(const PayloadFormat& format) { return std::bit_width(format.chunk_size - 1); }

uint64_t ValueBytes(ValueFormat values) { return values == ValueFormat::kBf16 ? 2 : 4; }

uint64_t IndicesBytes(const PayloadFormat& format, uint64_t chunk_count) {
  if (CodingOf(format) == IndexCoding::kNone) return 0;
  return BytesForBits(chunk_count * format.k * static_cast<uint64_t>(IndexBits(format)));
}

uint64_t BodyBytes(const PayloadFormat& format, uint64_t chunk_count) {
  return IndicesBytes(format, chunk_count) + chunk_count * format.k * ValueBytes(format.values);
}

// The format is ours, from the run spec: never a peer's.
void CheckFormat(const PayloadFormat& format) {
  ISTHMUS_CHECK(format.chunk_size <= static_cast<uint32_t>(kMaxBlockSize));
  ISTHMUS_CHECK(0 < format.k && format.k <= format.chunk_size);
}

std::string HeaderBeforeCrc(const PayloadFormat& format, uint64_t first_chunk,
                            uint64_t chunk_count) {
  std::string header;
  header.reserve(kHeaderBytes + BodyBytes(format, chunk_count));
  AppendLittleEndian<uint16_t>(kMagic, header);
  AppendLittleEndian<uint8_t>(kVersion, header);
  AppendLittleEndian<uint8_t>(static_cast<uint8_t>(format.transform), header);
  AppendLittleEndian<uint8_t>(static_cast<uint8_t>(format.values), header);
  AppendLittleEndian<uint8_t>(static_cast<uint8_t>(CodingOf(format)), header);
  AppendLittleEndian<uint16_t>(0, header);
  AppendLittleEndian<uint32_t>(format.chunk_size, header);
  AppendLittleEndian<uint32_t>(format.k, header);
  AppendLittleEndian<uint64_t>(first_chunk, header);
  AppendLittleEndian<uint64_t>(chunk_count, header);
  AppendLittleEndian<uint64_t>(BodyBytes(format, chunk_count), header);
  return header;
}

// Everything before the body. Magic and version come first, for only they say that the rest means
// what we think; then the checksum, so that damage in transit is told from a peer's mistake.
absl::Status CheckHeader(std::span<const std::byte> payload, const PayloadFormat& expected,
                         uint64_t first_chunk, uint64_t chunk_count) {
  if (payload.size() < kHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(kName, " length: expected at least ",
                                                   kHeaderBytes, " bytes, got ", payload.size()));
  }
  const std::byte* at = payload.data();
  const auto u8 = [at](size_t offset) { return LoadLittleEndian<uint8_t>(at + offset); };
  const auto u16 = [at](size_t offset) { return LoadLittleEndian<uint16_t>(at + offset); };
  const auto u32 = [at](size_t offset) { return LoadLittleEndian<uint32_t>(at + offset); };
  const auto u64 = [at](size_t offset) { return LoadLittleEndian<uint64_t>(at + offset); };
  const auto expect = [](absl::string_view field, uint64_t wanted, uint64_t actual) {
    return ExpectField(kName, field, wanted, actual);
  };
  ISTHMUS_RETURN_IF_ERROR(expect("magic", kMagic, u16(0)));
  ISTHMUS_RETURN_IF_ERROR(expect("version", kVersion, u8(2)));
  ISTHMUS_RETURN_IF_ERROR(ExpectCrc(kName, payload, kCrcOffset));
  ISTHMUS_RETURN_IF_ERROR(expect("transform", static_cast<uint64_t>(expected.transform), u8(3)));
  ISTHMUS_RETURN_IF_ERROR(expect("values", static_cast<uint64_t>(expected.values), u8(4)));
  ISTHMUS_RETURN_IF_ERROR(expect("index_coding", static_cast<uint64_t>(CodingOf(expected)), u8(5)));
  ISTHMUS_RETURN_IF_ERROR(expect("reserved", 0, u16(6)));
  ISTHMUS_RETURN_IF_ERROR(expect("chunk_size", expected.chunk_size, u32(8)));
  ISTHMUS_RETURN_IF_ERROR(expect("k", expected.k, u32(12)));
  ISTHMUS_RETURN_IF_ERROR(expect("first_chunk", first_chunk, u64(16)));
  ISTHMUS_RETURN_IF_ERROR(expect("chunk_count", chunk_count, u64(24)));
  ISTHMUS_RETURN_IF_ERROR(expect("body_bytes", BodyBytes(expected, chunk_count), u64(32)));
  return expect("length", PayloadBytes(expected, chunk_count), payload.size());
}

absl::Status DecodeIndices(std::span<const std::byte> bytes, const PayloadFormat& format,
                           Selection& selection) {
  const int width = IndexBits(format);
  BitReader reader(bytes);
  selection.indices.resize(selection.chunk_count * format.k);
  uint16_t* out = selection.indices.data();
  for (uint64_t chunk = 0; chunk < selection.chunk_count; ++chunk) {
    int64_t previous = -1;
    for (uint32_t i = 0; i < format.k; ++i) {
      const uint32_t index = reader.Get(width);
      if (index <= previous || index >= format.chunk_size) {
        return absl::InvalidArgumentError(absl::StrCat(
            kName, " index ", i, " of chunk ", selection.first_chunk + chunk, ": expected ",
            previous + 1, " to ", format.chunk_size - 1, ", got ", index));
      }
      previous = index;
      *out++ = static_cast<uint16_t>(index);
    }
  }
  return ExpectField(kName, "padding", 0, reader.padding());
}

absl::Status DecodeValues(std::span<const std::byte> bytes, const PayloadFormat& format,
                          Selection& selection) {
  selection.values.resize(selection.chunk_count * format.k);
  const std::byte* at = bytes.data();
  for (size_t i = 0; i < selection.values.size(); ++i) {
    const uint32_t bits = format.values == ValueFormat::kBf16
                              ? static_cast<uint32_t>(LoadLittleEndian<uint16_t>(at + 2 * i)) << 16
                              : LoadLittleEndian<uint32_t>(at + 4 * i);
    const float value = std::bit_cast<float>(bits);
    if (!std::isfinite(value)) {
      return absl::InvalidArgumentError(absl::StrCat(kName, " value ", i,
                                                     ": expected a finite number, got bits ",
                                                     absl::Hex(bits, absl::kZeroPad8)));
    }
    selection.values[i] = value;
  }
  return absl::OkStatus();
}

}  // namespace

float QuantizeValue(ValueFormat format, float value) {
  if (format == ValueFormat::kF32) return value;
  constexpr uint32_t kMaxBf16 = 0x7f7f0000;
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits & 0x80000000;
  // Nearest, ties to even: half a unit less one, plus the bit that makes a tie round up to even.
  uint32_t magnitude = bits & 0x7fffffff;
  magnitude = (magnitude + 0x7fff + (magnitude >> 16 & 1)) & 0xffff0000;
  return std::bit_cast<float>(sign | std::min(magnitude, kMaxBf16));
}

uint64_t PayloadBytes(const PayloadFormat& format, uint64_t chunk_count) {
  CheckFormat(format);
  return kHeaderBytes + BodyBytes(format, chunk_count);
}

std::string EncodePayload(const PayloadFormat& format, const Selection& selection) {
  CheckFormat(format);
  const bool packed = CodingOf(format) == IndexCoding::kPacked;
  ISTHMUS_CHECK(selection.values.size() == selection.chunk_count * format.k);
  ISTHMUS_CHECK(selection.indices.size() == (packed ? selection.values.size() : 0));
  std::string payload = HeaderBeforeCrc(format, selection.first_chunk, selection.chunk_count);
  AppendLittleEndian<uint32_t>(0, payload);  // the checksum's place
  if (packed) {
    const int width = IndexBits(format);
    BitWriter writer(payload);
    for (uint16_t index : selection.indices) {
      ISTHMUS_CHECK(index < format.chunk_size);
      writer.Put(index, width);
    }
    writer.Finish();
  }
  for (float value : selection.values) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    if (format.values == ValueFormat::kBf16) {
      ISTHMUS_CHECK((bits & 0xffff) == 0);
      AppendLittleEndian<uint16_t>(static_cast<uint16_t>(bits >> 16), payload);
    } else {
      AppendLittleEndian<uint32_t>(bits, payload);
    }
  }
  StorePayloadCrc(kCrcOffset, payload);
  return payload;
}

absl::StatusOr<Selection> DecodePayload(std::span<const std::byte> payload,
                                        const PayloadFormat& expected, uint64_t first_chunk,
                                        uint64_t chunk_count) {
  CheckFormat(expected);
  ISTHMUS_RETURN_IF_ERROR(CheckHeader(payload, expected, first_chunk, chunk_count));
  const auto body = payload.subspan(kHeaderBytes);
  const uint64_t indices_bytes = IndicesBytes(expected, chunk_count);
  Selection selection;
  selection.first_chunk = first_chunk;
  selection.chunk_count = chunk_count;
  if (CodingOf(expected) == IndexCoding::kPacked) {
    ISTHMUS_RETURN_IF_ERROR(DecodeIndices(body.first(indices_bytes), expected, selection));
  }
  ISTHMUS_RETURN_IF_ERROR(DecodeValues(body.subspan(indices_bytes), expected, selection));
  return selection;
}

}  // namespace isthmus
