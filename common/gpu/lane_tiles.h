// How a GPU keeps momentum: in tiles of as many chunks as a block has (ChunkShape), four elements
// of a chunk side by side, then the same four of the next chunk: threads of a warp, a chunk each,
// read 512 bytes in a row. The last tile is filled up with chunks that nobody looks at.
#ifndef ISTHMUS_COMMON_GPU_LANE_TILES_H_
#define ISTHMUS_COMMON_GPU_LANE_TILES_H_

#include <cstdint>

namespace isthmus {

// Chunks of a tile.
constexpr uint64_t LaneTileChunks(uint64_t chunk_size) {
  return chunk_size <= 256 ? 32 : 8192 / chunk_size;
}

// Floats that `chunks` chunks take.
constexpr uint64_t LaneTiledLength(uint64_t chunks, uint64_t chunk_size) {
  const uint64_t tile = LaneTileChunks(chunk_size);
  return (chunks + tile - 1) / tile * tile * chunk_size;
}

// Where element `i` of `chunk` is.
constexpr uint64_t LaneTilePlace(uint64_t chunk, uint64_t i, uint64_t chunk_size) {
  const uint64_t tile = LaneTileChunks(chunk_size);
  return chunk / tile * tile * chunk_size + (i / 4 * tile + chunk % tile) * 4 + i % 4;
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_LANE_TILES_H_
