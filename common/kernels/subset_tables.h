// The tables with which kernels rank the subsets of a tile (tile_kernels.h, SubsetTables), and what
// they are made of.
#ifndef ISTHMUS_COMMON_KERNELS_SUBSET_TABLES_H_
#define ISTHMUS_COMMON_KERNELS_SUBSET_TABLES_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/kernels/tile_kernels.h"
#include "common/kernels/wide_subset_formulas.h"

namespace isthmus {

// binom(n, k), if it fits.
std::optional<WideRank> Binomial(uint32_t n, uint32_t k);

inline constexpr uint32_t kSubsetParts = kSubsetBlock / kSubsetLeaf;

// Subsets of up to 16 elements as bit masks, in the order of their ranks; and how the counts of a
// block's parts are ordered. One for the whole program; thread-safe.
struct SubsetLeaves {
  static constexpr uint32_t kMaxCount = 32;  // of a block, in tables: at most half is coded

  static const SubsetLeaves& Get();
  SubsetLeaves();

  std::vector<uint16_t> masks;                  // as SubsetTables has them
  std::vector<uint16_t> ranks;                  //
  std::array<uint16_t, kSubsetLeaf + 1> begin;  // where a count begins in masks
  uint16_t type_begin[kSubsetParts - 1][kMaxCount + 1][kSubsetLeaf + 1];
};

// Elements in part `part` of a block of `block` <= 64.
inline uint32_t SubsetPartSize(uint32_t block, uint32_t part) {
  return std::min<uint32_t>(kSubsetLeaf, block - std::min(block, part * kSubsetLeaf));
}

// Calls visit(counts), lowest part first, for every way to spread `count` <= 64 over four parts, in
// the order of ranks, until it returns true.
template <typename Visit>
void ForEachSubsetType(uint32_t count, const Visit& visit) {
  for (uint32_t c3 = 0; c3 <= std::min<uint32_t>(count, kSubsetLeaf); ++c3) {
    for (uint32_t c2 = 0; c2 <= std::min<uint32_t>(count - c3, kSubsetLeaf); ++c2) {
      const uint32_t left = count - c3 - c2;
      for (uint32_t c1 = left - std::min<uint32_t>(left, kSubsetLeaf);
           c1 <= std::min<uint32_t>(left, kSubsetLeaf); ++c1) {
        if (visit(std::array<uint32_t, kSubsetParts>{left - c1, c1, c2, c3})) return;
      }
    }
  }
}

// The kernels' tables for the k-subsets of a power of two from 16 to 4096 elements, 0 <= k <= n /
// 2, k <= 32, at most 2^kRankBits of them.
class SubsetTableSet {
 public:
  SubsetTableSet(uint32_t n, uint32_t k, bool complement);
  SubsetTableSet(const SubsetTableSet&) = delete;
  SubsetTableSet& operator=(const SubsetTableSet&) = delete;
  const SubsetTables& tables() const { return tables_; }

 private:
  // The tables of one block, which SubsetBlock points into.
  struct Block {
    std::vector<uint64_t> below;
    std::vector<SubsetType> types;
    std::vector<uint16_t> guesses;
    uint64_t shift = 0;
  };
  void AddBlock(uint32_t size, uint32_t count);
  void AddSplits(uint32_t size, uint32_t count);

  const uint32_t k_;
  std::vector<Block> blocks_;          // [k + 1]
  std::vector<SubsetBlock> pointers_;  // [k + 1]
  std::vector<SubsetSplit> splits_;
  SubsetTables tables_ = {};
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_SUBSET_TABLES_H_
