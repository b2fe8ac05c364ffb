// The inner loops of the codec, once per instruction set. All sets compute the same bits
// (docs/protocol.md, P21): no operation crosses chunks, sums run in one order, nothing is fused.
// What they compute is written out, a plain loop each, in naive_kernels.h.
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
// Values that share a scale where all of a chunk are sent in few bits.
inline constexpr int kBlock = 64;

// 32-element words of one chunk's bit mask.
ISTHMUS_FORMULA constexpr int MaskWords(int chunk_size) { return (chunk_size + 31) / 32; }

// The rank of a subset of k of `size` elements, a number below binom(size, k):
//
//   up to 16 elements   how many such subsets, read as bit masks, are smaller numbers
//   up to 64 elements   parts of 16, the last what is left. Their counts c3 c2 c1 c0, read like
//                       digits, come in ascending order; subsets with the same counts in the order
//                       of the parts' ranks, which are digits too: rank = below(c3, c2, c1, c0) +
//                       ((r3 b2 + r2) b1 + r1) b0 + r0 with b = binom(a part's size, its count)
//   more                two halves, the lower one as long as the largest power of two below the
//                       size. Those with fewer elements in the upper half come first: rank =
//                       below(upper count) + upper rank * binom(lower half, lower count) + lower
//                       rank
//
// A few multiplications, and tables of which the usual rates use what fits a first-level cache; the
// usual sum of binomials takes a search per element.

// Exact quotients of r < 2^kRankBits by d without division: (r * reciprocal) >> (kRankBits +
// shift), reciprocal = ceil(2^(kRankBits + shift) / d), shift = ceil(log2 d). Source: Granlund and
// Montgomery, "Division by invariant integers using multiplication", 1994.
struct SubsetDivisor {
  uint64_t value;
  uint64_t reciprocal;
  uint64_t shift;
};
inline constexpr int kRankBits = 55;

// One way to spread a count over the four parts of a block.
struct SubsetType {
  // Of b1 b0: the quotient is the rank of the upper two parts, the rest that of the lower two.
  SubsetDivisor pair;
  // Of b0 and b2: ceil(2^kPartShift / b), for ranks of pairs are below 2^28.
  uint64_t part_reciprocals[2];
  uint16_t parts[2];  // b0 and b2
  uint16_t begin[4];  // where the count of each part begins in leaf_masks
};
inline constexpr int kPartShift = 42;

// All subsets of a block with one count.
struct SubsetBlock {
  const uint64_t* below;    // [types + 1], the last more than any rank
  const SubsetType* types;  // [types]
  const uint16_t* guesses;  // [kSubsetGuesses] by rank >> shift: the type, or an earlier one
  uint64_t shift;
};

// All subsets of two halves with `upper` elements in the upper one; ends with more than any rank.
struct SubsetSplit {
  uint64_t below;
  SubsetDivisor lower;  // binom(lower half, lower count)
};

inline constexpr int kSubsetLeaf = 16;
inline constexpr int kSubsetBlock = 64;
inline constexpr int kSubsetGuesses = 1024;

// What ranking looks up. Ranks are below 2^kRankBits.
struct SubsetTables {
  uint32_t size;    // of a chunk, 16 to 4096
  uint32_t k;       // at most half of it
  bool complement;  // the subset is what is not in the mask
  // [k + 1] by count, of min(size, 64) elements; only the last where a chunk is one block.
  const SubsetBlock* blocks;
  const SubsetSplit* splits;   // [log2(size / 64), k + 1, k + 2] by size, count and upper count
  const uint16_t* leaf_masks;  // [65536] by count, then ascending
  const uint16_t* leaf_ranks;  // [65536] by mask
  const uint16_t (
      *type_begin)[33][17];  // [3] by parts below, count in them and this one, count in this
};

// One group's one-bit values of a tile: `masks` and `negative` as those of `select` (negative only
// where the mask is set), and a magnitude per chunk. A chunk without values has an empty mask.
struct SignTile {
  const uint32_t* masks;
  const uint32_t* negative;
  const float* magnitudes;  // [kTileChunks]
};

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

  // Ranks of the k-subsets that masks are, and back. Each mask has exactly k bits set (or, where
  // the tables say complement, size - k), each rank is below binom(size, k).
  void (*rank)(const SubsetTables& tables, const uint32_t* masks, int chunks, uint64_t* ranks);
  void (*unrank)(const SubsetTables& tables, const uint64_t* ranks, int chunks, uint32_t* masks);

  // The bits of `bits` where a mask is set, side by side from bit 0 of packed[chunk], and back. At
  // most 64 per chunk are set.
  void (*pack_bits)(int chunk_size, const uint32_t* masks, const uint32_t* bits, int chunks,
                    uint64_t* packed);
  void (*spread_bits)(int chunk_size, const uint32_t* masks, const uint64_t* packed, int chunks,
                      uint32_t* bits);

  // sums[chunk]: of the magnitudes that a mask chooses, in ascending order; and which of these
  // elements are negative.
  void (*gather_signs)(int chunk_size, const float* tile, const uint32_t* masks, float* sums,
                       uint32_t* negative);

  // x <- x - amounts[chunk], with the sign of x, where a mask is set.
  void (*subtract_signs)(int chunk_size, const uint32_t* masks, const float* amounts, float* tile);

  // The mean over the groups, in their order, that sent an element; 0 where none did; never -0.
  // count > 0.
  void (*mean_signs)(int chunk_size, const SignTile* groups, int count, float* tile);

  // momentum <- decay * momentum + scale * gradient.
  void (*accumulate_flat)(float decay, float scale, const float* gradient, float* momentum,
                          size_t n);

  // parameters <- decay * parameters - lr * direction.
  void (*sgd)(float decay, float lr, const float* direction, float* parameters, size_t n);

  // progress <- weight * (given - now); false if some |progress| is above `most`, or no number.
  // `progress` may be `given`.
  bool (*progress)(float most, float weight, const float* given, const float* now, float* progress,
                   size_t n);
  // The same of what is held in bfloat16, which `given` is rounded to first (bfloat16.h).
  bool (*progress_bf16)(float most, float weight, const float* given, const uint16_t* now,
                        float* progress, size_t n);

  // sums <- sums / count, never -0. count > 0.
  void (*mean_sums)(float count, float* sums, size_t n);

  // 1, or -1 where bit i of `bits` (least significant first) is set. n is a multiple of 8.
  void (*expand_signs)(const uint8_t* bits, float* direction, size_t n);

  // Takes out of `count` blocks of kBlock elements, all finite, what 1, 2 or 4 bits of each and a
  // scale of each block say (P19). Writes the scales' codes, 1 to 255, and element i of block b at
  // bit i * bits of codes[b * bits]; or 0, and codes of zero, where there is nothing worth saying:
  // such a block stays. Goes over the blocks twice: they should fit the first-level cache.
  void (*take_blocks)(int bits, float* x, int count, uint8_t* scales, uint64_t* codes);
  // What that says of a block that it says something of.
  void (*say_block)(int bits, int scale_code, const uint64_t* codes, float* values);
  // sums <- sums + weight * what that says of them.
  void (*add_block)(int bits, int scale_code, const uint64_t* codes, float weight, float* sums);
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
