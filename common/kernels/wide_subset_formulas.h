// Ranks of subsets that the tables of subset_formulas.h have no room for, up to 128 bits, by
// binomials: those of common/compression/subset_ranks.h, from masks. For GPUs, where a chunk of one
// rate is as good as one of another; CPUs go element by element. Naively: naive_subset.h.
#ifndef ISTHMUS_COMMON_KERNELS_WIDE_SUBSET_FORMULAS_H_
#define ISTHMUS_COMMON_KERNELS_WIDE_SUBSET_FORMULAS_H_

#include <stddef.h>
#include <stdint.h>

#include "common/kernels/formula.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus {

__extension__ using WideRank = unsigned __int128;

// Of chunks of a power of two from 16 to 4096 elements.
struct WideSubsetTables {
  uint32_t k;       // at most half of the elements
  bool complement;  // the subset is what is not in the mask
  // [WideSubsetRow(chunk_size), k + 1]: binom(size, count), 0 where count > size.
  const WideRank* binomials;
  const uint16_t* leaf_masks;  // as SubsetTables has them
  const uint16_t* leaf_ranks;
  const uint16_t* leaf_begin;  // [kSubsetLeaf + 1]: where a count begins in leaf_masks
};

// Which row of the binomials a size has: 16, 32, 48, 64, then on by doubling.
ISTHMUS_FORMULA uint32_t WideSubsetRow(uint32_t size) {
  if (size <= kSubsetBlock) return size / kSubsetLeaf - 1;
  uint32_t row = kSubsetBlock / kSubsetLeaf;
  for (; size > 2 * kSubsetBlock; size /= 2) ++row;
  return row;
}

// `Stride` is the distance between the 32-element words of one chunk's mask.
template <int Stride>
class WideSubsetFormulas {
 public:
  struct Ranked {
    WideRank rank;
    uint32_t count;
  };

  // `flip`: all ones where the subset is what is not in the mask.
  template <int N>
  ISTHMUS_TEMPLATE_CALL static Ranked RankOf(const WideSubsetTables& tables, const uint32_t* words,
                                             uint32_t flip) {
    if constexpr (N <= kSubsetBlock) {
      return RankInBlock<N>(tables, words, flip);
    } else {
      constexpr int kHalf = N / 2;
      const Ranked lower = RankOf<kHalf>(tables, words, flip);
      const Ranked upper = RankOf<kHalf>(tables, words + kHalf / 32 * Stride, flip);
      const uint32_t k = lower.count + upper.count;
      WideRank rank = upper.rank * Subsets(tables, kHalf, lower.count) + lower.rank;
      for (uint32_t i = 0; i < upper.count; ++i) {
        rank += Subsets(tables, kHalf, i) * Subsets(tables, kHalf, k - i);
      }
      return {rank, k};
    }
  }

  // Writes the words of a mask of N elements; `rank` is below binom(N, k).
  template <int N>
  ISTHMUS_TEMPLATE_CALL static void UnrankTo(const WideSubsetTables& tables, uint32_t k,
                                             WideRank rank, uint32_t flip, uint32_t* words) {
    if constexpr (N <= kSubsetBlock) {
      UnrankInBlock<N>(tables, k, rank, flip, words);
    } else {
      constexpr int kHalf = N / 2;
      uint32_t upper = 0;
      for (;; ++upper) {
        const WideRank here = Subsets(tables, kHalf, upper) * Subsets(tables, kHalf, k - upper);
        if (rank < here) break;
        rank -= here;
      }
      const WideRank subsets = Subsets(tables, kHalf, k - upper);
      UnrankTo<kHalf>(tables, k - upper, rank % subsets, flip, words);
      UnrankTo<kHalf>(tables, upper, rank / subsets, flip, words + kHalf / 32 * Stride);
    }
  }

 private:
  ISTHMUS_TEMPLATE_FORMULA static WideRank Subsets(const WideSubsetTables& tables, uint32_t size,
                                                   uint32_t count) {
    if (size == 0 || count > size) return count == 0 ? 1 : 0;
    return tables.binomials[WideSubsetRow(size) * (tables.k + 1) + count];
  }
  // The 16 elements of part `i` of a block.
  ISTHMUS_TEMPLATE_FORMULA static uint32_t Leaf(const uint32_t* words, uint32_t flip, uint32_t i) {
    return (words[i / 2 * Stride] ^ flip) >> (i % 2 * 16) & 0xffff;
  }
  ISTHMUS_TEMPLATE_FORMULA static uint32_t CountOnes(uint32_t mask) {
    uint32_t count = 0;
    for (; mask != 0; mask &= mask - 1) ++count;
    return count;
  }

  // Types of counts before this one: those with as many elements in the parts above and fewer in
  // part i, for every i.
  template <int N>
  ISTHMUS_TEMPLATE_CALL static Ranked RankInBlock(const WideSubsetTables& tables,
                                                  const uint32_t* words, uint32_t flip) {
    constexpr uint32_t kParts = N / kSubsetLeaf;
    uint32_t k = 0;
    for (uint32_t i = 0; i < kParts; ++i) k += CountOnes(Leaf(words, flip, i));
    WideRank below = 0, rank = 0;
    WideRank above = 1;  // subsets of the parts above with their counts
    uint32_t left = k;
    for (uint32_t i = kParts; i-- > 0;) {
      const uint32_t mask = Leaf(words, flip, i);
      const uint32_t count = CountOnes(mask);
      for (uint32_t fewer = 0; fewer < count; ++fewer) {
        below += above * Subsets(tables, kSubsetLeaf, fewer) *
                 Subsets(tables, i * kSubsetLeaf, left - fewer);
      }
      const WideRank subsets = Subsets(tables, kSubsetLeaf, count);
      above *= subsets;
      left -= count;
      rank = rank * subsets + tables.leaf_ranks[mask];
    }
    return {below + rank, k};
  }

  template <int N>
  ISTHMUS_TEMPLATE_CALL static void UnrankInBlock(const WideSubsetTables& tables, uint32_t k,
                                                  WideRank rank, uint32_t flip, uint32_t* words) {
    constexpr uint32_t kParts = N / kSubsetLeaf;
    uint32_t counts[kParts];
    WideRank above = 1;
    uint32_t left = k;
    for (uint32_t i = kParts; i-- > 0;) {
      for (counts[i] = 0;; ++counts[i]) {
        const WideRank with = above * Subsets(tables, kSubsetLeaf, counts[i]);
        const WideRank here = with * Subsets(tables, i * kSubsetLeaf, left - counts[i]);
        if (rank < here) {
          above = with;
          break;
        }
        rank -= here;
      }
      left -= counts[i];
    }
    for (uint32_t i = 0; i < kParts; ++i) {
      const WideRank subsets = Subsets(tables, kSubsetLeaf, counts[i]);
      const uint32_t mask =
          tables.leaf_masks[tables.leaf_begin[counts[i]] + static_cast<uint32_t>(rank % subsets)];
      rank /= subsets;
      uint32_t& word = words[i / 2 * Stride];
      const uint32_t ones = (mask ^ (flip & 0xffff)) << (i % 2 * 16);
      word = i % 2 == 0 ? ones : word | ones;
    }
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_WIDE_SUBSET_FORMULAS_H_
