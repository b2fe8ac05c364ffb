// Seeded inputs for the kernels' tests, and how they compare outputs.
#ifndef ISTHMUS_TESTS_COMMON_KERNELS_KERNEL_DATA_H_
#define ISTHMUS_TESTS_COMMON_KERNELS_KERNEL_DATA_H_

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>
#include <vector>

#include "common/base/rng.h"
#include "common/kernels/naive_kernels.h"
#include "common/kernels/simd.h"
#include "common/kernels/tile_kernels.h"
#include "tests/common/kernels/repetitions.h"

namespace isthmus {

inline constexpr int kChunkSizes[] = {16, 32, 64, 128, 256, 512, 1024, 2048, 4096};

// Numbers of one character each: plain, of all magnitudes up to 1e30, ties, zeros of both signs,
// denormals, sparse, the largest that gradients may have (P18), below the smallest scale (P19).
inline constexpr uint64_t kCharacters = 8;
inline float AdversarialNumber(Rng& rng, uint64_t character) {
  const float sign = rng.Chance(0.5) ? 1.0f : -1.0f;
  switch (character) {
    case 0:
      return static_cast<float>(rng.Uniform() + rng.Uniform() - 1.0);
    case 1:
      return sign * static_cast<float>(
                        std::ldexp(1.0 + rng.Uniform(), static_cast<int>(rng.Below(248)) - 149));
    case 2:
      return sign * 0.5f * static_cast<float>(rng.Below(3));
    case 3:
      return sign * 0.0f;
    case 4:
      return std::bit_cast<float>(static_cast<uint32_t>(rng() & 0x807fffff));
    case 5:
      return rng.Chance(0.05) ? sign * static_cast<float>(rng.Uniform()) : 0.0f;
    case 6:
      return sign * 1e30f;
    default:
      return sign * static_cast<float>(rng.Uniform() * 0x1p-44);
  }
}

// The ends of what floats can say, and what lies beside them. Transforms of these overflow.
inline float ExtremeNumber(Rng& rng) {
  using Limits = std::numeric_limits<float>;
  const float magnitudes[] = {0.0f,
                              Limits::denorm_min(),
                              2 * Limits::denorm_min(),
                              std::nextafter(Limits::min(), 0.0f),
                              Limits::min(),
                              std::nextafter(Limits::max(), 0.0f),
                              Limits::max()};
  return (rng.Chance(0.5) ? 1.0f : -1.0f) * magnitudes[rng.Below(std::size(magnitudes))];
}

// Whole chunks, each of one character, or of one number.
inline std::vector<float> AdversarialRows(Rng& rng, int chunk_size, size_t chunks) {
  std::vector<float> rows;
  rows.reserve(static_cast<size_t>(chunk_size) * chunks);
  for (size_t chunk = 0; chunk < chunks; ++chunk) {
    const uint64_t character = rng.Below(kCharacters + 1);
    const float all = AdversarialNumber(rng, rng.Below(kCharacters));
    for (int i = 0; i < chunk_size; ++i) {
      rows.push_back(character == kCharacters ? all : AdversarialNumber(rng, character));
    }
  }
  return rows;
}

// A tile of them; all lanes hold something.
inline std::vector<float> AdversarialTile(Rng& rng, int chunk_size) {
  const std::vector<float> rows = AdversarialRows(rng, chunk_size, kTileChunks);
  std::vector<float> tile(rows.size());
  for (size_t chunk = 0; chunk < kTileChunks; ++chunk) {
    naive::WriteChunk(naive::ReadRow(rows.data(), chunk, static_cast<size_t>(chunk_size)), chunk,
                      tile.data());
  }
  return tile;
}

// "Lanes that nobody looks at" may hold anything: the lanes from `chunks` on become no numbers.
inline std::vector<float> WithEmptyLanes(Rng& rng, std::vector<float> tile, int chunks) {
  for (size_t i = 0; i < tile.size(); ++i) {
    if (static_cast<int>(i % kTileChunks) < chunks) continue;
    tile[i] = std::bit_cast<float>(static_cast<uint32_t>(rng() | 0x7f800000u));
  }
  return tile;
}

inline std::vector<uint32_t> Bits(std::span<const float> x) {
  std::vector<uint32_t> bits;
  bits.reserve(x.size());
  for (float value : x) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

// Calls check(kernels) for every set. For what is compared with much of the naive set's work: once
// for all.
template <typename Check>
void ForEachSet(const Check& check) {
  for (const TileKernels* kernels : AvailableKernels()) {
    SCOPED_TRACE(kernels->name);
    ASSERT_NO_FATAL_FAILURE(check(*kernels));
  }
}

// The words that the masks of a tile take.
inline size_t TileWords(int chunk_size) {
  return static_cast<size_t>(MaskWords(chunk_size)) * kTileChunks;
}

// The first `chunks` lanes of something laid out like a tile.
template <typename T>
std::vector<T> Lanes(const std::vector<T>& tile, int chunks) {
  std::vector<T> lanes;
  for (size_t i = 0; i < tile.size(); ++i) {
    if (static_cast<int>(i % kTileChunks) < chunks) lanes.push_back(tile[i]);
  }
  return lanes;
}

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_COMMON_KERNELS_KERNEL_DATA_H_
