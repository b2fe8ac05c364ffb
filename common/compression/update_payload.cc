#include "common/compression/update_payload.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/string_view.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compression/bit_stream.h"
#include "common/compression/dct.h"
#include "common/compression/direction.h"
#include "common/compression/payload_check.h"
#include "common/kernels/value_codes.h"

namespace isthmus {
namespace {

constexpr absl::string_view kName = "update";
constexpr uint16_t kMagic = 0x5549;  // "IU"
constexpr uint8_t kVersion = 2;
constexpr uint64_t kHeaderBytes = 32;
constexpr uint64_t kCrcOffset = kHeaderBytes - sizeof(uint32_t);

uint8_t Flags(const UpdateFormat& format, bool presence) {
  return static_cast<uint8_t>((presence ? 1 : 0) | (format.sign ? 2 : 0) |
                              static_cast<int>(format.contribution.transform) << 2);
}

absl::StatusOr<UpdateEncoding> CheckHeader(std::span<const std::byte> payload,
                                           const UpdateFormat& format, const PayloadPlace& place) {
  if (payload.size() < kHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat(kName, " length: expected at least ",
                                                   kHeaderBytes, " bytes, got ", payload.size()));
  }
  const std::byte* at = payload.data();
  const auto u8 = [at](size_t offset) { return LoadLittleEndian<uint8_t>(at + offset); };
  const auto expect = [](absl::string_view field, uint64_t wanted, uint64_t actual) {
    return ExpectField(kName, field, wanted, actual);
  };
  ISTHMUS_RETURN_IF_ERROR(expect("magic", kMagic, LoadLittleEndian<uint16_t>(at)));
  ISTHMUS_RETURN_IF_ERROR(expect("version", kVersion, u8(2)));
  ISTHMUS_RETURN_IF_ERROR(ExpectCrc(kName, payload, kCrcOffset));
  const auto encoding = static_cast<UpdateEncoding>(u8(3));
  const bool known = encoding == UpdateEncoding::kValues ||
                     (encoding == UpdateEncoding::kSigns && format.sign) ||
                     (encoding == UpdateEncoding::kTernary && HasKnownSigns(format));
  if (!known) {
    return absl::InvalidArgumentError(absl::StrCat(
        kName, " encoding: expected ",
        HasKnownSigns(format) ? "1, 2 or 3" : (format.sign ? "1 or 2" : "2"), ", got ", u8(3)));
  }
  ISTHMUS_RETURN_IF_ERROR(expect("flags", Flags(format, (u8(4) & 1) != 0), u8(4)));
  ISTHMUS_RETURN_IF_ERROR(expect("reserved", 0, u8(5)));
  ISTHMUS_RETURN_IF_ERROR(expect("chunk_size", format.contribution.chunk_size,
                                 LoadLittleEndian<uint16_t>(at + 6) + uint64_t{1}));
  ISTHMUS_RETURN_IF_ERROR(
      expect("chunk_count", place.chunk_count, LoadLittleEndian<uint32_t>(at + 8)));
  ISTHMUS_RETURN_IF_ERROR(
      expect("first_chunk", place.first_chunk, LoadLittleEndian<uint64_t>(at + 12)));
  ISTHMUS_RETURN_IF_ERROR(expect("round", place.round, LoadLittleEndian<uint64_t>(at + 20)));
  return encoding;
}

// What a first look at the merged tiles decides, and collects on the way.
class Encoder {
 public:
  Encoder(const UpdateFormat& format, const PayloadPlace& place, std::span<const MergeInput> inputs)
      : format_(format),
        place_(place),
        inputs_(inputs),
        kernels_(ActiveKernels()),
        merger_(format.merge, chunk_size(), format.contribution.k, kernels_) {}

  std::string Encode() {
    presence_.assign(BytesForBits(place_.chunk_count), std::byte{0});
    if (format_.sign && HasKnownSigns(format_)) return EncodeKnown();
    if (!format_.sign) {
      EncodeValues();
      return Finish(UpdateEncoding::kValues);
    }
    // Both have a bit per element, and 4 bytes per zero or per coefficient.
    const uint64_t coefficients = EncodeSigns();
    if (zeros_.size() <= coefficients) return Finish(UpdateEncoding::kSigns);
    EncodeValues();
    return Finish(UpdateEncoding::kValues);
  }

 private:
  uint32_t chunk_size() const { return format_.contribution.chunk_size; }

  // Calls visit(first chunk of the tile, chunks in it, present bits).
  template <typename Visit>
  void ForEachTile(Visit visit) {
    body_.clear();
    zeros_.clear();
    present_ = 0;
    for (uint64_t at = 0; at < place_.chunk_count; at += kTileChunks) {
      const int count = static_cast<int>(std::min<uint64_t>(kTileChunks, place_.chunk_count - at));
      const uint32_t present = merger_.Merge(place_.first_chunk + at, count, inputs_);
      present_ += static_cast<uint64_t>(std::popcount(present));
      presence_[at / 8] = static_cast<std::byte>(present & 0xff);
      if (count > 8) presence_[at / 8 + 1] = static_cast<std::byte>(present >> 8);
      visit(at, count, present);
    }
  }

  void Append(const void* bytes, size_t size) {
    const auto* begin = static_cast<const std::byte*>(bytes);
    body_.insert(body_.end(), begin, begin + size);
  }

  // Returns how many coefficients are not zero.
  uint64_t EncodeSigns() {
    const size_t words = static_cast<size_t>(MaskWords(static_cast<int>(chunk_size())));
    std::vector<uint32_t> negative(words * kTileChunks);
    std::vector<uint32_t> zero(negative.size());
    uint64_t element = 0;
    uint64_t coefficients = 0;
    ForEachTile([&](uint64_t, int count, uint32_t present) {
      TileSigns(format_, merger_.tile(), kernels_, negative.data(), zero.data());
      uint32_t in_tile = 0;
      for (uint32_t i = 0; i < chunk_size() * kTileChunks; ++i) {
        in_tile += merger_.tile()[i] != 0.0f ? 1 : 0;
      }
      coefficients += in_tile;
      for (int chunk = 0; chunk < count; ++chunk) {
        if ((present >> chunk & 1) == 0) continue;
        for (size_t word = 0; word < words; ++word) {
          const size_t at = word * kTileChunks + static_cast<size_t>(chunk);
          std::byte bytes[4];
          StoreLittleEndian<uint32_t>(negative[at], bytes);
          Append(bytes, std::min<size_t>(4, chunk_size() / 8 - 4 * word));
          for (uint32_t bits = zero[at]; bits != 0; bits &= bits - 1) {
            AddZero(element + 32 * word + static_cast<uint64_t>(std::countr_zero(bits)));
          }
        }
        element += chunk_size();
      }
    });
    return coefficients;
  }

  void AddZero(uint64_t element) {
    ISTHMUS_CHECK(element <= 0xffffffff);
    zeros_.push_back(static_cast<uint32_t>(element));
  }

  void EncodeValues() {
    std::vector<std::byte> values;
    ForEachTile([&](uint64_t, int count, uint32_t present) {
      for (int chunk = 0; chunk < count; ++chunk) {
        if ((present >> chunk & 1) == 0) continue;
        const float* coefficient = merger_.tile() + chunk;
        for (uint32_t i = 0; i < chunk_size(); i += 8) {
          unsigned bits = 0;
          for (uint32_t j = 0; j < 8; ++j, coefficient += kTileChunks) {
            if (*coefficient == 0.0f) continue;
            bits |= 1u << j;
            std::byte bytes[4];
            StoreLittleEndian<uint32_t>(FloatBits(*coefficient), bytes);
            values.insert(values.end(), bytes, bytes + 4);
          }
          body_.push_back(static_cast<std::byte>(bits));
        }
      }
    });
    Append(values.data(), values.size());
  }

  // Only the elements that the scheme sends: their signs, or ternary digits if many are zero.
  std::string EncodeKnown() {
    const uint32_t k = format_.contribution.k;
    std::vector<uint16_t> positions(k);
    std::vector<uint8_t> digits;
    ForEachTile([&](uint64_t at, int count, uint32_t present) {
      for (int chunk = 0; chunk < count; ++chunk) {
        if ((present >> chunk & 1) == 0) continue;
        KnownPositions(format_.contribution, place_.round,
                       place_.first_chunk + at + static_cast<uint64_t>(chunk), positions.data());
        for (uint32_t i = 0; i < k; ++i) {
          const float x =
              merger_.tile()[size_t{positions[i]} * kTileChunks + static_cast<size_t>(chunk)];
          if (!(x > 0) && !(x < 0)) AddZero(digits.size());
          digits.push_back(x > 0 ? 1 : x < 0 ? 2 : 0);
        }
      }
    });
    const size_t ternary_bytes = (digits.size() + 4) / 5;
    const size_t sign_bytes = BytesForBits(digits.size());
    const bool ternary = ternary_bytes < sign_bytes + 4 * zeros_.size();
    body_.assign(ternary ? ternary_bytes : sign_bytes, std::byte{0});
    static constexpr unsigned kPowers[] = {1, 3, 9, 27, 81};
    for (size_t i = 0; i < digits.size(); ++i) {
      std::byte& byte = ternary ? body_[i / 5] : body_[i / 8];
      const unsigned add =
          ternary ? digits[i] * kPowers[i % 5] : (digits[i] == 2 ? 1u : 0u) << (i % 8);
      byte = static_cast<std::byte>(std::to_integer<unsigned>(byte) + add);
    }
    if (ternary) zeros_.clear();
    return Finish(ternary ? UpdateEncoding::kTernary : UpdateEncoding::kSigns);
  }

  std::string Finish(UpdateEncoding encoding) {
    const bool map = present_ < place_.chunk_count;
    std::string update(
        kHeaderBytes + (map ? presence_.size() : 0) + body_.size() + 4 * zeros_.size(), '\0');
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(update));
    std::byte* to = bytes.data();
    to = StoreLittleEndian<uint16_t>(kMagic, to);
    to = StoreLittleEndian<uint8_t>(kVersion, to);
    to = StoreLittleEndian<uint8_t>(static_cast<uint8_t>(encoding), to);
    to = StoreLittleEndian<uint8_t>(Flags(format_, map), to);
    to = StoreLittleEndian<uint8_t>(0, to);
    to = StoreLittleEndian<uint16_t>(static_cast<uint16_t>(chunk_size() - 1), to);
    to = StoreLittleEndian<uint32_t>(static_cast<uint32_t>(place_.chunk_count), to);
    to = StoreLittleEndian<uint64_t>(place_.first_chunk, to);
    StoreLittleEndian<uint64_t>(place_.round, to);
    to = bytes.data() + kHeaderBytes;
    if (map) to = std::copy(presence_.begin(), presence_.end(), to);
    to = std::copy(body_.begin(), body_.end(), to);
    for (uint32_t element : zeros_) to = StoreLittleEndian<uint32_t>(element, to);
    StorePayloadCrc(kCrcOffset, bytes);
    return update;
  }

  const UpdateFormat& format_;
  const PayloadPlace& place_;
  const std::span<const MergeInput> inputs_;
  const TileKernels& kernels_;
  TileMerger merger_;
  std::vector<std::byte> presence_;
  std::vector<std::byte> body_;
  std::vector<uint32_t> zeros_;
  uint64_t present_ = 0;
};

// Digit i of a byte of the ternary encoding, as a direction.
float TernaryDirection(std::byte byte, uint64_t digit) {
  static constexpr unsigned kPowers[] = {1, 3, 9, 27, 81};
  const unsigned value = std::to_integer<unsigned>(byte) / kPowers[digit] % 3;
  return value == 0 ? 0.0f : value == 1 ? 1.0f : -1.0f;
}

}  // namespace

uint64_t SmallestUpdateBytes(const UpdateFormat& format, uint64_t chunk_count) {
  const PayloadFormat& contribution = format.contribution;
  if (!format.sign) {
    return kHeaderBytes + chunk_count * (contribution.chunk_size / 8 + contribution.k * 4);
  }
  return kHeaderBytes +
         BytesForBits(chunk_count *
                      (HasKnownSigns(format) ? contribution.k : contribution.chunk_size));
}

std::string EncodeUpdate(const UpdateFormat& format, const PayloadPlace& place,
                         std::span<const MergeInput> inputs) {
  ISTHMUS_CHECK(IsChunkSize(format.contribution.chunk_size));
  return Encoder(format, place, inputs).Encode();
}

DirectionScratch::DirectionScratch(const UpdateFormat& format, const TileKernels& kernels)
    : merger_(format.merge, format.contribution.chunk_size, format.contribution.k, kernels),
      tile_(size_t{format.contribution.chunk_size} * kTileChunks),
      kernels_(kernels) {}

// --- reading -----------------------------------------------------------------------------------

uint64_t UpdateView::SignElements() const {
  return HasKnownSigns(format_) ? format_.contribution.k : format_.contribution.chunk_size;
}

absl::StatusOr<UpdateView> UpdateView::Parse(std::span<const std::byte> payload,
                                             const UpdateFormat& format,
                                             const PayloadPlace& place) {
  ISTHMUS_CHECK(IsChunkSize(format.contribution.chunk_size));
  UpdateView view;
  view.format_ = format;
  view.place_ = place;
  ISTHMUS_ASSIGN_OR_RETURN(view.encoding_, CheckHeader(payload, format, place));
  std::span<const std::byte> body = payload.subspan(kHeaderBytes);
  view.presence_ = PresenceMap(place.chunk_count);
  if ((std::to_integer<unsigned>(payload[4]) & 1) != 0) {
    const uint64_t presence_bytes = BytesForBits(place.chunk_count);
    if (body.size() < presence_bytes) {
      return absl::InvalidArgumentError(absl::StrCat(kName, " length: expected at least ",
                                                     kHeaderBytes + presence_bytes, " bytes, got ",
                                                     payload.size()));
    }
    ISTHMUS_ASSIGN_OR_RETURN(
        view.presence_, PresenceMap::Parse(kName, place.chunk_count, body.first(presence_bytes)));
    body = body.subspan(presence_bytes);
  }
  ISTHMUS_RETURN_IF_ERROR(view.ReadBody(body));
  return view;
}

absl::Status UpdateView::ReadBody(std::span<const std::byte> body) {
  body_ = body;
  const uint64_t elements = presence_.present_chunks() * SignElements();
  if (encoding_ == UpdateEncoding::kSigns) return ReadSigns(elements);
  if (encoding_ == UpdateEncoding::kTernary) return CheckDigits(elements);
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
  sign_tiles_ = HasSignTiles(format.contribution);
  contributors_.clear();
  parts_.clear();
  for (size_t i = 0; i < contributions.size(); ++i) {
    const size_t begin = parts_.size();
    if (static_cast<int>(i) != own) {
      for (std::span<const std::byte> bytes : contributions[i].parts) {
        ISTHMUS_ASSIGN_OR_RETURN(const PayloadPlace at, PayloadView::PeekPlace(bytes));
        ISTHMUS_ASSIGN_OR_RETURN(const PayloadView part,
                                 PayloadView::Parse(bytes, format.contribution,
                                                    {place.round, at.first_chunk, at.chunk_count}));
        parts_.push_back(part);
      }
      const auto parts = std::span(parts_).subspan(begin);
      std::sort(parts.begin(), parts.end(), [](const PayloadView& a, const PayloadView& b) {
        return std::pair(a.place().first_chunk, a.place().chunk_count) <
               std::pair(b.place().first_chunk, b.place().chunk_count);
      });
      ISTHMUS_RETURN_IF_ERROR(CheckCoverage(parts));
    }
    contributors_.push_back({contributions[i].weight, parts_.size()});
  }
  return absl::OkStatus();
}

// Sorted parts follow one another from the bucket's first chunk to its last.
absl::Status UpdateView::CheckCoverage(std::span<const PayloadView> parts) const {
  uint64_t next = place_.first_chunk;
  for (const PayloadView& part : parts) {
    ISTHMUS_RETURN_IF_ERROR(
        ExpectField(kName, "part's first chunk", next, part.place().first_chunk));
    next += part.place().chunk_count;
  }
  return ExpectField(kName, "end of parts", place_.first_chunk + place_.chunk_count, next);
}

bool UpdateView::IsZero(uint64_t element) const {
  uint64_t begin = 0, end = zeros_.size() / 4;
  while (begin < end) {
    const uint64_t middle = begin + (end - begin) / 2;
    const uint32_t zero = LoadLittleEndian<uint32_t>(zeros_.data() + 4 * middle);
    if (zero == element) return true;
    if (zero < element) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return false;
}

// `first`, the number of present chunks before, begins a run of present chunks.
void UpdateView::DecodeAllSigns(uint64_t first, std::span<float> out,
                                const TileKernels& kernels) const {
  const uint64_t size = format_.contribution.chunk_size;
  const auto* bits = reinterpret_cast<const uint8_t*>(body_.data()) + first * (size / 8);
  kernels.expand_signs(bits, out.data(), out.size());
  // The first zero at or after the run, then those within.
  uint64_t begin = 0, end = zeros_.size() / 4;
  while (begin < end) {
    const uint64_t middle = begin + (end - begin) / 2;
    if (LoadLittleEndian<uint32_t>(zeros_.data() + 4 * middle) < first * size) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  for (; begin < zeros_.size() / 4; ++begin) {
    const uint64_t at = LoadLittleEndian<uint32_t>(zeros_.data() + 4 * begin) - first * size;
    if (at >= out.size()) break;
    out[at] = 0.0f;
  }
}

void UpdateView::DecodeKnown(uint64_t chunk, std::span<float> out) const {
  const PayloadFormat& contribution = format_.contribution;
  std::ranges::fill(out, 0.0f);
  std::array<uint16_t, kMaxChunkSize> positions;
  KnownPositions(contribution, place_.round, place_.first_chunk + chunk, positions.data());
  uint64_t element = presence_.Before(chunk) * contribution.k;
  for (uint32_t i = 0; i < contribution.k; ++i, ++element) {
    if (encoding_ == UpdateEncoding::kTernary) {
      out[positions[i]] = TernaryDirection(body_[element / 5], element % 5);
    } else if (zeros_.empty() || !IsZero(element)) {
      out[positions[i]] = GetBit(body_, element) ? -1.0f : 1.0f;
    }
  }
}

// `first` counts from the update's first chunk; `out` is at most a tile.
void UpdateView::DecodeValues(uint64_t first, std::span<float> out,
                              DirectionScratch& scratch) const {
  const uint64_t size = format_.contribution.chunk_size;
  const int count = static_cast<int>(out.size() / size);
  std::ranges::fill(scratch.tile_, 0.0f);
  uint32_t present = 0;
  const std::byte* values = body_.data() + value_rank_.size() * (size / 8);
  for (int chunk = 0; chunk < count; ++chunk) {
    const uint64_t index = first + static_cast<uint64_t>(chunk);
    if (!presence_.Present(index)) continue;
    present |= 1u << chunk;
    const uint64_t rank = presence_.Before(index);
    const std::byte* bitmap = body_.data() + rank * (size / 8);
    const std::byte* value = values + value_rank_[rank] * sizeof(float);
    for (uint64_t i = 0; i < size; i += 8) {
      unsigned bits = std::to_integer<unsigned>(bitmap[i / 8]);
      for (; bits != 0; bits &= bits - 1, value += sizeof(float)) {
        const uint64_t at = i + static_cast<uint64_t>(std::countr_zero(bits));
        scratch.tile_[at * kTileChunks + static_cast<uint64_t>(chunk)] =
            FloatOf(LoadLittleEndian<uint32_t>(value));
      }
    }
  }
  TileDirection(format_, scratch.tile_.data(), count, present, scratch.kernels_, out);
}

void UpdateView::DecodeContributions(uint64_t first_chunk, std::span<float> out,
                                     const PayloadView* own, DirectionScratch& scratch) const {
  const int count = static_cast<int>(out.size() / format_.contribution.chunk_size);
  scratch.merger_.Begin(sign_tiles_);
  size_t part = 0;
  for (size_t i = 0; i < contributors_.size(); ++i) {
    const float weight = contributors_[i].weight;
    if (static_cast<int>(i) == own_) scratch.merger_.Add(*own, weight, first_chunk, count);
    scratch.ahead.Some();
    for (; part < contributors_[i].end; ++part) {
      scratch.merger_.Add(parts_[part], weight, first_chunk, count);
    }
  }
  const uint32_t present = scratch.merger_.Finish(contributors_.size());
  scratch.ahead.Some();
  TileDirection(format_, scratch.merger_.tile(), count, present, scratch.kernels_, out);
  scratch.ahead.Some();
}

void UpdateView::Direction(uint64_t first_chunk, std::span<float> out, const PayloadView* own,
                           DirectionScratch& scratch) const {
  const uint64_t size = format_.contribution.chunk_size;
  const uint64_t chunks = out.size() / size;
  ISTHMUS_CHECK(out.size() == chunks * size && first_chunk >= place_.first_chunk &&
                chunks <= place_.chunk_count &&
                first_chunk - place_.first_chunk <= place_.chunk_count - chunks);
  ISTHMUS_CHECK((own != nullptr) == needs_own());
  const uint64_t first = first_chunk - place_.first_chunk;
  if (encoding_ != UpdateEncoding::kContributions) scratch.ahead.Rest();  // little to compute
  if (encoding_ == UpdateEncoding::kSigns || encoding_ == UpdateEncoding::kTernary) {
    const bool known = HasKnownSigns(format_);
    if (!known && presence_.all()) return DecodeAllSigns(first, out, scratch.kernels_);
    for (uint64_t i = 0; i < chunks; ++i) {
      const std::span<float> chunk = out.subspan(i * size, size);
      if (!presence_.Present(first + i)) {
        std::ranges::fill(chunk, 0.0f);
      } else if (known) {
        DecodeKnown(first + i, chunk);
      } else {
        DecodeAllSigns(presence_.Before(first + i), chunk, scratch.kernels_);
      }
    }
    return;
  }
  for (uint64_t i = 0; i < chunks; i += kTileChunks) {
    const uint64_t count = std::min<uint64_t>(kTileChunks, chunks - i);
    const std::span<float> tile = out.subspan(i * size, count * size);
    if (encoding_ == UpdateEncoding::kValues) {
      DecodeValues(first + i, tile, scratch);
    } else {
      DecodeContributions(first_chunk + i, tile, own, scratch);
    }
  }
}

}  // namespace isthmus
