// The rank of a subset and back (tile_kernels.h, SubsetTables), and the bits that go with its
// elements. One chunk after the other, with next to no branch that depends on the data: processors
// overlap the chunks. A template of W as the others, because population counts and bit deposits are
// instructions in some sets only.
#ifndef ISTHMUS_COMMON_KERNELS_SUBSET_KERNELS_H_
#define ISTHMUS_COMMON_KERNELS_SUBSET_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

#include "common/kernels/lanes.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus {

template <int W>
class SubsetKernels {
 public:
  static void Rank(const SubsetTables& tables, const uint32_t* masks, int chunks, uint64_t* ranks) {
    Lanes<W>::template ForSize<RankBody>(static_cast<int>(tables.size), tables, masks, chunks,
                                         ranks);
  }
  static void Unrank(const SubsetTables& tables, const uint64_t* ranks, int chunks,
                     uint32_t* masks) {
    Lanes<W>::template ForSize<UnrankBody>(static_cast<int>(tables.size), tables, ranks, chunks,
                                           masks);
  }

  static void PackBits(int chunk_size, const uint32_t* masks, const uint32_t* bits, int chunks,
                       uint64_t* packed) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      uint64_t out = 0;
      int count = 0;
      for (int word = 0; word < MaskWords(chunk_size); word += 2) {
        const uint64_t mask = LoadPair(chunk_size, masks + word * kTileChunks + chunk);
        const uint64_t from = LoadPair(chunk_size, bits + word * kTileChunks + chunk);
        if (word != 0 && mask == 0) continue;
        out |= Extract(from, mask) << count;
        count += __builtin_popcountll(mask);
      }
      packed[chunk] = out;
    }
  }

  static void SpreadBits(int chunk_size, const uint32_t* masks, const uint64_t* packed, int chunks,
                         uint32_t* bits) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      uint64_t from = packed[chunk];
      for (int word = 0; word < MaskWords(chunk_size); word += 2) {
        const uint64_t mask = LoadPair(chunk_size, masks + word * kTileChunks + chunk);
        const uint64_t spread = Deposit(from, mask);
        uint32_t* to = bits + word * kTileChunks + chunk;
        to[0] = static_cast<uint32_t>(spread);
        if (chunk_size <= 32) break;
        to[kTileChunks] = static_cast<uint32_t>(spread >> 32);
        if (chunk_size <= 64) break;
        const int used = __builtin_popcountll(mask);
        from = used < 64 ? from >> used : 0;
      }
    }
  }

 private:
  static uint64_t LoadPair(int chunk_size, const uint32_t* words) {
    return words[0] | (chunk_size > 32 ? uint64_t{words[kTileChunks]} << 32 : 0);
  }

  // The bits of `from` where `mask` has ones, side by side; and back.
  static uint64_t Extract(uint64_t from, uint64_t mask) {
#if defined(__BMI2__)
    return __builtin_ia32_pext_di(from, mask);
#else
    uint64_t out = 0;
    for (int at = 0; mask != 0; mask &= mask - 1, ++at) {
      out |= uint64_t{(from & mask & (~mask + 1)) != 0} << at;
    }
    return out;
#endif
  }
  static uint64_t Deposit(uint64_t from, uint64_t mask) {
#if defined(__BMI2__)
    return __builtin_ia32_pdep_di(from, mask);
#else
    uint64_t out = 0;
    for (; mask != 0; mask &= mask - 1, from >>= 1) {
      out |= (from & 1) != 0 ? mask & (~mask + 1) : 0;
    }
    return out;
#endif
  }

  static const SubsetSplit* Splits(const SubsetTables& tables, int size, uint32_t k) {
    size_t level = 0;
    for (; size > 2 * kSubsetBlock; size /= 2) ++level;
    return tables.splits + (level * (tables.k + 1) + k) * (tables.k + 2);
  }
  static uint64_t Divide(uint64_t rank, const SubsetDivisor& by) {
    __extension__ using Wide = unsigned __int128;
    constexpr int kUp = 64 - kRankBits;
    return static_cast<uint64_t>(Wide{rank << kUp} * by.reciprocal >> 64) >> by.shift;
  }

  // All ones complements a mask.
  template <int N>
  static uint32_t Flip(const SubsetTables& tables) {
    return tables.complement ? (N == 16 ? 0xffffu : 0xffffffffu) : 0;
  }

  struct Ranked {
    uint64_t rank;
    uint32_t count;
  };
  template <int N>
  static Ranked RankOf(const SubsetTables& tables, const uint32_t* words, uint32_t flip) {
    if constexpr (N <= kSubsetBlock) {
      const uint32_t low = words[0] ^ flip;
      const uint32_t high = N < 64 ? 0 : words[kTileChunks] ^ flip;
      const uint32_t mask[4] = {low & 0xffff, low >> 16, high & 0xffff, high >> 16};
      uint64_t rank[4];
      uint32_t count[4];
      ISTHMUS_UNROLL
      for (int i = 0; i < 4; ++i) {
        rank[i] = tables.leaf_ranks[mask[i]];
        count[i] = static_cast<uint32_t>(__builtin_popcount(mask[i]));
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
      const Ranked lower = RankOf<kHalf>(tables, words, flip);
      const Ranked upper = RankOf<kHalf>(tables, words + kHalf / 32 * kTileChunks, flip);
      const uint32_t k = lower.count + upper.count;
      const SubsetSplit& split = Splits(tables, N, k)[upper.count];
      return {split.below + upper.rank * split.lower.value + lower.rank, k};
    }
  }

  template <int N>
  static void UnrankTo(const SubsetTables& tables, uint32_t k, uint64_t rank, uint32_t flip,
                       uint32_t* words) {
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
        words[kTileChunks] =
            (leaf[t.begin[2] + rank2] | uint32_t{leaf[t.begin[3] + rank3]} << 16) ^ flip;
      }
    } else {
      constexpr int kHalf = N / 2;
      const SubsetSplit* split = Splits(tables, N, k);
      uint32_t upper_count = 0;
      for (; split[1].below <= rank; ++split) ++upper_count;
      rank -= split->below;
      const uint64_t upper = Divide(rank, split->lower);
      UnrankTo<kHalf>(tables, k - upper_count, rank - upper * split->lower.value, flip, words);
      UnrankTo<kHalf>(tables, upper_count, upper, flip, words + kHalf / 32 * kTileChunks);
    }
  }

  template <int N>
  struct RankBody {
    static void Run(const SubsetTables& tables, const uint32_t* masks, int chunks,
                    uint64_t* ranks) {
      const uint32_t flip = Flip<N>(tables);
      for (int chunk = 0; chunk < chunks; ++chunk) {
        ranks[chunk] = RankOf<N>(tables, masks + chunk, flip).rank;
      }
    }
  };
  template <int N>
  struct UnrankBody {
    static void Run(const SubsetTables& tables, const uint64_t* ranks, int chunks,
                    uint32_t* masks) {
      const uint32_t flip = Flip<N>(tables);
      for (int chunk = 0; chunk < chunks; ++chunk) {
        UnrankTo<N>(tables, tables.k, ranks[chunk], flip, masks + chunk);
      }
    }
  };
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_SUBSET_KERNELS_H_
