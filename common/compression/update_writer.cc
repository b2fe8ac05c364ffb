#include <algorithm>
#include <bit>

#include "common/base/check.h"
#include "common/compression/bit_stream.h"
#include "common/compression/dct.h"
#include "common/compression/direction.h"
#include "common/compression/payload_check.h"
#include "common/compression/update_layout.h"
#include "common/compression/update_payload.h"
#include "common/kernels/simd.h"
#include "common/kernels/value_codes.h"

namespace isthmus {
namespace {

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
    presence_.assign(BytesForBits(place_.chunks.count), std::byte{0});
    if (format_.requantized) return EncodeRequantized();
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
    for (uint64_t at = 0; at < place_.chunks.count; at += kTileChunks) {
      const int count = static_cast<int>(std::min<uint64_t>(kTileChunks, place_.chunks.count - at));
      const uint32_t present = merger_.Merge(place_.chunks.first + at, count, inputs_);
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

  // A contribution's payload (payload.h), as if one group had sent the mean.
  std::string EncodeRequantized() {
    std::string payload;
    PayloadWriter writer;
    writer.Begin(RequantizedFormat(format_), place_, &payload);
    std::vector<float> row(chunk_size());
    ForEachTile([&](uint64_t, int count, uint32_t) {
      for (int chunk = 0; chunk < count; ++chunk) {
        const float* element = merger_.tile() + chunk;
        for (float& x : row) {
          x = *element;
          element += kTileChunks;
        }
        writer.segment(0).TakeBlocks(kernels_, 1, row.data());
      }
    });
    writer.Finish();
    present_ = place_.chunks.count;  // the payload says which are not
    Append(payload.data(), payload.size());
    return Finish(UpdateEncoding::kRequantized);
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
                       place_.chunks.first + at + static_cast<uint64_t>(chunk), positions.data());
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
    for (size_t i = 0; i < digits.size(); ++i) {
      std::byte& byte = ternary ? body_[i / 5] : body_[i / 8];
      const unsigned add =
          ternary ? digits[i] * kPowersOfThree[i % 5] : (digits[i] == 2 ? 1u : 0u) << (i % 8);
      byte = static_cast<std::byte>(std::to_integer<unsigned>(byte) + add);
    }
    if (ternary) zeros_.clear();
    return Finish(ternary ? UpdateEncoding::kTernary : UpdateEncoding::kSigns);
  }

  std::string Finish(UpdateEncoding encoding) {
    const bool map = present_ < place_.chunks.count;
    std::string update(
        kUpdateHeaderBytes + (map ? presence_.size() : 0) + body_.size() + 4 * zeros_.size(), '\0');
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(update));
    std::byte* to = bytes.data();
    to = StoreLittleEndian<uint16_t>(kUpdateMagic, to);
    to = StoreLittleEndian<uint8_t>(kUpdateVersion, to);
    to = StoreLittleEndian<uint8_t>(static_cast<uint8_t>(encoding), to);
    to = StoreLittleEndian<uint8_t>(UpdateFlags(format_, map), to);
    to = StoreLittleEndian<uint8_t>(0, to);
    to = StoreLittleEndian<uint16_t>(static_cast<uint16_t>(chunk_size() - 1), to);
    to = StoreLittleEndian<uint32_t>(static_cast<uint32_t>(place_.chunks.count), to);
    to = StoreLittleEndian<uint64_t>(place_.chunks.first, to);
    StoreLittleEndian<uint64_t>(place_.round, to);
    to = bytes.data() + kUpdateHeaderBytes;
    if (map) to = std::copy(presence_.begin(), presence_.end(), to);
    to = std::copy(body_.begin(), body_.end(), to);
    for (uint32_t element : zeros_) to = StoreLittleEndian<uint32_t>(element, to);
    StorePayloadCrc(kUpdateCrcOffset, bytes);
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

}  // namespace

uint64_t SmallestUpdateBytes(const UpdateFormat& format, uint64_t chunk_count) {
  const PayloadFormat& contribution = format.contribution;
  if (format.requantized) {
    return kUpdateHeaderBytes + PayloadBytes(RequantizedFormat(format), chunk_count);
  }
  if (!format.sign) {
    return kUpdateHeaderBytes + chunk_count * (contribution.chunk_size / 8 + contribution.k * 4);
  }
  return kUpdateHeaderBytes +
         BytesForBits(chunk_count *
                      (HasKnownSigns(format) ? contribution.k : contribution.chunk_size));
}

std::string EncodeUpdate(const UpdateFormat& format, const PayloadPlace& place,
                         std::span<const MergeInput> inputs) {
  ISTHMUS_CHECK(IsChunkSize(format.contribution.chunk_size));
  return Encoder(format, place, inputs).Encode();
}

}  // namespace isthmus
