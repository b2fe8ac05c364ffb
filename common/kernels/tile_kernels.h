// The inner loops of the codec, once per instruction set. All sets compute the same bits
// (docs/protocol.md, P21): no operation crosses chunks, sums run in one order, nothing is fused.
//
// A tile is kTileChunks chunks side by side, element f of chunk c at [f * kTileChunks + c], so
// that one SIMD register holds the same element of several chunks. A tile that is not full has
// lanes that nobody looks at. "Rows" are chunks one after the other.
#ifndef ISTHMUS_COMMON_KERNELS_TILE_KERNELS_H_
#define ISTHMUS_COMMON_KERNELS_TILE_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

#include "common/kernels/formula.h"

namespace isthmus {

inline constexpr int kTileChunks = 16;

// 32-element words of one chunk's bit mask.
ISTHMUS_FORMULA constexpr int MaskWords(int chunk_size) { return (chunk_size + 31) / 32; }

// What unranking looks up. For i from 0 to k - 1: binom(c, i + 1) for c up to chunk_size, and, by a
// rank's leading bits, where to begin looking for the largest c whose binomial is at most the rank;
// steps[i] steps up from there are enough.
struct UnrankTables {
  uint32_t chunk_size;
  uint32_t k;
  const uint64_t* binomials;  // [k, chunk_size + 1]
  const uint16_t* guesses;    // [k, kGuessKeys]
  const int* steps;           // [k]
};

// Ranks are below 2^52; their key is the exponent and the leading mantissa bits of rank + 1 as a
// double.
inline constexpr int kGuessBits = 6;
inline constexpr int kGuessKeys = 53 << kGuessBits;

// `chunk_size` is a power of two from 16 to 4096 and `chunks` 1 to kTileChunks, everywhere.
// Pointers need no alignment; 64 bytes are fastest. Thread-safe; no allocation.
struct TileKernels {
  const char* name;  // "scalar", "sse2", "avx2", "avx512", "neon"

  // Orthonormal DCT-II (or its transpose) of `count` rows. `in` may be `out`.
  void (*forward_rows)(int chunk_size, const float* in, size_t count, float* out);
  void (*inverse_rows)(int chunk_size, const float* in, size_t count, float* out);

  // momentum <- decay * momentum + scale * DCT(gradient): `gradient` is rows, `momentum` a tile.
  void (*accumulate)(int chunk_size, const float* gradient, int chunks, float decay, float scale,
                     float* momentum);

  // Bit j of word w of chunk c, at masks[w * kTileChunks + c]: element 32 w + j is among the k
  // largest magnitudes of its chunk. Exactly k bits per chunk; of equal ones the lower element
  // wins. 0 < k < chunk_size; elements are finite.
  void (*select)(int chunk_size, int k, const float* tile, int chunks, uint32_t* masks);

  // Inverse DCT of a tile to rows; with `sign`, -1, 0 or 1 in place of each number.
  void (*inverse_tile)(int chunk_size, const float* tile, int chunks, bool sign, float* rows);

  // Which elements of the inverse DCT are negative, and which are zero (or no number): bit masks
  // laid out as those of `select`.
  void (*inverse_signs)(int chunk_size, const float* tile, uint32_t* negative, uint32_t* zero);

  // out[i] = sum / count where count > 1, sum elsewhere, of n pairs (sum, count); never -0. `most`
  // is an upper bound of the counts.
  void (*mean)(float most, const float* pairs, float* out, size_t n);

  // Enumerative coding backwards (common/compression/index_coding.h): ranks[lane] becomes the k
  // offsets indices[lane * k ...]. `ranks` is used up.
  void (*unrank)(const UnrankTables& tables, uint64_t* ranks, int lanes, uint16_t* indices);

  // momentum <- decay * momentum + scale * gradient.
  void (*accumulate_flat)(float decay, float scale, const float* gradient, float* momentum,
                          size_t n);

  // parameters <- decay * parameters - lr * direction.
  void (*sgd)(float decay, float lr, const float* direction, float* parameters, size_t n);

  // 1, or -1 where bit i of `bits` (least significant first) is set. n is a multiple of 8.
  void (*expand_signs)(const uint8_t* bits, float* direction, size_t n);
};

// One per source file that exists for this machine's architecture; whether the processor can run
// them is simd.h's to know.
extern const TileKernels kScalarKernels;
extern const TileKernels kVector128Kernels;  // SSE2 or NEON: the architecture's baseline
#if defined(__x86_64__)
extern const TileKernels kAvx2Kernels;
extern const TileKernels kAvx512Kernels;
#endif

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_TILE_KERNELS_H_
