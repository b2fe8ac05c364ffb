// The rank of a subset and back (tile_kernels.h, SubsetTables), and the bits that go with its
// elements. One chunk after the other, with next to no branch that depends on the data: processors
// overlap the chunks. A template of W as the others, because population counts and bit deposits are
// instructions in some sets only. Naively: naive_subset.h, and for the bits naive_signs.h.
#ifndef ISTHMUS_COMMON_KERNELS_SUBSET_KERNELS_H_
#define ISTHMUS_COMMON_KERNELS_SUBSET_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

#include "common/kernels/lanes.h"
#include "common/kernels/subset_formulas.h"
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
  using Formulas = SubsetFormulas<W, kTileChunks>;

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

  // All ones complements a mask.
  template <int N>
  static uint32_t Flip(const SubsetTables& tables) {
    return tables.complement ? (N == 16 ? 0xffffu : 0xffffffffu) : 0;
  }

  template <int N>
  struct RankBody {
    static void Run(const SubsetTables& tables, const uint32_t* masks, int chunks,
                    uint64_t* ranks) {
      const uint32_t flip = Flip<N>(tables);
      for (int chunk = 0; chunk < chunks; ++chunk) {
        ranks[chunk] = Formulas::template RankOf<N>(tables, masks + chunk, flip).rank;
      }
    }
  };
  template <int N>
  struct UnrankBody {
    static void Run(const SubsetTables& tables, const uint64_t* ranks, int chunks,
                    uint32_t* masks) {
      const uint32_t flip = Flip<N>(tables);
      for (int chunk = 0; chunk < chunks; ++chunk) {
        Formulas::template UnrankTo<N>(tables, tables.k, ranks[chunk], flip, masks + chunk);
      }
    }
  };
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_SUBSET_KERNELS_H_
