#include <algorithm>
#include <array>
#include <bit>

#include "common/base/check.h"
#include "common/compression/bit_stream.h"
#include "common/compression/dct.h"
#include "common/compression/direction.h"
#include "common/compression/update_layout.h"
#include "common/compression/update_payload.h"
#include "common/kernels/value_codes.h"

namespace isthmus {
namespace {

// Digit i of a byte of the ternary encoding, as a direction.
float TernaryDirection(std::byte byte, uint64_t digit) {
  const unsigned value = std::to_integer<unsigned>(byte) / kPowersOfThree[digit] % 3;
  return value == 0 ? 0.0f : value == 1 ? 1.0f : -1.0f;
}

}  // namespace

DirectionScratch::DirectionScratch(const UpdateFormat& format, const TileKernels& kernels)
    : merger_(format.merge, format.contribution.chunk_size, format.contribution.k, kernels),
      tile_(size_t{format.contribution.chunk_size} * kTileChunks),
      kernels_(kernels) {}

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
  KnownPositions(contribution, place_.round, place_.chunks.first + chunk, positions.data());
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

// What TileMerger and TileDirection do, without a tile: where all is sent and nothing transformed,
// rows are all there is.
void UpdateView::DecodeRows(uint64_t first_chunk, std::span<float> out, const PayloadView* own,
                            DirectionScratch& scratch) const {
  const uint64_t size = format_.contribution.chunk_size;
  const uint64_t end = first_chunk + out.size() / size;
  std::ranges::fill(out, 0.0f);
  const auto add = [&](const PayloadView& part, float weight) {
    const uint64_t from = std::max(first_chunk, part.place().chunks.first);
    const uint64_t to = std::min(end, part.place().chunks.first + part.place().chunks.count);
    if (from >= to) return;
    if (part.format().block_scales) {
      return part.AddBlocks(from, static_cast<int>(to - from), weight, scratch.kernels_,
                            out.data() + (from - first_chunk) * size);
    }
    uint8_t chunks[kTileChunks];
    float* const values = scratch.tile_.data();
    const int present = part.Decode(from, static_cast<int>(to - from), chunks, nullptr, values);
    for (int i = 0; i < present; ++i) {
      const float* const said = values + static_cast<size_t>(i) * size;
      float* const row = out.data() + (from - first_chunk + chunks[i]) * size;
      for (uint64_t j = 0; j < size; ++j) row[j] += weight * said[j];
    }
  };
  size_t part = 0;
  for (size_t i = 0; i < contributors_.size(); ++i) {
    const float weight = contributors_[i].weight;
    if (static_cast<int>(i) == own_) add(*own, weight);
    scratch.ahead.Some();
    for (; part < contributors_[i].end; ++part) add(parts_[part], weight);
  }
  const bool mean = format_.merge == MergeRule::kMean && contributors_.size() > 1;
  const float most = mean ? static_cast<float>(contributors_.size()) : 1.0f;
  scratch.kernels_.mean_sums(most, out.data(), out.size());
}

void UpdateView::DecodeContributions(uint64_t first_chunk, std::span<float> out,
                                     const PayloadView* own, DirectionScratch& scratch) const {
  if (rows_) return DecodeRows(first_chunk, out, own, scratch);
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
  ISTHMUS_CHECK(out.size() == chunks * size && first_chunk >= place_.chunks.first &&
                chunks <= place_.chunks.count &&
                first_chunk - place_.chunks.first <= place_.chunks.count - chunks);
  ISTHMUS_CHECK((own != nullptr) == needs_own());
  const uint64_t first = first_chunk - place_.chunks.first;
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
