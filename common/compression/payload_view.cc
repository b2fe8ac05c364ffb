#include <absl/strings/str_cat.h>
#include <absl/strings/string_view.h>

#include <algorithm>
#include <bit>

#include "common/base/status_macros.h"
#include "common/compression/bit_stream.h"
#include "common/compression/payload.h"
#include "common/compression/payload_check.h"
#include "common/compression/payload_layout.h"
#include "common/compression/tile_masks.h"
#include "common/kernels/simd.h"
#include "common/kernels/value_codes.h"

namespace isthmus {
namespace {

constexpr absl::string_view kName = "contribution";

absl::Status CheckHeaderLength(std::span<const std::byte> payload) {
  if (payload.size() < kPayloadHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        kName, " length: expected at least ", kPayloadHeaderBytes, " bytes, got ", payload.size()));
  }
  return absl::OkStatus();
}

// Magic and version come first, for only they say that the rest means what we think; then the
// checksum, so that damage in transit is told from a peer's mistake.
absl::Status CheckIntact(std::span<const std::byte> payload) {
  ISTHMUS_RETURN_IF_ERROR(CheckHeaderLength(payload));
  const std::byte* at = payload.data();
  ISTHMUS_RETURN_IF_ERROR(
      ExpectField(kName, "magic", kPayloadMagic, LoadLittleEndian<uint16_t>(at)));
  ISTHMUS_RETURN_IF_ERROR(
      ExpectField(kName, "version", kPayloadVersion, LoadLittleEndian<uint8_t>(at + 2)));
  return ExpectCrc(kName, payload, kPayloadCrcOffset);
}

// The rest of the header.
absl::Status CheckHeader(std::span<const std::byte> payload, const PayloadFormat& expected,
                         const PayloadPlace& place, uint8_t coding) {
  ISTHMUS_RETURN_IF_ERROR(CheckHeaderLength(payload));
  const std::byte* at = payload.data();
  const auto u8 = [at](size_t offset) { return LoadLittleEndian<uint8_t>(at + offset); };
  const auto u16 = [at](size_t offset) { return LoadLittleEndian<uint16_t>(at + offset); };
  const auto u64 = [at](size_t offset) { return LoadLittleEndian<uint64_t>(at + offset); };
  const auto expect = [](absl::string_view field, uint64_t wanted, uint64_t actual) {
    return ExpectField(kName, field, wanted, actual);
  };
  ISTHMUS_RETURN_IF_ERROR(
      expect("transform", static_cast<uint64_t>(expected.transform), u8(3) >> 1 & 3));
  ISTHMUS_RETURN_IF_ERROR(
      expect("positions", static_cast<uint64_t>(expected.positions), u8(3) >> 3 & 7));
  ISTHMUS_RETURN_IF_ERROR(expect("block scales", expected.block_scales ? 1 : 0, u8(3) >> 6 & 1));
  ISTHMUS_RETURN_IF_ERROR(expect("reserved flags", 0, u8(3) >> 7));
  ISTHMUS_RETURN_IF_ERROR(expect("values", static_cast<uint64_t>(expected.values), u8(4)));
  ISTHMUS_RETURN_IF_ERROR(expect("index_coding", coding, u8(5)));
  ISTHMUS_RETURN_IF_ERROR(expect("chunk_size", expected.chunk_size, u16(6) + uint64_t{1}));
  ISTHMUS_RETURN_IF_ERROR(expect("k", expected.k, u16(8) + uint64_t{1}));
  ISTHMUS_RETURN_IF_ERROR(
      expect("chunk_count", place.chunks.count, LoadLittleEndian<uint32_t>(at + 10)));
  ISTHMUS_RETURN_IF_ERROR(expect("first_chunk", place.chunks.first, u64(14)));
  return expect("round", place.round, u64(22));
}

// A block's scale and values as they lie in a record.
struct BlockCodes {
  int scale = 0;
  uint64_t words[4] = {};
};
BlockCodes LoadBlock(std::span<const std::byte> records, uint64_t bit, int bits) {
  BlockCodes codes;
  const std::byte* at = records.data() + bit / 8;  // blocks are whole bytes
  codes.scale = std::to_integer<int>(*at++);
  for (int i = 0; i < bits; ++i, at += 8) codes.words[i] = LoadLittleEndian<uint64_t>(at);
  return codes;
}

// Of 16 values of 4 bits: not 0 if one is 8, negative without a magnitude.
uint64_t MinusZeros(uint64_t codes) {
  constexpr uint64_t kOnes = 0x1111111111111111;
  const uint64_t magnitude = codes | codes >> 1 | codes >> 2;
  return codes >> 3 & ~magnitude & kOnes;
}

}  // namespace

absl::Status PayloadView::RecordError(uint64_t record, absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(kName, " round ", place_.round, ", record ",
                                                 record, " of the run from chunk ",
                                                 place_.chunks.first, ": ", what));
}

absl::Status PayloadView::CheckBlocks(uint64_t record) const {
  const int bits = ValueBits(format_.values);
  const uint64_t blocks = format_.chunk_size / kBlock;
  bool any = false;
  for (uint64_t block = 0; block < blocks; ++block) {
    const BlockCodes codes =
        LoadBlock(records_, (record * blocks + block) * BlockBits(format_.values), bits);
    uint64_t some = 0, minus_zero = 0;
    for (int i = 0; i < bits; ++i) some |= codes.words[i];
    if (bits == 4) {
      for (const uint64_t word : codes.words) minus_zero |= MinusZeros(word);
    }
    if (codes.scale == 0 && some != 0) {
      return RecordError(record,
                         absl::StrCat("block ", block, ": expected no values without a scale"));
    }
    if (minus_zero != 0)
      return RecordError(record, absl::StrCat("block ", block, ": expected no -0"));
    any |= codes.scale != 0;
  }
  return any ? absl::OkStatus() : RecordError(record, "expected a block that says something");
}

absl::Status PayloadView::CheckRecords() const {
  const auto error = [&](uint64_t record, absl::string_view what) {
    return RecordError(record, what);
  };
  const uint64_t records = presence_.present_chunks();
  uint64_t index_bits = 0;
  if (coder_ != nullptr) {
    index_bits = static_cast<uint64_t>(coder_->bits());
    const uint64_t valid = coder_->CountValid(records_, record_bits_, records);
    if (valid < records) {
      return error(valid, "expected the indices of a k-subset in ascending order");
    }
  }
  const bool numbers = format_.values == ValueFormat::kF32 || format_.values == ValueFormat::kBf16;
  const int width = ValueBits(format_.values);
  for (uint64_t record = 0; numbers && record < records; ++record) {
    uint64_t bit = record * record_bits_ + index_bits;
    bool any = false;
    for (uint32_t i = 0; i < format_.k; ++i, bit += static_cast<uint64_t>(width)) {
      const uint32_t bits = static_cast<uint32_t>(LoadBits(records_, bit, width)) << (32 - width);
      if ((bits & 0x7fffffff) > kMaxValueBits || bits == 0x80000000) {
        return error(record, absl::StrCat("value ", i,
                                          ": expected a number up to 2^100 and no -0, got bits ",
                                          absl::Hex(bits, absl::kZeroPad8)));
      }
      any |= bits != 0;
    }
    if (!any) return error(record, "expected a value other than zero");
  }
  for (uint64_t record = 0; format_.block_scales && record < records; ++record) {
    ISTHMUS_RETURN_IF_ERROR(CheckBlocks(record));
  }
  const bool codes = format_.values == ValueFormat::kInt4 && !format_.block_scales;
  for (uint64_t record = 0; codes && record < records; ++record) {
    uint64_t bit = record * record_bits_ + index_bits + 8;
    for (uint32_t i = 0; i < format_.k; ++i, bit += 4) {
      if (LoadBits(records_, bit, 4) == 8) return error(record, "expected no -0");
    }
  }
  const uint64_t used = records * record_bits_;
  if (used % 8 != 0) {
    const int padding = static_cast<int>(8 - used % 8);
    return ExpectField(kName, "padding", 0, LoadBits(records_, used, padding));
  }
  return absl::OkStatus();
}

absl::StatusOr<PayloadPlace> PayloadView::PeekPlace(std::span<const std::byte> payload) {
  ISTHMUS_RETURN_IF_ERROR(CheckHeaderLength(payload));
  const std::byte* at = payload.data();
  return PayloadPlace{LoadLittleEndian<uint64_t>(at + 22),
                      {LoadLittleEndian<uint64_t>(at + 14), LoadLittleEndian<uint32_t>(at + 10)}};
}

absl::StatusOr<PayloadView> PayloadView::ParseTrusted(std::span<const std::byte> payload,
                                                      const PayloadFormat& expected,
                                                      const PayloadPlace& place) {
  CheckFormat(expected);
  PayloadView view;
  view.format_ = expected;
  view.place_ = place;
  view.coder_ = CoderOf(expected);
  view.record_bits_ = RecordBits(expected, view.coder_);
  view.has_sign_tiles_ = HasSignTiles(expected, view.coder_);
  ISTHMUS_RETURN_IF_ERROR(CheckHeader(payload, expected, place, CodingOf(view.coder_)));
  std::span<const std::byte> body = payload.subspan(kPayloadHeaderBytes);
  const bool map = (std::to_integer<unsigned>(payload[3]) & 1) != 0;
  ISTHMUS_ASSIGN_OR_RETURN(view.presence_,
                           PresenceMap::ParseIf(map, kName, place.chunks.count, &body));
  view.records_ = body;
  const uint64_t records = view.presence_.present_chunks() * view.record_bits_;
  ISTHMUS_RETURN_IF_ERROR(ExpectField(
      kName, "length", payload.size() - body.size() + BytesForBits(records), payload.size()));
  return view;
}

absl::StatusOr<PayloadView> PayloadView::Parse(std::span<const std::byte> payload,
                                               const PayloadFormat& expected,
                                               const PayloadPlace& place) {
  ISTHMUS_RETURN_IF_ERROR(CheckIntact(payload));
  ISTHMUS_ASSIGN_OR_RETURN(const PayloadView view, ParseTrusted(payload, expected, place));
  ISTHMUS_RETURN_IF_ERROR(view.CheckRecords());
  return view;
}

void PayloadView::DecodeBlocks(uint64_t bit, float* values) const {
  const TileKernels& kernels = ActiveKernels();
  const int bits = ValueBits(format_.values);
  for (uint32_t at = 0; at < format_.chunk_size; at += kBlock, bit += BlockBits(format_.values)) {
    const BlockCodes codes = LoadBlock(records_, bit, bits);
    if (codes.scale == 0) {
      std::fill_n(values + at, kBlock, 0.0f);
    } else {
      kernels.say_block(bits, codes.scale, codes.words, values + at);
    }
  }
}

void PayloadView::AddBlocks(uint64_t first_chunk, int count, float weight,
                            const TileKernels& kernels, float* rows) const {
  const uint64_t first = first_chunk - place_.chunks.first;
  const int bits = ValueBits(format_.values);
  const uint64_t block_bits = BlockBits(format_.values);
  uint64_t bit = presence_.Before(first) * record_bits_;
  for (int i = 0; i < count; ++i) {
    float* const row = rows + static_cast<size_t>(i) * format_.chunk_size;
    if (!presence_.all() && !presence_.Present(first + static_cast<uint64_t>(i))) continue;
    for (uint32_t at = 0; at < format_.chunk_size; at += kBlock, bit += block_bits) {
      const BlockCodes codes = LoadBlock(records_, bit, bits);
      // (Nothing added changes no sum: none is -0.)
      if (codes.scale != 0) kernels.add_block(bits, codes.scale, codes.words, weight, row + at);
    }
  }
}

void PayloadView::DecodeValues(uint64_t bit, float* values) const {
  if (format_.block_scales) return DecodeBlocks(bit, values);
  const uint32_t k = format_.k;
  switch (format_.values) {
    case ValueFormat::kF32:
      for (uint32_t i = 0; i < k; ++i, bit += 32) {
        values[i] = FloatOf(static_cast<uint32_t>(LoadBits(records_, bit, 32)));
      }
      break;
    case ValueFormat::kBf16:
      for (uint32_t i = 0; i < k; ++i, bit += 16) {
        values[i] = FloatOf(static_cast<uint32_t>(LoadBits(records_, bit, 16)) << 16);
      }
      break;
    case ValueFormat::kInt4: {
      const float scale = ScaleOf(static_cast<uint32_t>(LoadBits(records_, bit, 8)));
      bit += 8;
      for (uint32_t i = 0; i < k; ++i, bit += 4) {
        values[i] = Int4Value(static_cast<uint32_t>(LoadBits(records_, bit, 4)), scale);
      }
      break;
    }
    case ValueFormat::kTwoBit: {
      const float scale = ScaleOf(static_cast<uint32_t>(LoadBits(records_, bit, 8)));
      bit += 8;
      for (uint32_t i = 0; i < k; ++i, bit += 2) {
        values[i] = TwoBitValue(static_cast<uint32_t>(LoadBits(records_, bit, 2)), scale);
      }
      break;
    }
    case ValueFormat::kOneBit:
    case ValueFormat::kSign: {
      float magnitude = 1.0f;
      if (format_.values == ValueFormat::kOneBit) {
        magnitude = ScaleOf(static_cast<uint32_t>(LoadBits(records_, bit, 8)));
        bit += 8;
      }
      for (uint32_t at = 0; at < k; at += 32, bit += 32) {
        const uint32_t count = std::min(k - at, 32u);
        const auto negative =
            static_cast<uint32_t>(LoadBits(records_, bit, static_cast<int>(count)));
        for (uint32_t i = 0; i < count; ++i) {
          values[at + i] = OneBitValue(negative >> i & 1, magnitude);
        }
      }
      break;
    }
  }
}

int PayloadView::Decode(uint64_t first_chunk, int count, uint8_t* chunks, uint16_t* indices,
                        float* values) const {
  const uint64_t first = first_chunk - place_.chunks.first;
  const size_t k = format_.k;
  int present = 0;
  for (int i = 0; i < count; ++i) {
    if (!presence_.all() && !presence_.Present(first + static_cast<uint64_t>(i))) continue;
    chunks[present++] = static_cast<uint8_t>(i);
  }
  uint64_t bit = presence_.Before(first) * record_bits_;
  if (coder_ != nullptr) {
    coder_->Decode(records_, bit, record_bits_, present, indices);
    bit += static_cast<uint64_t>(coder_->bits());
  } else if (k < format_.chunk_size) {
    for (int i = 0; i < present; ++i) {
      KnownPositions(format_, place_.round, first_chunk + chunks[i],
                     indices + static_cast<size_t>(i) * k);
    }
  }
  for (int i = 0; i < present; ++i, bit += record_bits_) {
    DecodeValues(bit, values + static_cast<size_t>(i) * k);
  }
  return present;
}

void PayloadView::DecodeSigns(uint64_t first_chunk, int count, const TileKernels& kernels,
                              uint32_t* masks, uint32_t* negative, float* magnitudes) const {
  const uint64_t first = first_chunk - place_.chunks.first;
  const int index_bits = coder_->bits();
  const int scale_bits = ScaleBits(format_.values);
  const int k = static_cast<int>(format_.k);
  const bool whole = record_bits_ <= kMaxBitsAtOnce;
  const bool all = presence_.all();
  const uint64_t rank_mask = (uint64_t{1} << index_bits) - 1;
  uint64_t ranks[kBatch], signs[kBatch];
  uint64_t bit = presence_.Before(first) * record_bits_;
  uint32_t absent = 0;
  for (int i = 0; i < count; ++i) {
    if (!all && !presence_.Present(first + static_cast<uint64_t>(i))) {
      ranks[i] = signs[i] = 0;
      magnitudes[i] = 0.0f;
      absent |= 1u << i;
      continue;
    }
    uint64_t scale;
    if (whole) {
      const uint64_t record = LoadBits(records_, bit, static_cast<int>(record_bits_));
      ranks[i] = record & rank_mask;
      scale = record >> index_bits & 0xff;
      signs[i] = record >> (index_bits + scale_bits);
    } else {
      const uint64_t values = bit + static_cast<uint64_t>(index_bits);
      ranks[i] = LoadBits(records_, bit, index_bits);
      scale = LoadBits(records_, values, 8);
      signs[i] = LoadBits(records_, values + static_cast<uint64_t>(scale_bits), k);
    }
    magnitudes[i] = scale_bits == 0 ? 1.0f : ScaleOf(static_cast<uint32_t>(scale));
    bit += record_bits_;
  }
  const int size = static_cast<int>(format_.chunk_size);
  kernels.unrank(*coder_->tables(), ranks, count, masks);
  for (; absent != 0; absent &= absent - 1) {
    ClearChunk(size, static_cast<uint32_t>(std::countr_zero(absent)), masks);
  }
  kernels.spread_bits(size, masks, signs, count, negative);
}

absl::StatusOr<Selection> DecodePayload(std::span<const std::byte> payload,
                                        const PayloadFormat& expected, const PayloadPlace& place) {
  ISTHMUS_ASSIGN_OR_RETURN(const PayloadView view, PayloadView::Parse(payload, expected, place));
  const uint64_t k = expected.k;
  const bool all = expected.k == expected.chunk_size;
  Selection selection;
  selection.first_chunk = place.chunks.first;
  selection.chunk_count = place.chunks.count;
  selection.values.resize(place.chunks.count * k);
  selection.indices.resize(all ? 0 : place.chunks.count * k);
  std::vector<uint16_t> indices(k);
  for (uint64_t chunk = 0; chunk < place.chunks.count; ++chunk) {
    uint8_t which;
    const int present = view.Decode(place.chunks.first + chunk, 1, &which, indices.data(),
                                    selection.values.data() + chunk * k);
    if (all) continue;
    // An absent chunk sends nothing, wherever: zeros at its first k offsets.
    for (uint64_t i = 0; i < k; ++i) {
      selection.indices[chunk * k + i] = present == 0 ? static_cast<uint16_t>(i) : indices[i];
    }
  }
  return selection;
}

}  // namespace isthmus
