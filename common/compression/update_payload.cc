#include "common/compression/update_payload.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/string_view.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compression/bit_stream.h"
#include "common/compression/dct.h"
#include "common/compression/payload_check.h"

namespace isthmus {
namespace {

constexpr absl::string_view kName = "update";
constexpr uint16_t kMagic = 0x5549;  // "IU"
constexpr uint8_t kVersion = 1;
constexpr uint64_t kHeaderBytes = 40;
constexpr uint64_t kCrcOffset = kHeaderBytes - sizeof(uint32_t);

// The format is ours, from the run spec. A chunk is a whole number of bytes in every bitmap.
void CheckFormat(const UpdateFormat& format) { ISTHMUS_CHECK(IsChunkSize(format.chunk_size)); }

// The one definition of u: from coefficients to direction, in place, for whole present chunks.
// (-0 counts as 0, and so does the NaN of overflowing coefficients.)
void CoefficientsToDirection(const UpdateFormat& format, std::span<float> chunks) {
  if (format.transform == Transform::kDct) {
    InverseDct(static_cast<int>(format.chunk_size), chunks, chunks);
  }
  if (!format.sign) return;
  for (float& u : chunks) u = static_cast<float>(static_cast<int>(u > 0) - static_cast<int>(u < 0));
}

// The sign bits of all present chunks, or nothing if some element of theirs has none.
bool EncodeSigns(const UpdateFormat& format, const MergedBucket& merged, std::string& out) {
  std::vector<float> batch(std::max<size_t>(format.chunk_size, 8192));
  const size_t batch_chunks = batch.size() / format.chunk_size;
  size_t filled = 0;
  bool all_signed = true;
  const auto flush = [&] {
    const std::span<float> directions = std::span(batch).first(filled * format.chunk_size);
    CoefficientsToDirection(format, directions);
    for (size_t i = 0; i < directions.size(); i += 8) {
      unsigned bits = 0;
      for (unsigned j = 0; j < 8; ++j) {
        const uint32_t direction = std::bit_cast<uint32_t>(directions[i + j]);
        all_signed &= direction << 1 != 0;
        bits |= direction >> 31 << j;
      }
      out.push_back(static_cast<char>(bits));
    }
    filled = 0;
  };
  for (uint64_t chunk = 0; chunk < merged.chunk_count && all_signed; ++chunk) {
    if (merged.present[chunk] == 0) continue;
    std::memcpy(batch.data() + filled * format.chunk_size,
                merged.coefficients.data() + chunk * format.chunk_size,
                format.chunk_size * sizeof(float));
    if (++filled == batch_chunks) flush();
  }
  flush();
  return all_signed;
}

void EncodeValues(const UpdateFormat& format, const MergedBucket& merged, std::string& out) {
  std::string values;
  for (uint64_t chunk = 0; chunk < merged.chunk_count; ++chunk) {
    if (merged.present[chunk] == 0) continue;
    const float* coefficients = merged.coefficients.data() + chunk * format.chunk_size;
    for (uint32_t i = 0; i < format.chunk_size; i += 8) {
      unsigned bits = 0;
      for (uint32_t j = 0; j < 8; ++j) bits |= (coefficients[i + j] != 0.0f ? 1u : 0u) << j;
      out.push_back(static_cast<char>(bits));
      for (; bits != 0; bits &= bits - 1) {
        const float value = coefficients[i + static_cast<uint32_t>(std::countr_zero(bits))];
        AppendLittleEndian<uint32_t>(std::bit_cast<uint32_t>(value), values);
      }
    }
  }
  out += values;
}

uint64_t ValuesBytes(const UpdateFormat& format, const MergedBucket& merged) {
  uint64_t bytes = 0;
  for (uint64_t chunk = 0; chunk < merged.chunk_count; ++chunk) {
    if (merged.present[chunk] == 0) continue;
    const float* begin = merged.coefficients.data() + chunk * format.chunk_size;
    const auto zeros = std::count(begin, begin + format.chunk_size, 0.0f);
    bytes +=
        format.chunk_size / 8 + (format.chunk_size - static_cast<uint64_t>(zeros)) * sizeof(float);
  }
  return bytes;
}

std::string HeaderBeforeBody(const UpdateFormat& format, UpdateEncoding encoding,
                             const MergedBucket& merged, uint64_t body_bytes) {
  std::string header;
  header.reserve(kHeaderBytes + body_bytes);
  AppendLittleEndian<uint16_t>(kMagic, header);
  AppendLittleEndian<uint8_t>(kVersion, header);
  AppendLittleEndian<uint8_t>(static_cast<uint8_t>(encoding), header);
  AppendLittleEndian<uint8_t>(static_cast<uint8_t>(format.transform), header);
  AppendLittleEndian<uint8_t>(format.sign ? 1 : 0, header);
  AppendLittleEndian<uint16_t>(0, header);
  AppendLittleEndian<uint32_t>(format.chunk_size, header);
  AppendLittleEndian<uint64_t>(merged.first_chunk, header);
  AppendLittleEndian<uint64_t>(merged.chunk_count, header);
  AppendLittleEndian<uint64_t>(body_bytes, header);
  AppendLittleEndian<uint32_t>(0, header);  // the checksum's place
  return header;
}

absl::StatusOr<UpdateEncoding> CheckHeader(std::span<const std::byte> payload,
                                           const UpdateFormat& format, uint64_t first_chunk,
                                           uint64_t chunk_count) {
  if (payload.size() < kHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(kName, " length: expected at least ",
                                                   kHeaderBytes, " bytes, got ", payload.size()));
  }
  const std::byte* at = payload.data();
  const auto u8 = [at](size_t offset) { return LoadLittleEndian<uint8_t>(at + offset); };
  const auto u64 = [at](size_t offset) { return LoadLittleEndian<uint64_t>(at + offset); };
  const auto expect = [](absl::string_view field, uint64_t wanted, uint64_t actual) {
    return ExpectField(kName, field, wanted, actual);
  };
  ISTHMUS_RETURN_IF_ERROR(expect("magic", kMagic, LoadLittleEndian<uint16_t>(at)));
  ISTHMUS_RETURN_IF_ERROR(expect("version", kVersion, u8(2)));
  ISTHMUS_RETURN_IF_ERROR(ExpectCrc(kName, payload, kCrcOffset));
  const auto encoding = static_cast<UpdateEncoding>(u8(3));
  const bool known =
      encoding == UpdateEncoding::kValues || (encoding == UpdateEncoding::kSigns && format.sign);
  if (!known) {
    return absl::InvalidArgumentError(
        absl::StrCat(kName, " encoding: expected ", format.sign ? "1 or 2" : "2", ", got ", u8(3)));
  }
  ISTHMUS_RETURN_IF_ERROR(expect("transform", static_cast<uint64_t>(format.transform), u8(4)));
  ISTHMUS_RETURN_IF_ERROR(expect("sign", format.sign ? 1 : 0, u8(5)));
  ISTHMUS_RETURN_IF_ERROR(expect("reserved", 0, LoadLittleEndian<uint16_t>(at + 6)));
  ISTHMUS_RETURN_IF_ERROR(
      expect("chunk_size", format.chunk_size, LoadLittleEndian<uint32_t>(at + 8)));
  ISTHMUS_RETURN_IF_ERROR(expect("first_chunk", first_chunk, u64(12)));
  ISTHMUS_RETURN_IF_ERROR(expect("chunk_count", chunk_count, u64(20)));
  ISTHMUS_RETURN_IF_ERROR(expect("body_bytes", payload.size() - kHeaderBytes, u64(28)));
  return encoding;
}

// The values of a kValues body: each one a number that the encoder would have sent.
absl::Status CheckValues(std::span<const std::byte> values) {
  for (size_t at = 0; at < values.size(); at += sizeof(uint32_t)) {
    const uint32_t bits = LoadLittleEndian<uint32_t>(values.data() + at);
    const float value = std::bit_cast<float>(bits);
    if (!std::isfinite(value) || value == 0.0f) {
      return absl::InvalidArgumentError(
          absl::StrCat(kName, " value ", at / sizeof(uint32_t),
                       ": expected a finite number other than zero, got bits ",
                       absl::Hex(bits, absl::kZeroPad8)));
    }
  }
  return absl::OkStatus();
}

void SignsToDirection(const std::byte* bits, std::span<float> out) {
  for (size_t i = 0; i < out.size(); i += 8) {
    const uint32_t byte = std::to_integer<uint32_t>(bits[i / 8]);
    for (uint32_t j = 0; j < 8; ++j) {
      out[i + j] = std::bit_cast<float>(std::bit_cast<uint32_t>(1.0f) | (byte >> j & 1) << 31);
    }
  }
}

void ExpandValues(const std::byte* bitmap, const std::byte* values, std::span<float> out) {
  std::fill(out.begin(), out.end(), 0.0f);
  for (size_t i = 0; i < out.size(); i += 8) {
    unsigned bits = std::to_integer<unsigned>(bitmap[i / 8]);
    for (; bits != 0; bits &= bits - 1, values += sizeof(uint32_t)) {
      out[i + static_cast<size_t>(std::countr_zero(bits))] =
          std::bit_cast<float>(LoadLittleEndian<uint32_t>(values));
    }
  }
}

}  // namespace

std::string EncodeUpdate(const UpdateFormat& format, const MergedBucket& merged) {
  CheckFormat(format);
  ISTHMUS_CHECK(merged.present.size() == merged.chunk_count);
  ISTHMUS_CHECK(merged.coefficients.size() == merged.chunk_count * format.chunk_size);
  std::string presence;
  BitWriter writer(presence);
  uint64_t present = 0;
  for (uint8_t here : merged.present) {
    writer.Put(here != 0 ? 1 : 0, 1);
    present += here != 0 ? 1 : 0;
  }
  writer.Finish();
  const uint64_t signs_bytes = present * format.chunk_size / 8;
  // Signs are what the bitmaps of the values alone would take, so never longer.
  if (format.sign) {
    std::string update =
        HeaderBeforeBody(format, UpdateEncoding::kSigns, merged, presence.size() + signs_bytes);
    update += presence;
    if (EncodeSigns(format, merged, update)) {
      StorePayloadCrc(kCrcOffset, update);
      return update;
    }
  }
  std::string update = HeaderBeforeBody(format, UpdateEncoding::kValues, merged,
                                        presence.size() + ValuesBytes(format, merged));
  update += presence;
  EncodeValues(format, merged, update);
  StorePayloadCrc(kCrcOffset, update);
  return update;
}

absl::StatusOr<UpdateView> UpdateView::Parse(std::span<const std::byte> payload,
                                             const UpdateFormat& format, uint64_t first_chunk,
                                             uint64_t chunk_count) {
  CheckFormat(format);
  ISTHMUS_ASSIGN_OR_RETURN(const UpdateEncoding encoding,
                           CheckHeader(payload, format, first_chunk, chunk_count));
  UpdateView view;
  view.format_ = format;
  view.encoding_ = encoding;
  view.first_chunk_ = first_chunk;
  view.chunk_count_ = chunk_count;
  const auto after_header = payload.subspan(kHeaderBytes);
  const uint64_t presence_bytes = BytesForBits(chunk_count);
  if (after_header.size() < presence_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(kName, " body_bytes: expected at least ",
                                                   presence_bytes, ", got ", after_header.size()));
  }
  view.presence_ = after_header.first(presence_bytes);
  view.body_ = after_header.subspan(presence_bytes);
  uint64_t present = 0;
  view.chunk_rank_.reserve(chunk_count);
  for (uint64_t chunk = 0; chunk < chunk_count; ++chunk) {
    view.chunk_rank_.push_back(present);
    present += GetBit(view.presence_, chunk) ? 1 : 0;
  }
  for (uint64_t bit = chunk_count; bit < 8 * presence_bytes; ++bit) {
    ISTHMUS_RETURN_IF_ERROR(ExpectField(kName, "padding", 0, GetBit(view.presence_, bit) ? 1 : 0));
  }
  const uint64_t bitmap_bytes = present * (format.chunk_size / 8);
  if (encoding == UpdateEncoding::kSigns) {
    ISTHMUS_RETURN_IF_ERROR(ExpectField(kName, "signs length", bitmap_bytes, view.body_.size()));
    return view;
  }
  if (view.body_.size() < bitmap_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(kName, " bitmaps length: expected ",
                                                   bitmap_bytes, ", got ", view.body_.size()));
  }
  uint64_t values = 0;
  view.value_rank_.reserve(present);
  for (uint64_t at = 0; at < bitmap_bytes; ++at) {
    if (at % (format.chunk_size / 8) == 0) view.value_rank_.push_back(values);
    values += static_cast<uint64_t>(std::popcount(std::to_integer<unsigned>(view.body_[at])));
  }
  ISTHMUS_RETURN_IF_ERROR(ExpectField(kName, "values length", values * sizeof(float),
                                      view.body_.size() - bitmap_bytes));
  ISTHMUS_RETURN_IF_ERROR(CheckValues(view.body_.subspan(bitmap_bytes)));
  return view;
}

void UpdateView::Direction(uint64_t first_chunk, std::span<float> out) const {
  const uint64_t size = format_.chunk_size;
  const uint64_t count = out.size() / size;
  ISTHMUS_CHECK(out.size() == count * size && first_chunk >= first_chunk_ &&
                count <= chunk_count_ && first_chunk - first_chunk_ <= chunk_count_ - count);
  const uint64_t begin = first_chunk - first_chunk_;
  const std::byte* values = body_.data() + value_rank_.size() * (size / 8);
  // Chunks are decoded in runs of present ones, so that the transform gets many at once.
  uint64_t run = 0;
  for (uint64_t i = 0; i <= count; ++i) {
    if (i < count && GetBit(presence_, begin + i)) {
      const uint64_t rank = chunk_rank_[begin + i];
      const std::byte* bits = body_.data() + rank * (size / 8);
      const std::span<float> chunk = out.subspan(i * size, size);
      if (encoding_ == UpdateEncoding::kSigns) {
        SignsToDirection(bits, chunk);
      } else {
        ExpandValues(bits, values + value_rank_[rank] * sizeof(float), chunk);
      }
      continue;
    }
    if (encoding_ == UpdateEncoding::kValues && run < i) {
      CoefficientsToDirection(format_, out.subspan(run * size, (i - run) * size));
    }
    if (i < count) std::fill_n(out.data() + i * size, size, 0.0f);
    run = i + 1;
  }
}

}  // namespace isthmus
