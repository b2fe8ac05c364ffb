#include "common/compression/direction.h"

#include <algorithm>

namespace isthmus {
namespace {

// (-0 and NaN count as 0.)
inline float SignOf(float x) {
  return static_cast<float>(static_cast<int>(x > 0) - static_cast<int>(x < 0));
}

}  // namespace

bool HasKnownSigns(const UpdateFormat& format) {
  return format.sign && format.uniform && format.contribution.transform == Transform::kNone &&
         format.contribution.positions != Positions::kChosen &&
         format.contribution.k < format.contribution.chunk_size;
}

void TileDirection(const UpdateFormat& format, const float* tile, int count, uint32_t present,
                   const TileKernels& kernels, std::span<float> rows) {
  const uint32_t size = format.contribution.chunk_size;
  if (format.contribution.transform == Transform::kDct) {
    kernels.inverse_tile(static_cast<int>(size), tile, count, format.sign, rows.data());
    for (int chunk = 0; chunk < count; ++chunk) {
      if ((present >> chunk & 1) != 0) continue;
      std::fill_n(rows.data() + static_cast<size_t>(chunk) * size, size, 0.0f);
    }
    return;
  }
  for (int chunk = 0; chunk < count; ++chunk) {
    float* row = rows.data() + static_cast<size_t>(chunk) * size;
    const float* element = tile + chunk;
    for (uint32_t i = 0; i < size; ++i, element += kTileChunks) {
      row[i] = format.sign ? SignOf(*element) : *element;
    }
  }
}

void TileSigns(const UpdateFormat& format, const float* tile, const TileKernels& kernels,
               uint32_t* negative, uint32_t* zero) {
  const uint32_t size = format.contribution.chunk_size;
  if (format.contribution.transform == Transform::kDct) {
    return kernels.inverse_signs(static_cast<int>(size), tile, negative, zero);
  }
  const size_t words = static_cast<size_t>(MaskWords(static_cast<int>(size)));
  std::fill_n(negative, words * kTileChunks, 0);
  std::fill_n(zero, words * kTileChunks, 0);
  for (uint32_t i = 0; i < size; ++i) {
    for (uint32_t chunk = 0; chunk < kTileChunks; ++chunk) {
      const float x = tile[size_t{i} * kTileChunks + chunk];
      const size_t at = size_t{i / 32} * kTileChunks + chunk;
      negative[at] |= static_cast<uint32_t>(x < 0) << (i % 32);
      zero[at] |= static_cast<uint32_t>(!(x < 0) && !(x > 0)) << (i % 32);
    }
  }
}

}  // namespace isthmus
