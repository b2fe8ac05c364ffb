// Ranks of k-subsets as tile_kernels.h defines them, of any size and up to 128 bits, one at a time:
// what the kernels compute with tables (common/kernels/subset_tables.h), with binomials made once.
// Naively: common/kernels/naive_subset.h (index_coding_test.cc compares all three).
#ifndef ISTHMUS_COMMON_COMPRESSION_SUBSET_RANKS_H_
#define ISTHMUS_COMMON_COMPRESSION_SUBSET_RANKS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "common/kernels/subset_tables.h"

namespace isthmus {

// The k-subsets of n elements, 0 <= k <= n / 2, 16-bit offsets, fewer than 2^128 of them.
// Immutable; thread-safe.
class SubsetRanks {
 public:
  SubsetRanks(uint32_t n, uint32_t k, WideRank subsets);

  WideRank subsets() const { return subsets_; }

  // `indices` ascend.
  WideRank Rank(std::span<const uint16_t> indices) const;
  // `rank` < subsets(). Writes [k].
  void Unrank(WideRank rank, uint16_t* indices) const;

 private:
  // Of elements [begin, begin + size) of the chunk.
  WideRank RankWithin(std::span<const uint16_t> indices, uint32_t begin, uint32_t size) const;
  void UnrankWithin(WideRank rank, uint32_t count, uint32_t begin, uint32_t size,
                    uint16_t* indices) const;
  WideRank RankInBlock(std::span<const uint16_t> indices, uint32_t begin, uint32_t size) const;
  void UnrankInBlock(WideRank rank, uint32_t count, uint32_t begin, uint32_t size,
                     uint16_t* indices) const;
  WideRank Subsets(uint32_t size, uint32_t count) const;

  const uint32_t n_;
  const uint32_t k_;
  const WideRank subsets_;
  std::vector<uint32_t> sizes_;      // that halving comes by, descending
  std::vector<WideRank> binomials_;  // [sizes, k + 1]
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_SUBSET_RANKS_H_
