// One group's side on a momentum that lies in plain rows: what is added to it, what is taken out of
// it to be sent, and what comes back. Blocks of any size; plain loops. It is what tile_codec.h is
// held to, and what the schemes without a transform run on.
//
// Source: DeMo (arXiv:2411.19870v2), algorithm 1; FlexDeMo (arXiv:2502.06728); docs/protocol.md,
// P17 and P19. Since the transform is linear, keeping its result saves the inverse of every step
// and leaves exact zeros where something was sent.
#ifndef ISTHMUS_COMMON_COMPRESSION_DEMO_CODEC_H_
#define ISTHMUS_COMMON_COMPRESSION_DEMO_CODEC_H_

#include <cstdint>
#include <span>
#include <string>

#include "common/compression/block_transform.h"
#include "common/compression/payload.h"

namespace isthmus {

// All calls take whole blocks, are thread-safe for distinct data, and touch no block through
// another: a vector may be cut between blocks anywhere and gives the same bits.

// m <- decay m + scale DCT(g). `scale` is 1, or the learning rate in runs that keep it inside the
// momentum. `gradient` and `momentum` have the same length.
void AccumulateMomentum(const BlockTransform& transform, float decay, float scale,
                        std::span<const float> gradient, std::span<float> momentum);

// Takes out of `momentum` what `format` says of a round: the k largest of each block, those at the
// positions that the scheme knows, or all. Encodes it into `payload` and subtracts `alpha` times
// what the payload says; a value that the payload cannot say is left where it is. Returns what is
// to be added back, alpha times, if the contribution misses its round; nothing with a scale per
// block, where the payload says it all and alpha must be 1. `momentum` is the blocks of `place`.
Selection Extract(const PayloadFormat& format, const PayloadPlace& place, float alpha,
                  std::span<float> momentum, std::string* payload);

// m <- decay m + scale g, and then Extract() of it, in one pass over memory: of formats with block
// scales and without a transform, where alpha is 1. `writer` is kept from call to call; nothing is
// allocated where it and `payload` have been used for as much.
void AccumulateAndExtract(const PayloadFormat& format, const PayloadPlace& place, float decay,
                          float scale, std::span<const float> gradient, std::span<float> momentum,
                          PayloadWriter& writer, std::string* payload);

// Adds `alpha` times `taken` back. With alpha 1 and values of f32 or bf16 the momentum is what it
// was, bit for bit, if nothing came between. CHECKs the lengths.
void ReturnSelection(uint32_t block_size, float alpha, const Selection& taken,
                     std::span<float> momentum);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_DEMO_CODEC_H_
