#include <algorithm>
#include <bit>
#include <cstring>

#include "common/base/check.h"
#include "common/compression/bit_stream.h"
#include "common/compression/payload.h"
#include "common/compression/payload_check.h"
#include "common/compression/payload_layout.h"
#include "common/kernels/positions.h"
#include "common/kernels/simd.h"
#include "common/kernels/value_codes.h"

namespace isthmus {
namespace {

uint8_t Flags(const PayloadFormat& format, bool presence) {
  return static_cast<uint8_t>((presence ? 1 : 0) | static_cast<int>(format.transform) << 1 |
                              static_cast<int>(format.positions) << 3 |
                              (format.block_scales ? 1 << 6 : 0));
}

void StoreHeader(const PayloadFormat& format, const PayloadPlace& place, bool presence,
                 uint8_t coding, std::byte* to) {
  to = StoreLittleEndian<uint16_t>(kPayloadMagic, to);
  to = StoreLittleEndian<uint8_t>(kPayloadVersion, to);
  to = StoreLittleEndian<uint8_t>(Flags(format, presence), to);
  to = StoreLittleEndian<uint8_t>(static_cast<uint8_t>(format.values), to);
  to = StoreLittleEndian<uint8_t>(coding, to);
  to = StoreLittleEndian<uint16_t>(static_cast<uint16_t>(format.chunk_size - 1), to);
  to = StoreLittleEndian<uint16_t>(static_cast<uint16_t>(format.k - 1), to);
  to = StoreLittleEndian<uint32_t>(static_cast<uint32_t>(place.chunks.count), to);
  to = StoreLittleEndian<uint64_t>(place.chunks.first, to);
  StoreLittleEndian<uint64_t>(place.round, to);
}

}  // namespace

void RecordWriter::Begin(const PayloadFormat& format, const PayloadPlace& place, std::byte* begin,
                         std::byte* end) {
  format_ = format;
  place_ = place;
  coder_ = CoderOf(format);
  begin_ = begin;
  end_ = end;
  bits_ = BitWriter(begin, end);
  added_ = 0;
  present_ = 0;
  presence_.assign(BytesForBits(place.chunks.count), 0);
}

void RecordWriter::MarkPresent(uint64_t chunk) {
  presence_[chunk / 8] |= static_cast<uint8_t>(1 << (chunk % 8));
  ++present_;
}

void RecordWriter::TakeBlocks(const TileKernels& kernels, uint64_t count, float* elements) {
  const int bits = ValueBits(format_.values);
  const int blocks = static_cast<int>(format_.chunk_size) / kBlock;
  constexpr int kMostBlocks = 64;  // at once
  ISTHMUS_CHECK(blocks <= kMostBlocks);
  const uint64_t most = static_cast<uint64_t>(kMostBlocks / blocks);
  uint8_t scales[kMostBlocks];
  uint64_t codes[kMostBlocks * 4];
  while (count > 0) {
    const int chunks = static_cast<int>(std::min(count, most));
    kernels.take_blocks(bits, elements, chunks * blocks, scales, codes);
    const uint64_t* code = codes;
    for (const uint8_t* scale = scales; scale < scales + chunks * blocks; scale += blocks) {
      const uint64_t chunk = added_++;
      if (std::all_of(scale, scale + blocks, [](uint8_t s) { return s == 0; })) {
        code += blocks * bits;
        continue;
      }
      MarkPresent(chunk);
      for (int block = 0; block < blocks; ++block) {  // each is whole bytes
        bits_.Put(scale[block], 8);
        for (int i = 0; i < bits; ++i) bits_.PutWord(*code++);
      }
    }
    elements += static_cast<size_t>(chunks * blocks) * kBlock;
    count -= static_cast<uint64_t>(chunks);
  }
}

void RecordWriter::AddSigns(uint64_t rank, int scale_code, uint64_t negative) {
  const uint64_t chunk = added_++;
  if (scale_code == kNoScale) return;
  MarkPresent(chunk);
  const int index_bits = coder_->bits();
  const int k = static_cast<int>(format_.k);
  if (index_bits + 8 + k <= kMaxBitsAtOnce) {
    return bits_.Put(
        rank | static_cast<uint64_t>(scale_code) << index_bits | negative << (index_bits + 8),
        index_bits + 8 + k);
  }
  bits_.Put(rank, index_bits);
  bits_.Put(static_cast<uint64_t>(scale_code), 8);
  bits_.Put(negative, k);
}

void RecordWriter::Finish() {
  ISTHMUS_CHECK(added_ == place_.chunks.count);
  end_ = bits_.Finish();
}

// Replaces values by what the format says of them. False: nothing is worth sending.
bool RecordWriter::Quantize(float* values) {
  const uint32_t k = format_.k;
  bool any = false;
  switch (format_.values) {
    case ValueFormat::kF32:
    case ValueFormat::kBf16:
      for (uint32_t i = 0; i < k; ++i) {
        const uint32_t bits = FloatBits(values[i]);
        const uint32_t said =
            format_.values == ValueFormat::kF32 ? ClampToMaxValue(bits) : RoundToBf16(bits);
        values[i] = FloatOf(said << 1 == 0 ? 0 : said);  // never -0
        any |= said << 1 != 0;
      }
      return any;
    case ValueFormat::kSign:
      for (uint32_t i = 0; i < k; ++i) any |= values[i] != 0.0f;
      return any;
    case ValueFormat::kOneBit: {
      float sum = 0;
      for (uint32_t i = 0; i < k; ++i) sum += FloatOf(FloatBits(values[i]) & 0x7fffffff);
      scale_code_ = ScaleCode(sum / static_cast<float>(k));
      if (scale_code_ == kNoScale) return false;
      scale_ = ScaleOf(static_cast<uint32_t>(scale_code_));
      for (uint32_t i = 0; i < k; ++i) values[i] = OneBitValue(FloatBits(values[i]) >> 31, scale_);
      return true;
    }
    case ValueFormat::kTwoBit: {
      float sum = 0;
      for (uint32_t i = 0; i < k; ++i) sum += values[i] * values[i];
      scale_code_ = TwoBitScaleCode(sum / static_cast<float>(k));
      if (scale_code_ == kNoScale) return false;
      scale_ = ScaleOf(static_cast<uint32_t>(scale_code_));
      for (uint32_t i = 0; i < k; ++i)
        values[i] = TwoBitValue(TwoBitCode(values[i], scale_), scale_);
      return true;
    }
    case ValueFormat::kInt4: {
      float most = 0;
      for (uint32_t i = 0; i < k; ++i) {
        most = std::max(most, FloatOf(FloatBits(values[i]) & 0x7fffffff));
      }
      scale_code_ = Int4ScaleCode(most);
      if (scale_code_ == kNoScale) return false;
      scale_ = ScaleOf(static_cast<uint32_t>(scale_code_));
      for (uint32_t i = 0; i < k; ++i) values[i] = Int4Value(Int4Code(values[i], scale_), scale_);
      return true;
    }
  }
  return false;
}

bool RecordWriter::Add(const uint16_t* indices, float* values) {
  ISTHMUS_CHECK(!format_.block_scales);
  const uint64_t chunk = added_++;
  if (!Quantize(values)) {
    std::fill_n(values, format_.k, 0.0f);
    return false;
  }
  MarkPresent(chunk);
  if (coder_ != nullptr) coder_->Encode(indices, bits_);
  if (ScaleBits(format_.values) != 0) bits_.Put(static_cast<uint64_t>(scale_code_), 8);
  const uint32_t k = format_.k;
  switch (format_.values) {
    case ValueFormat::kF32:
      for (uint32_t i = 0; i < k; ++i) bits_.Put(FloatBits(values[i]), 32);
      break;
    case ValueFormat::kBf16:
      for (uint32_t i = 0; i < k; ++i) bits_.Put(FloatBits(values[i]) >> 16, 16);
      break;
    case ValueFormat::kInt4:
      for (uint32_t i = 0; i < k; ++i) bits_.Put(Int4Code(values[i], scale_), 4);
      break;
    case ValueFormat::kTwoBit:
      for (uint32_t i = 0; i < k; ++i) bits_.Put(TwoBitCode(values[i], scale_), 2);
      break;
    case ValueFormat::kOneBit:
      for (uint32_t at = 0; at < k; at += 32) {
        const uint32_t count = std::min(k - at, 32u);
        uint32_t negative = 0;
        for (uint32_t i = 0; i < count; ++i) negative |= FloatBits(values[at + i]) >> 31 << i;
        bits_.Put(negative, static_cast<int>(count));
      }
      break;
    case ValueFormat::kSign:
      for (uint32_t i = 0; i < k; ++i) {
        const uint64_t element = (place_.chunks.first + chunk) * format_.chunk_size +
                                 (indices == nullptr ? i : indices[i]);
        bits_.Put(
            values[i] == 0.0f ? SignOfZero(place_.round, element) : FloatBits(values[i]) >> 31, 1);
      }
      break;
  }
  return true;
}

void PayloadWriter::Begin(const PayloadFormat& format, const PayloadPlace& place, std::string* out,
                          int segments) {
  CheckFormat(format);
  ISTHMUS_CHECK(place.chunks.count <= 0xffffffff && segments > 0);
  format_ = format;
  place_ = place;
  out_ = out;
  out->resize(LargestPayloadBytes(format, place.chunks.count));
  segments_.resize(static_cast<size_t>(segments));
  constexpr uint64_t kWhole = PayloadView::kBatch;  // a multiple of 8: segments begin with a byte
  const uint64_t tiles = (place.chunks.count + kWhole - 1) / kWhole;
  const uint64_t count = static_cast<uint64_t>(segments);
  segment_chunks_ = (tiles + count - 1) / count * kWhole;
  const uint64_t record_bits = RecordBits(format, CoderOf(format));
  std::byte* body = reinterpret_cast<std::byte*>(out->data()) + kPayloadHeaderBytes;
  for (int i = 0; i < segments; ++i) {
    const PayloadPlace run = segment_place(i);
    const uint64_t first = run.chunks.first - place.chunks.first;
    segment(i).Begin(format, run, body + BytesForBits(first * record_bits),
                     body + BytesForBits((first + run.chunks.count) * record_bits));
  }
}

PayloadPlace PayloadWriter::segment_place(int segment) const {
  const uint64_t first =
      std::min(static_cast<uint64_t>(segment) * segment_chunks_, place_.chunks.count);
  return {place_.round,
          {place_.chunks.first + first, std::min(segment_chunks_, place_.chunks.count - first)}};
}

std::byte* PayloadWriter::Compact(std::byte* body) {
  const uint64_t record_bits = RecordBits(format_, CoderOf(format_));
  compacted_.resize(BytesForBits(place_.chunks.count * record_bits));
  BitWriter bits(compacted_.data(), compacted_.data() + compacted_.size());
  for (const RecordWriter& segment : segments_) {
    const uint64_t used = segment.present_chunks() * record_bits;
    for (uint64_t at = 0; at < used; at += kMaxBitsAtOnce) {
      const int width = static_cast<int>(std::min<uint64_t>(kMaxBitsAtOnce, used - at));
      bits.Put(LoadBits(segment.bytes(), at, width), width);
    }
  }
  const auto size = static_cast<size_t>(bits.Finish() - compacted_.data());
  // Only now: the map takes the place of records.
  for (const RecordWriter& segment : segments_) {
    const std::span<const uint8_t> presence = segment.presence();
    // (An empty segment's has no address.)
    if (!presence.empty()) std::memcpy(body, presence.data(), presence.size());
    body += presence.size();
  }
  std::memcpy(body, compacted_.data(), size);
  return body + size;
}

void PayloadWriter::Finish() {
  uint64_t present = 0;
  for (RecordWriter& segment : segments_) {
    segment.Finish();
    present += segment.present_chunks();
  }
  std::byte* begin = reinterpret_cast<std::byte*>(out_->data());
  std::byte* body = begin + kPayloadHeaderBytes;
  const bool all = present == place_.chunks.count;
  const std::byte* end = all ? begin + PayloadBytes(format_, place_.chunks.count) : Compact(body);
  StoreHeader(format_, place_, !all, CodingOf(CoderOf(format_)), begin);
  out_->resize(static_cast<size_t>(end - begin));
  StorePayloadCrc(kPayloadCrcOffset, std::as_writable_bytes(std::span(*out_)));
}

std::string AssemblePayload(const PayloadFormat& format, const PayloadPlace& place,
                            std::span<const uint32_t> records, std::span<const uint32_t> presence) {
  static_assert(std::endian::native == std::endian::little);
  const IndexCoder* coder = CoderOf(format);
  const uint64_t record_bits = RecordBits(format, coder);
  const uint64_t map_bytes = BytesForBits(place.chunks.count);
  const std::span<const std::byte> bytes = std::as_bytes(records);
  ISTHMUS_CHECK(bytes.size() >= BytesForBits(place.chunks.count * record_bits));
  ISTHMUS_CHECK(presence.size() * sizeof(uint32_t) >= map_bytes);
  uint64_t present = 0;
  for (uint32_t word : presence) present += static_cast<uint64_t>(std::popcount(word));
  std::string payload;
  payload.resize(LargestPayloadBytes(format, place.chunks.count));
  auto* const begin = reinterpret_cast<std::byte*>(payload.data());
  std::byte* end = begin + kPayloadHeaderBytes;
  const bool all = present == place.chunks.count;
  StoreHeader(format, place, !all, CodingOf(coder), begin);
  if (all) {
    const uint64_t size = BytesForBits(place.chunks.count * record_bits);
    if (size > 0) std::memcpy(end, bytes.data(), size);
    end += size;
  } else {
    std::memcpy(end, presence.data(), map_bytes);
    end += map_bytes;
    BitWriter bits(end, begin + payload.size());
    for (uint64_t chunk = 0; chunk < place.chunks.count; ++chunk) {
      if ((presence[chunk / 32] >> (chunk % 32) & 1) == 0) continue;
      for (uint64_t at = 0; at < record_bits; at += kMaxBitsAtOnce) {
        const int width = static_cast<int>(std::min<uint64_t>(kMaxBitsAtOnce, record_bits - at));
        bits.Put(LoadBits(bytes, chunk * record_bits + at, width), width);
      }
    }
    end = bits.Finish();
  }
  payload.resize(static_cast<size_t>(end - begin));
  StorePayloadCrc(kPayloadCrcOffset, std::as_writable_bytes(std::span(payload)));
  return payload;
}

std::string EncodePayload(const PayloadFormat& format, uint64_t round, Selection& selection) {
  ISTHMUS_CHECK(selection.values.size() == selection.chunk_count * format.k);
  ISTHMUS_CHECK(selection.indices.size() ==
                (format.k == format.chunk_size ? 0 : selection.values.size()));
  std::string payload;
  PayloadWriter writer;
  const PayloadPlace place{round, {selection.first_chunk, selection.chunk_count}};
  writer.Begin(format, place, &payload);
  if (format.block_scales) {
    std::vector<float> elements = selection.values;
    writer.segment(0).TakeBlocks(ActiveKernels(), place.chunks.count, elements.data());
    writer.Finish();
    selection.values = DecodePayload(std::as_bytes(std::span(payload)), format, place)->values;
    return payload;
  }
  for (uint64_t chunk = 0; chunk < selection.chunk_count; ++chunk) {
    const uint16_t* indices =
        selection.indices.empty() ? nullptr : selection.indices.data() + chunk * format.k;
    writer.Add(indices, selection.values.data() + chunk * format.k);
  }
  writer.Finish();
  return payload;
}

std::string EncodeNothing(const PayloadFormat& format, const PayloadPlace& place) {
  ISTHMUS_CHECK(!format.has_indices());
  Selection nothing{place.chunks.first, place.chunks.count, {}, {}};
  nothing.values.resize(place.chunks.count * format.k);
  return EncodePayload(format, place.round, nothing);
}

}  // namespace isthmus
