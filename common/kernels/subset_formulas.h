// The rank of one subset and back (tile_kernels.h, SubsetTables): the same on CPUs and GPUs.
// Naively: naive_subset.h.
#ifndef ISTHMUS_COMMON_KERNELS_SUBSET_FORMULAS_H_
#define ISTHMUS_COMMON_KERNELS_SUBSET_FORMULAS_H_

#include <stddef.h>
#include <stdint.h>

#include "common/kernels/formula.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus {

// `Set` keeps functions compiled for one instruction set apart from others'; `Stride` is the
// distance between the 32-element words of one chunk's mask.
template <int Set, int Stride>
class SubsetFormulas {
 public:
  struct Ranked {
    uint64_t rank;
    uint32_t count;
  };

  // `flip`: all ones where the subset is what is not in the mask.
  template <int N>
  ISTHMUS_TEMPLATE_FORMULA static Ranked RankOf(const SubsetTables& tables, const uint32_t* words,
                                                uint32_t flip) {
    if constexpr (N <= kSubsetBlock) {
      const uint32_t low = words[0] ^ flip;
      const uint32_t high = N < 64 ? 0 : words[N < 64 ? 0 : Stride] ^ flip;
      const uint32_t mask[4] = {low & 0xffff, low >> 16, high & 0xffff, high >> 16};
      uint64_t rank[4];
      uint32_t count[4];
      for (int i = 0; i < 4; ++i) {
        rank[i] = tables.leaf_ranks[mask[i]];
        count[i] = CountOnes(mask[i]);
      }
      const uint32_t lower = count[0] + count[1], three = lower + count[2];
      const uint32_t type = uint32_t{tables.type_begin[0][lower][count[1]]} +
                            tables.type_begin[1][three][count[2]] +
                            tables.type_begin[2][three + count[3]][count[3]];
      const SubsetBlock& block = tables.blocks[three + count[3]];
      const SubsetType& t = block.types[type];
      return {block.below[type] + (rank[3] * t.parts[1] + rank[2]) * t.pair.value +
                  rank[1] * t.parts[0] + rank[0],
              three + count[3]};
    } else {
      constexpr int kHalf = N / 2;
      const Ranked lower = RankHalf<kHalf>(tables, words, flip);
      const Ranked upper = RankHalf<kHalf>(tables, words + kHalf / 32 * Stride, flip);
      const uint32_t k = lower.count + upper.count;
      const SubsetSplit& split = Splits(tables, N, k)[upper.count];
      return {split.below + upper.rank * split.lower.value + lower.rank, k};
    }
  }

  // Writes the words of a mask of N elements; k as the tables count it.
  template <int N>
  ISTHMUS_TEMPLATE_FORMULA static void UnrankTo(const SubsetTables& tables, uint32_t k,
                                                uint64_t rank, uint32_t flip, uint32_t* words) {
    if constexpr (N <= kSubsetBlock) {
      const SubsetBlock& block = tables.blocks[k];
      uint32_t type = block.guesses[rank >> block.shift];
      while (block.below[type + 1] <= rank) ++type;
      const SubsetType& t = block.types[type];
      rank -= block.below[type];
      const uint64_t upper = Divide(rank, t.pair);
      const uint64_t lower = rank - upper * t.pair.value;
      const uint64_t rank1 = lower * t.part_reciprocals[0] >> kPartShift;
      const uint64_t rank3 = upper * t.part_reciprocals[1] >> kPartShift;
      const uint64_t rank0 = lower - rank1 * t.parts[0];
      const uint64_t rank2 = upper - rank3 * t.parts[1];
      const uint16_t* leaf = tables.leaf_masks;
      words[0] = (leaf[t.begin[0] + rank0] | uint32_t{leaf[t.begin[1] + rank1]} << 16) ^ flip;
      if constexpr (N == 64) {
        words[Stride] =
            (leaf[t.begin[2] + rank2] | uint32_t{leaf[t.begin[3] + rank3]} << 16) ^ flip;
      }
    } else {
      constexpr int kHalf = N / 2;
      const SubsetSplit* split = Splits(tables, N, k);
      uint32_t upper_count = 0;
      for (; split[1].below <= rank; ++split) ++upper_count;
      rank -= split->below;
      const uint64_t upper = Divide(rank, split->lower);
      UnrankHalf<kHalf>(tables, k - upper_count, rank - upper * split->lower.value, flip, words);
      UnrankHalf<kHalf>(tables, upper_count, upper, flip, words + kHalf / 32 * Stride);
    }
  }

 private:
  // GPU compilers would write out all of a large chunk's blocks.
  template <int N>
  ISTHMUS_TEMPLATE_CALL static Ranked RankHalf(const SubsetTables& tables, const uint32_t* words,
                                               uint32_t flip) {
    return RankOf<N>(tables, words, flip);
  }
  template <int N>
  ISTHMUS_TEMPLATE_CALL static void UnrankHalf(const SubsetTables& tables, uint32_t k,
                                               uint64_t rank, uint32_t flip, uint32_t* words) {
    UnrankTo<N>(tables, k, rank, flip, words);
  }
  ISTHMUS_TEMPLATE_FORMULA static uint32_t CountOnes(uint32_t mask) {
#if defined(__CUDA_ARCH__)
    return static_cast<uint32_t>(__popc(mask));
#else
    return static_cast<uint32_t>(__builtin_popcount(mask));
#endif
  }
  ISTHMUS_TEMPLATE_FORMULA static uint64_t Divide(uint64_t rank, const SubsetDivisor& by) {
    constexpr int kUp = 64 - kRankBits;
#if defined(__CUDA_ARCH__)
    return __umul64hi(rank << kUp, by.reciprocal) >> by.shift;
#else
    __extension__ using Wide = unsigned __int128;
    return static_cast<uint64_t>(Wide{rank << kUp} * by.reciprocal >> 64) >> by.shift;
#endif
  }
  ISTHMUS_TEMPLATE_FORMULA static const SubsetSplit* Splits(const SubsetTables& tables, int size,
                                                            uint32_t k) {
    size_t level = 0;
    for (; size > 2 * kSubsetBlock; size /= 2) ++level;
    return tables.splits + (level * (tables.k + 1) + k) * (tables.k + 2);
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_SUBSET_FORMULAS_H_
