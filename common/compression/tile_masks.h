// Bit masks of a tile's chunks, [MaskWords, kTileChunks], chunk by chunk.
#ifndef ISTHMUS_COMMON_COMPRESSION_TILE_MASKS_H_
#define ISTHMUS_COMMON_COMPRESSION_TILE_MASKS_H_

#include <bit>
#include <cstdint>

#include "common/kernels/tile_kernels.h"

namespace isthmus {

inline void ClearChunk(int chunk_size, uint32_t chunk, uint32_t* masks) {
  for (int word = 0; word < MaskWords(chunk_size); ++word) {
    masks[static_cast<uint32_t>(word * kTileChunks) + chunk] = 0;
  }
}

// Calls visit(element) for each element that is set, ascending.
template <typename Visit>
void ForEachElement(int chunk_size, uint32_t chunk, const uint32_t* masks, const Visit& visit) {
  for (int word = 0; word < MaskWords(chunk_size); ++word) {
    uint32_t mask = masks[static_cast<uint32_t>(word * kTileChunks) + chunk];
    for (; mask != 0; mask &= mask - 1) {
      visit(static_cast<uint16_t>(32 * word + std::countr_zero(mask)));
    }
  }
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_TILE_MASKS_H_
