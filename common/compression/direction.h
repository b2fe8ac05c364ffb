// From merged coefficients to the direction that they mean: the one definition of u, for whoever
// merges and for whoever decodes. By tiles; naively, chunk by chunk: ReferenceDirection of
// tests/common/compression/reference_merge.h.
#ifndef ISTHMUS_COMMON_COMPRESSION_DIRECTION_H_
#define ISTHMUS_COMMON_COMPRESSION_DIRECTION_H_

#include <cstdint>
#include <span>

#include "common/compression/update_payload.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus {

// True if an update in sign mode says only the signs of the elements that the scheme sends: the
// same for all groups.
bool HasKnownSigns(const UpdateFormat& format);

// Writes the direction of `count` chunks of a tile, [chunk_size, kTileChunks], to `rows`: the
// inverse transform, or its sign; 0 for chunks that are not among the bits of `present`.
void TileDirection(const UpdateFormat& format, const float* tile, int count, uint32_t present,
                   const TileKernels& kernels, std::span<float> rows);

// Which elements of the direction are negative and which zero, as TileKernels::inverse_signs.
void TileSigns(const UpdateFormat& format, const float* tile, const TileKernels& kernels,
               uint32_t* negative, uint32_t* zero);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_DIRECTION_H_
