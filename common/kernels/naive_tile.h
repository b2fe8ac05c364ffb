// How tiles and masks lie (tile_kernels.h), one element at a time. The naive versions of kernels
// know nothing of it: they are about one chunk, its elements in order.
#ifndef ISTHMUS_COMMON_KERNELS_NAIVE_TILE_H_
#define ISTHMUS_COMMON_KERNELS_NAIVE_TILE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/kernels/tile_kernels.h"

namespace isthmus::naive {

using Chunk = std::vector<float>;
using Elements = std::vector<bool>;  // of a chunk: those in a set

// Where element i of `chunk` is, in tiles one after the other.
constexpr size_t TilePlace(size_t chunk, size_t i, size_t chunk_size) {
  return chunk / kTileChunks * kTileChunks * chunk_size + i * kTileChunks + chunk % kTileChunks;
}

// Of the masks of one tile, the word that has the bit of element i: bit i % 32.
constexpr size_t MaskPlace(size_t chunk, size_t i) { return i / 32 * kTileChunks + chunk; }

inline Chunk ReadChunk(const float* tile, size_t chunk, size_t chunk_size) {
  Chunk x(chunk_size);
  for (size_t i = 0; i < chunk_size; ++i) x[i] = tile[TilePlace(chunk, i, chunk_size)];
  return x;
}

inline void WriteChunk(const Chunk& x, size_t chunk, float* tile) {
  for (size_t i = 0; i < x.size(); ++i) tile[TilePlace(chunk, i, x.size())] = x[i];
}

inline Elements ReadMask(const uint32_t* masks, size_t chunk, size_t chunk_size) {
  Elements set(chunk_size);
  for (size_t i = 0; i < chunk_size; ++i) {
    set[i] = (masks[MaskPlace(chunk, i)] >> (i % 32) & 1) != 0;
  }
  return set;
}

// Bits beyond the chunk become zero.
inline void WriteMask(const Elements& set, size_t chunk, uint32_t* masks) {
  for (size_t i = 0; i < set.size(); i += 32) masks[MaskPlace(chunk, i)] = 0;
  for (size_t i = 0; i < set.size(); ++i) {
    if (set[i]) masks[MaskPlace(chunk, i)] |= uint32_t{1} << (i % 32);
  }
}

}  // namespace isthmus::naive

#endif  // ISTHMUS_COMMON_KERNELS_NAIVE_TILE_H_
