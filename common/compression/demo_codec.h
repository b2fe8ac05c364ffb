// One group's side of FlexDeMo on a vector of codec blocks: momentum in the frequency domain, what
// is taken out of it to be sent, and what comes back.
//
// Source: DeMo (arXiv:2411.19870v2), algorithm 1; FlexDeMo (arXiv:2502.06728); docs/protocol.md,
// P17 and P19. Since the transform is linear, keeping its result saves the inverse of every step
// and leaves exact zeros where something was sent.
#ifndef ISTHMUS_COMMON_COMPRESSION_DEMO_CODEC_H_
#define ISTHMUS_COMMON_COMPRESSION_DEMO_CODEC_H_

#include <cstdint>
#include <span>

#include "common/compression/block_transform.h"
#include "common/compression/payload.h"

namespace isthmus {

// All calls take whole blocks, are thread-safe for distinct data, and touch no block through
// another: a vector may be cut between blocks anywhere and gives the same bits.

// m <- decay m + scale DCT(g). `scale` is 1, or the learning rate in runs that keep it inside the
// momentum. `gradient` and `momentum` have the same length.
void AccumulateMomentum(const BlockTransform& transform, float decay, float scale,
                        std::span<const float> gradient, std::span<float> momentum);

// Takes the k largest coefficients of each block out of `momentum`, as `format` says them: the
// quantised value is subtracted, and a value that quantises to zero is left where it is, for it
// would not count as sent. Uses the format's chunk_size as block size; k is clamped to [1, block].
Selection ExtractTopK(const PayloadFormat& format, uint64_t first_block, std::span<float> momentum);

// Takes everything that `format` can say, without selecting: k = chunk_size.
Selection ExtractAll(const PayloadFormat& format, uint64_t first_block, std::span<float> momentum);

// Adds `taken` back. Restores the momentum bit for bit if nothing came between. CHECKs the lengths.
void ReturnSelection(uint32_t block_size, const Selection& taken, std::span<float> momentum);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_DEMO_CODEC_H_
