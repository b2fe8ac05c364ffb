#include <absl/strings/str_cat.h>
#include <absl/strings/string_view.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compression/bit_stream.h"
#include "common/compression/dct.h"
#include "common/compression/direction.h"
#include "common/compression/payload_check.h"
#include "common/compression/update_layout.h"
#include "common/compression/update_payload.h"

namespace isthmus {
namespace {

constexpr absl::string_view kName = "update";

absl::StatusOr<UpdateEncoding> CheckHeader(std::span<const std::byte> payload,
                                           const UpdateFormat& format, const PayloadPlace& place) {
  if (payload.size() < kUpdateHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        kName, " length: expected at least ", kUpdateHeaderBytes, " bytes, got ", payload.size()));
  }
  const std::byte* at = payload.data();
  const auto u8 = [at](size_t offset) { return LoadLittleEndian<uint8_t>(at + offset); };
  const auto expect = [](absl::string_view field, uint64_t wanted, uint64_t actual) {
    return ExpectField(kName, field, wanted, actual);
  };
  ISTHMUS_RETURN_IF_ERROR(expect("magic", kUpdateMagic, LoadLittleEndian<uint16_t>(at)));
  ISTHMUS_RETURN_IF_ERROR(expect("version", kUpdateVersion, u8(2)));
  ISTHMUS_RETURN_IF_ERROR(ExpectCrc(kName, payload, kUpdateCrcOffset));
  const auto encoding = static_cast<UpdateEncoding>(u8(3));
  if (format.requantized) {
    ISTHMUS_RETURN_IF_ERROR(
        expect("encoding", static_cast<uint64_t>(UpdateEncoding::kRequantized), u8(3)));
  } else if (encoding != UpdateEncoding::kValues &&
             !(encoding == UpdateEncoding::kSigns && format.sign) &&
             !(encoding == UpdateEncoding::kTernary && HasKnownSigns(format))) {
    return absl::InvalidArgumentError(absl::StrCat(
        kName, " encoding: expected ",
        HasKnownSigns(format) ? "1, 2 or 3" : (format.sign ? "1 or 2" : "2"), ", got ", u8(3)));
  }
  const bool presence = !format.requantized && (u8(4) & 1) != 0;
  ISTHMUS_RETURN_IF_ERROR(expect("flags", UpdateFlags(format, presence), u8(4)));
  ISTHMUS_RETURN_IF_ERROR(expect("reserved", 0, u8(5)));
  ISTHMUS_RETURN_IF_ERROR(expect("chunk_size", format.contribution.chunk_size,
                                 LoadLittleEndian<uint16_t>(at + 6) + uint64_t{1}));
  ISTHMUS_RETURN_IF_ERROR(
      expect("chunk_count", place.chunks.count, LoadLittleEndian<uint32_t>(at + 8)));
  ISTHMUS_RETURN_IF_ERROR(
      expect("first_chunk", place.chunks.first, LoadLittleEndian<uint64_t>(at + 12)));
  ISTHMUS_RETURN_IF_ERROR(expect("round", place.round, LoadLittleEndian<uint64_t>(at + 20)));
  return encoding;
}

}  // namespace

UpdateView::Contents UpdateView::contents() const {
  Contents contents{place_, &presence_, body_, zeros_, {}, value_rank_, {}};
  if (encoding_ == UpdateEncoding::kValues) {
    const size_t bitmaps = value_rank_.size() * (format_.contribution.chunk_size / 8);
    contents.body = body_.first(bitmaps);
    contents.values = body_.subspan(bitmaps);
  }
  size_t part = 0;
  for (const Merged& contributor : contributors_) {
    contents.contributions.push_back(
        {contributor.weight, std::span(parts_).subspan(part, contributor.end - part)});
    part = contributor.end;
  }
  return contents;
}

uint64_t UpdateView::SignElements() const {
  return HasKnownSigns(format_) ? format_.contribution.k : format_.contribution.chunk_size;
}

absl::StatusOr<UpdateView> UpdateView::Parse(std::span<const std::byte> payload,
                                             const UpdateFormat& format,
                                             const PayloadPlace& place) {
  UpdateView view;
  ISTHMUS_RETURN_IF_ERROR(view.SetPayload(payload, format, place));
  return view;
}

absl::Status UpdateView::SetPayload(std::span<const std::byte> payload, const UpdateFormat& format,
                                    const PayloadPlace& place) {
  ISTHMUS_CHECK(IsChunkSize(format.contribution.chunk_size));
  format_ = format;
  place_ = place;
  own_ = kNotHere;
  zeros_ = {};
  value_rank_.clear();
  contributors_.clear();
  parts_.clear();
  ISTHMUS_ASSIGN_OR_RETURN(encoding_, CheckHeader(payload, format, place));
  std::span<const std::byte> body = payload.subspan(kUpdateHeaderBytes);
  const bool map = (std::to_integer<unsigned>(payload[4]) & 1) != 0;
  ISTHMUS_ASSIGN_OR_RETURN(presence_, PresenceMap::ParseIf(map, kName, place.chunks.count, &body));
  return ReadBody(body);
}

absl::Status UpdateView::ReadBody(std::span<const std::byte> body) {
  body_ = body;
  const uint64_t elements = presence_.present_chunks() * SignElements();
  if (encoding_ == UpdateEncoding::kSigns) return ReadSigns(elements);
  if (encoding_ == UpdateEncoding::kTernary) return CheckDigits(elements);
  if (encoding_ == UpdateEncoding::kRequantized) {
    ISTHMUS_ASSIGN_OR_RETURN(const PayloadView whole,
                             PayloadView::Parse(body, RequantizedFormat(format_), place_));
    parts_.push_back(whole);
    contributors_.push_back({1.0f, 1});
    rows_ = AreRows();
    return absl::OkStatus();
  }
  return ReadValues();
}

absl::Status UpdateView::ReadSigns(uint64_t elements) {
  const uint64_t sign_bytes = BytesForBits(elements);
  if (body_.size() < sign_bytes || (body_.size() - sign_bytes) % 4 != 0) {
    return absl::InvalidArgumentError(absl::StrCat(kName, " signs length: expected ", sign_bytes,
                                                   " and a multiple of 4, got ", body_.size()));
  }
  zeros_ = body_.subspan(sign_bytes);
  body_ = body_.first(sign_bytes);
  if (elements % 8 != 0) {
    ISTHMUS_RETURN_IF_ERROR(ExpectField(kName, "padding", 0,
                                        std::to_integer<unsigned>(body_.back()) >> (elements % 8)));
  }
  int64_t previous = -1;
  for (size_t at = 0; at < zeros_.size(); at += 4) {
    const uint32_t element = LoadLittleEndian<uint32_t>(zeros_.data() + at);
    if (element <= previous || element >= elements || GetBit(body_, element)) {
      return absl::InvalidArgumentError(
          absl::StrCat(kName, " zero ", at / 4, ": expected an element from ", previous + 1,
                       " to below ", elements, " whose bit is 0, got ", element));
    }
    previous = element;
  }
  return absl::OkStatus();
}

absl::Status UpdateView::CheckDigits(uint64_t elements) const {
  ISTHMUS_RETURN_IF_ERROR(ExpectField(kName, "digits length", (elements + 4) / 5, body_.size()));
  for (size_t i = 0; i < body_.size(); ++i) {
    unsigned limit = 243;
    if (i + 1 == body_.size() && elements % 5 != 0) {
      limit = 1;
      for (uint64_t digit = 0; digit < elements % 5; ++digit) limit *= 3;
    }
    const unsigned byte = std::to_integer<unsigned>(body_[i]);
    if (byte >= limit) {
      return absl::InvalidArgumentError(
          absl::StrCat(kName, " digits ", i, ": expected below ", limit, ", got ", byte));
    }
  }
  return absl::OkStatus();
}

absl::Status UpdateView::ReadValues() {
  const uint64_t present = presence_.present_chunks();
  const uint64_t chunk_bytes = format_.contribution.chunk_size / 8;
  const uint64_t bitmap_bytes = present * chunk_bytes;
  if (body_.size() < bitmap_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(kName, " bitmaps length: expected ", bitmap_bytes, ", got ", body_.size()));
  }
  uint64_t values = 0;
  value_rank_.reserve(present);
  for (uint64_t at = 0; at < bitmap_bytes; ++at) {
    if (at % chunk_bytes == 0) value_rank_.push_back(values);
    values += static_cast<uint64_t>(std::popcount(std::to_integer<unsigned>(body_[at])));
  }
  ISTHMUS_RETURN_IF_ERROR(
      ExpectField(kName, "values length", values * sizeof(float), body_.size() - bitmap_bytes));
  return CheckValues(bitmap_bytes);
}

// Each value is one that the encoder would have sent.
absl::Status UpdateView::CheckValues(uint64_t bitmap_bytes) const {
  const std::span<const std::byte> values = body_.subspan(bitmap_bytes);
  for (size_t at = 0; at < values.size(); at += sizeof(uint32_t)) {
    const uint32_t bits = LoadLittleEndian<uint32_t>(values.data() + at);
    if (bits << 1 == 0 || (bits & 0x7fffffff) >= 0x7f800000) {
      return absl::InvalidArgumentError(
          absl::StrCat(kName, " value ", at / sizeof(uint32_t),
                       ": expected a finite number other than zero, got bits ",
                       absl::Hex(bits, absl::kZeroPad8)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<UpdateView> UpdateView::FromContributions(
    std::span<const EncodedContribution> contributions, int own, const UpdateFormat& format,
    const PayloadPlace& place) {
  UpdateView view;
  ISTHMUS_RETURN_IF_ERROR(view.SetContributions(contributions, own, format, place));
  return view;
}

absl::Status UpdateView::SetContributions(std::span<const EncodedContribution> contributions,
                                          int own, const UpdateFormat& format,
                                          const PayloadPlace& place) {
  format_ = format;
  encoding_ = UpdateEncoding::kContributions;
  place_ = place;
  own_ = own;
  sign_tiles_ = true;
  rows_ = AreRows();
  contributors_.clear();
  parts_.clear();
  for (size_t i = 0; i < contributions.size(); ++i) {
    const size_t begin = parts_.size();
    const PayloadFormat expected = contributions[i].format.value_or(format.contribution);
    sign_tiles_ &= HasSignTiles(expected);
    rows_ &= expected.k == format.contribution.chunk_size;
    if (static_cast<int>(i) != own) {
      for (std::span<const std::byte> bytes : contributions[i].parts) {
        ISTHMUS_ASSIGN_OR_RETURN(const PayloadPlace at, PayloadView::PeekPlace(bytes));
        ISTHMUS_ASSIGN_OR_RETURN(const PayloadView part,
                                 PayloadView::Parse(bytes, expected, {place.round, at.chunks}));
        parts_.push_back(part);
      }
      const auto parts = std::span(parts_).subspan(begin);
      std::sort(parts.begin(), parts.end(), [](const PayloadView& a, const PayloadView& b) {
        return std::pair(a.place().chunks.first, a.place().chunks.count) <
               std::pair(b.place().chunks.first, b.place().chunks.count);
      });
      ISTHMUS_RETURN_IF_ERROR(CheckCoverage(parts));
    }
    contributors_.push_back({contributions[i].weight, parts_.size()});
  }
  return absl::OkStatus();
}

bool UpdateView::AreRows() const {
  return format_.contribution.transform == Transform::kNone && !format_.sign &&
         format_.merge != MergeRule::kSenderMean;
}

// Sorted parts follow one another from the bucket's first chunk to its last.
absl::Status UpdateView::CheckCoverage(std::span<const PayloadView> parts) const {
  uint64_t next = place_.chunks.first;
  for (const PayloadView& part : parts) {
    ISTHMUS_RETURN_IF_ERROR(
        ExpectField(kName, "part's first chunk", next, part.place().chunks.first));
    next += part.place().chunks.count;
  }
  return ExpectField(kName, "end of parts", place_.chunks.first + place_.chunks.count, next);
}

}  // namespace isthmus
