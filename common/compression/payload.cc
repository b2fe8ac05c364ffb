#include "common/compression/payload.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/string_view.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compression/payload_check.h"
#include "common/compression/topk.h"
#include "common/kernels/positions.h"
#include "common/kernels/value_codes.h"

namespace isthmus {
namespace {

constexpr absl::string_view kName = "contribution";
constexpr uint16_t kMagic = 0x4349;  // "IC"
constexpr uint8_t kVersion = 2;
constexpr uint64_t kHeaderBytes = 34;
constexpr uint64_t kCrcOffset = kHeaderBytes - sizeof(uint32_t);

int ValueBits(ValueFormat values) {
  switch (values) {
    case ValueFormat::kF32:
      return 32;
    case ValueFormat::kBf16:
      return 16;
    case ValueFormat::kInt4:
      return 4;
    case ValueFormat::kOneBit:
    case ValueFormat::kSign:
      return 1;
  }
  return 0;
}

int ScaleBits(ValueFormat values) {
  return values == ValueFormat::kInt4 || values == ValueFormat::kOneBit ? 8 : 0;
}

const IndexCoder* CoderOf(const PayloadFormat& format) {
  return format.has_indices() ? &IndexCoder::For(format.chunk_size, format.k) : nullptr;
}

uint8_t CodingOf(const IndexCoder* coder) {
  return static_cast<uint8_t>(coder == nullptr ? IndexCoding::kNone : coder->coding());
}

uint64_t RecordBits(const PayloadFormat& format, const IndexCoder* coder) {
  return static_cast<uint64_t>(coder == nullptr ? 0 : coder->bits()) +
         static_cast<uint64_t>(ScaleBits(format.values)) +
         uint64_t{format.k} * static_cast<uint64_t>(ValueBits(format.values));
}

// The format is ours, from the run spec: never a peer's.
void CheckFormat(const PayloadFormat& format) {
  ISTHMUS_CHECK(format.chunk_size <= static_cast<uint32_t>(kMaxBlockSize));
  ISTHMUS_CHECK(0 < format.k && format.k <= format.chunk_size);
  ISTHMUS_CHECK(format.positions == Positions::kChosen || format.k == format.chunk_size ||
                HasPositions(format.chunk_size, format.k));
}

uint8_t Flags(const PayloadFormat& format, bool presence) {
  return static_cast<uint8_t>((presence ? 1 : 0) | static_cast<int>(format.transform) << 1 |
                              static_cast<int>(format.positions) << 3);
}

void StoreHeader(const PayloadFormat& format, const PayloadPlace& place, bool presence,
                 uint8_t coding, std::byte* to) {
  to = StoreLittleEndian<uint16_t>(kMagic, to);
  to = StoreLittleEndian<uint8_t>(kVersion, to);
  to = StoreLittleEndian<uint8_t>(Flags(format, presence), to);
  to = StoreLittleEndian<uint8_t>(static_cast<uint8_t>(format.values), to);
  to = StoreLittleEndian<uint8_t>(coding, to);
  to = StoreLittleEndian<uint16_t>(static_cast<uint16_t>(format.chunk_size - 1), to);
  to = StoreLittleEndian<uint16_t>(static_cast<uint16_t>(format.k - 1), to);
  to = StoreLittleEndian<uint32_t>(static_cast<uint32_t>(place.chunk_count), to);
  to = StoreLittleEndian<uint64_t>(place.first_chunk, to);
  StoreLittleEndian<uint64_t>(place.round, to);
}

// Magic and version come first, for only they say that the rest means what we think; then the
// checksum, so that damage in transit is told from a peer's mistake.
absl::Status CheckIntact(std::span<const std::byte> payload) {
  if (payload.size() < kHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(kName, " length: expected at least ",
                                                   kHeaderBytes, " bytes, got ", payload.size()));
  }
  const std::byte* at = payload.data();
  ISTHMUS_RETURN_IF_ERROR(ExpectField(kName, "magic", kMagic, LoadLittleEndian<uint16_t>(at)));
  ISTHMUS_RETURN_IF_ERROR(
      ExpectField(kName, "version", kVersion, LoadLittleEndian<uint8_t>(at + 2)));
  return ExpectCrc(kName, payload, kCrcOffset);
}

// The rest of the header.
absl::Status CheckHeader(std::span<const std::byte> payload, const PayloadFormat& expected,
                         const PayloadPlace& place, uint8_t coding) {
  if (payload.size() < kHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(kName, " length: expected at least ",
                                                   kHeaderBytes, " bytes, got ", payload.size()));
  }
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
  ISTHMUS_RETURN_IF_ERROR(expect("reserved flags", 0, u8(3) >> 6));
  ISTHMUS_RETURN_IF_ERROR(expect("values", static_cast<uint64_t>(expected.values), u8(4)));
  ISTHMUS_RETURN_IF_ERROR(expect("index_coding", coding, u8(5)));
  ISTHMUS_RETURN_IF_ERROR(expect("chunk_size", expected.chunk_size, u16(6) + uint64_t{1}));
  ISTHMUS_RETURN_IF_ERROR(expect("k", expected.k, u16(8) + uint64_t{1}));
  ISTHMUS_RETURN_IF_ERROR(
      expect("chunk_count", place.chunk_count, LoadLittleEndian<uint32_t>(at + 10)));
  ISTHMUS_RETURN_IF_ERROR(expect("first_chunk", place.first_chunk, u64(14)));
  return expect("round", place.round, u64(22));
}

int StrideBits(const PayloadFormat& format) {
  return std::countr_zero(format.chunk_size / format.k);
}

}  // namespace

bool HasPositions(uint32_t chunk_size, uint32_t k) {
  return std::has_single_bit(chunk_size) && std::has_single_bit(k) && k < chunk_size;
}

void KnownPositions(const PayloadFormat& format, uint64_t round, uint64_t chunk,
                    uint16_t* indices) {
  const int stride_bits = StrideBits(format);
  for (uint32_t i = 0; i < format.k; ++i) {
    uint32_t position = i;
    if (format.positions == Positions::kRandom) {
      position = RandomPosition(format.seed, round, chunk, stride_bits, i);
    } else if (format.positions == Positions::kStriding) {
      position = StridingPosition(round, chunk, stride_bits, i);
    } else if (format.positions == Positions::kSlicing) {
      position = SlicingPosition(round, chunk, stride_bits, format.k, i);
    }
    indices[i] = static_cast<uint16_t>(position);
  }
}

uint64_t PayloadBytes(const PayloadFormat& format, uint64_t chunk_count) {
  CheckFormat(format);
  return kHeaderBytes + BytesForBits(chunk_count * RecordBits(format, CoderOf(format)));
}

uint64_t LargestPayloadBytes(const PayloadFormat& format, uint64_t chunk_count) {
  return PayloadBytes(format, chunk_count) + BytesForBits(chunk_count);
}

// --- writing -----------------------------------------------------------------------------------

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
  presence_.assign(BytesForBits(place.chunk_count), 0);
}

void RecordWriter::Finish() {
  ISTHMUS_CHECK(added_ == place_.chunk_count);
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
  const uint64_t chunk = added_++;
  if (!Quantize(values)) {
    std::fill_n(values, format_.k, 0.0f);
    return false;
  }
  presence_[chunk / 8] |= static_cast<uint8_t>(1 << (chunk % 8));
  ++present_;
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
        const uint64_t element = (place_.first_chunk + chunk) * format_.chunk_size +
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
  ISTHMUS_CHECK(place.chunk_count <= 0xffffffff && segments > 0);
  format_ = format;
  place_ = place;
  out_ = out;
  out->resize(LargestPayloadBytes(format, place.chunk_count));
  segments_.resize(static_cast<size_t>(segments));
  constexpr uint64_t kWhole = PayloadView::kBatch;  // a multiple of 8: segments begin with a byte
  const uint64_t tiles = (place.chunk_count + kWhole - 1) / kWhole;
  const uint64_t count = static_cast<uint64_t>(segments);
  segment_chunks_ = (tiles + count - 1) / count * kWhole;
  const uint64_t record_bits = RecordBits(format, CoderOf(format));
  std::byte* body = reinterpret_cast<std::byte*>(out->data()) + kHeaderBytes;
  for (int i = 0; i < segments; ++i) {
    const PayloadPlace run = segment_place(i);
    const uint64_t first = run.first_chunk - place.first_chunk;
    segment(i).Begin(format, run, body + BytesForBits(first * record_bits),
                     body + BytesForBits((first + run.chunk_count) * record_bits));
  }
}

PayloadPlace PayloadWriter::segment_place(int segment) const {
  const uint64_t first =
      std::min(static_cast<uint64_t>(segment) * segment_chunks_, place_.chunk_count);
  return {place_.round, place_.first_chunk + first,
          std::min(segment_chunks_, place_.chunk_count - first)};
}

std::byte* PayloadWriter::Compact(std::byte* body) {
  const uint64_t record_bits = RecordBits(format_, CoderOf(format_));
  compacted_.resize(BytesForBits(place_.chunk_count * record_bits));
  BitWriter bits(compacted_.data(), compacted_.data() + compacted_.size());
  for (const RecordWriter& segment : segments_) {
    const uint64_t used = segment.present_chunks() * record_bits;
    for (uint64_t at = 0; at < used; at += 56) {
      const int width = static_cast<int>(std::min<uint64_t>(56, used - at));
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
  std::byte* body = begin + kHeaderBytes;
  const bool all = present == place_.chunk_count;
  const std::byte* end = all ? begin + PayloadBytes(format_, place_.chunk_count) : Compact(body);
  StoreHeader(format_, place_, !all, CodingOf(CoderOf(format_)), begin);
  out_->resize(static_cast<size_t>(end - begin));
  StorePayloadCrc(kCrcOffset, std::as_writable_bytes(std::span(*out_)));
}

// --- reading -----------------------------------------------------------------------------------

absl::Status PayloadView::CheckRecords() const {
  const auto error = [&](uint64_t record, absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(kName, " round ", place_.round, ", record ",
                                                   record, " of the run from chunk ",
                                                   place_.first_chunk, ": ", what));
  };
  const uint64_t index_bits = coder_ == nullptr ? 0 : static_cast<uint64_t>(coder_->bits());
  const bool numbers = format_.values == ValueFormat::kF32 || format_.values == ValueFormat::kBf16;
  const int width = ValueBits(format_.values);
  for (uint64_t record = 0; record < presence_.present_chunks(); ++record) {
    uint64_t bit = record * record_bits_;
    if (coder_ != nullptr && !coder_->Valid(records_, bit)) {
      return error(record, "expected the indices of a k-subset in ascending order");
    }
    bit += index_bits;
    if (numbers) {
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
    } else if (format_.values == ValueFormat::kInt4) {
      bit += 8;
      for (uint32_t i = 0; i < format_.k; ++i, bit += 4) {
        if (LoadBits(records_, bit, 4) == 8) return error(record, "expected no -0");
      }
    }
  }
  const uint64_t used = presence_.present_chunks() * record_bits_;
  if (used % 8 != 0) {
    const int padding = static_cast<int>(8 - used % 8);
    return ExpectField(kName, "padding", 0, LoadBits(records_, used, padding));
  }
  return absl::OkStatus();
}

absl::StatusOr<PayloadPlace> PayloadView::PeekPlace(std::span<const std::byte> payload) {
  if (payload.size() < kHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(kName, " length: expected at least ",
                                                   kHeaderBytes, " bytes, got ", payload.size()));
  }
  const std::byte* at = payload.data();
  return PayloadPlace{LoadLittleEndian<uint64_t>(at + 22), LoadLittleEndian<uint64_t>(at + 14),
                      LoadLittleEndian<uint32_t>(at + 10)};
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
  view.sign_bits_ = ValueBits(expected.values) == 1 && expected.k <= 56;
  ISTHMUS_RETURN_IF_ERROR(CheckHeader(payload, expected, place, CodingOf(view.coder_)));
  const std::span<const std::byte> body = payload.subspan(kHeaderBytes);
  view.presence_ = PresenceMap(place.chunk_count);
  uint64_t presence_bytes = 0;
  if ((std::to_integer<unsigned>(payload[3]) & 1) != 0) {
    presence_bytes = BytesForBits(place.chunk_count);
    if (body.size() < presence_bytes) {
      return absl::InvalidArgumentError(absl::StrCat(kName, " length: expected at least ",
                                                     kHeaderBytes + presence_bytes, " bytes, got ",
                                                     payload.size()));
    }
    ISTHMUS_ASSIGN_OR_RETURN(
        view.presence_, PresenceMap::Parse(kName, place.chunk_count, body.first(presence_bytes)));
  }
  view.records_ = body.subspan(presence_bytes);
  ISTHMUS_RETURN_IF_ERROR(
      ExpectField(kName, "length",
                  kHeaderBytes + presence_bytes +
                      BytesForBits(view.presence_.present_chunks() * view.record_bits_),
                  payload.size()));
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

void PayloadView::DecodeValues(uint64_t bit, float* values) const {
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

int PayloadView::DecodeIndices(uint64_t first_chunk, int count, uint8_t* chunks, uint16_t* indices,
                               uint64_t* bit) const {
  const uint64_t first = first_chunk - place_.first_chunk;
  int present = 0;
  for (int i = 0; i < count; ++i) {
    if (!presence_.all() && !presence_.Present(first + static_cast<uint64_t>(i))) continue;
    chunks[present++] = static_cast<uint8_t>(i);
  }
  const uint64_t begin = presence_.Before(first) * record_bits_;
  *bit = begin + (coder_ == nullptr ? 0 : static_cast<uint64_t>(coder_->bits()));
  if (coder_ != nullptr) {
    coder_->Decode(records_, begin, record_bits_, present, indices);
  } else if (format_.k < format_.chunk_size) {
    for (int i = 0; i < present; ++i) {
      KnownPositions(format_, place_.round, first_chunk + chunks[i],
                     indices + static_cast<size_t>(i) * format_.k);
    }
  }
  return present;
}

int PayloadView::Decode(uint64_t first_chunk, int count, uint8_t* chunks, uint16_t* indices,
                        float* values) const {
  uint64_t bit = 0;
  const int present = DecodeIndices(first_chunk, count, chunks, indices, &bit);
  for (int i = 0; i < present; ++i, bit += record_bits_) {
    DecodeValues(bit, values + static_cast<size_t>(i) * format_.k);
  }
  return present;
}

int PayloadView::DecodeSignBits(uint64_t first_chunk, int count, uint8_t* chunks, uint16_t* indices,
                                float* magnitudes, uint64_t* negative) const {
  uint64_t bit = 0;
  const int present = DecodeIndices(first_chunk, count, chunks, indices, &bit);
  const bool scaled = format_.values == ValueFormat::kOneBit;
  const uint64_t skip = scaled ? 8 : 0;
  const int width = static_cast<int>(format_.k);
  for (int i = 0; i < present; ++i, bit += record_bits_) {
    if (scaled && width <= 48) {  // in one word
      const uint64_t word = LoadBits(records_, bit, width + 8);
      magnitudes[i] = ScaleOf(static_cast<uint32_t>(word & 0xff));
      negative[i] = word >> 8;
      continue;
    }
    magnitudes[i] = scaled ? ScaleOf(static_cast<uint32_t>(LoadBits(records_, bit, 8))) : 1.0f;
    negative[i] = LoadBits(records_, bit + skip, width);
  }
  return present;
}

// --- in plain vectors --------------------------------------------------------------------------

std::string EncodePayload(const PayloadFormat& format, uint64_t round, Selection& selection) {
  ISTHMUS_CHECK(selection.values.size() == selection.chunk_count * format.k);
  ISTHMUS_CHECK(selection.indices.size() ==
                (format.k == format.chunk_size ? 0 : selection.values.size()));
  std::string payload;
  PayloadWriter writer;
  writer.Begin(format, {round, selection.first_chunk, selection.chunk_count}, &payload);
  for (uint64_t chunk = 0; chunk < selection.chunk_count; ++chunk) {
    const uint16_t* indices =
        selection.indices.empty() ? nullptr : selection.indices.data() + chunk * format.k;
    writer.Add(indices, selection.values.data() + chunk * format.k);
  }
  writer.Finish();
  return payload;
}

absl::StatusOr<Selection> DecodePayload(std::span<const std::byte> payload,
                                        const PayloadFormat& expected, const PayloadPlace& place) {
  ISTHMUS_ASSIGN_OR_RETURN(const PayloadView view, PayloadView::Parse(payload, expected, place));
  const uint64_t k = expected.k;
  const bool all = expected.k == expected.chunk_size;
  Selection selection;
  selection.first_chunk = place.first_chunk;
  selection.chunk_count = place.chunk_count;
  selection.values.resize(place.chunk_count * k);
  selection.indices.resize(all ? 0 : place.chunk_count * k);
  std::vector<uint16_t> indices(k);
  for (uint64_t chunk = 0; chunk < place.chunk_count; ++chunk) {
    uint8_t which;
    const int present = view.Decode(place.first_chunk + chunk, 1, &which, indices.data(),
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
