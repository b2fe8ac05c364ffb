// Every available set of kernels against the naive one: ranks of subsets; and that one against the
// order of tile_kernels.h, subset by subset.
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "common/kernels/subset_tables.h"
#include "tests/common/kernels/kernel_data.h"

namespace isthmus {
namespace {

// Both ways, of one tile.
void ExpectNaiveOnes(const SubsetTables& tables, const std::vector<uint64_t>& ranks) {
  const int chunks = static_cast<int>(ranks.size());
  std::vector<uint32_t> expected(TileWords(static_cast<int>(tables.size)));
  naive::kKernels.unrank(tables, ranks.data(), chunks, expected.data());
  std::vector<uint64_t> again(ranks.size());
  naive::kKernels.rank(tables, expected.data(), chunks, again.data());
  ASSERT_EQ(again, ranks) << tables.size << "/" << tables.k;
  ForEachSet([&](const TileKernels& kernels) {
    std::vector<uint32_t> masks(expected.size(), 77);
    kernels.unrank(tables, ranks.data(), chunks, masks.data());
    ASSERT_EQ(Lanes(masks, chunks), Lanes(expected, chunks)) << tables.size << "/" << tables.k;
    std::fill(again.begin(), again.end(), ~uint64_t{0});
    kernels.rank(tables, expected.data(), chunks, again.data());
    ASSERT_EQ(again, ranks) << tables.size << "/" << tables.k;
  });
}

TEST(SubsetKernelsTest, P19_RanksAndSubsetsAreTheNaiveOnes) {
  Rng rng(19);
  for (auto [size, k] : {std::pair{16u, 0u},
                         {16u, 1u},
                         {16u, 8u},
                         {32u, 1u},
                         {32u, 4u},
                         {32u, 16u},
                         {64u, 1u},
                         {64u, 4u},
                         {64u, 8u},
                         {64u, 16u},
                         {64u, 20u},
                         {128u, 2u},
                         {128u, 8u},
                         {128u, 12u},
                         {256u, 9u},
                         {512u, 7u},
                         {1024u, 6u},
                         {2048u, 5u},
                         {4096u, 5u}}) {
    const auto subsets = static_cast<uint64_t>(*Binomial(size, k));
    ASSERT_LT(subsets, uint64_t{1} << kRankBits);
    for (bool complement : {false, true}) {
      const SubsetTableSet tables(size, k, complement);
      for (int trial = 0; trial < Repetitions(16); ++trial) {
        std::vector<uint64_t> ranks(1 + rng.Below(kTileChunks));
        for (uint64_t& rank : ranks) rank = rng.Below(subsets);
        if (trial == 0) ranks.insert(ranks.begin(), {0, subsets - 1});
        ranks.resize(std::min<size_t>(ranks.size(), kTileChunks));
        ASSERT_NO_FATAL_FAILURE(ExpectNaiveOnes(tables.tables(), ranks));
      }
    }
  }
}

// Where a quotient or a guess would be wrong first: the first and last rank of every type, and
// those beside a multiple of the divisor.
TEST(SubsetKernelsTest, P19_RanksAtTheEdgesOfTypesAreTheNaiveOnes) {
  for (auto [size, k] : {std::pair{32u, 16u}, {64u, 8u}, {64u, 20u}}) {
    const SubsetTableSet tables(size, k, false);
    const auto subsets = static_cast<uint64_t>(*Binomial(size, k));
    const SubsetBlock& block = tables.tables().blocks[k];
    std::vector<uint64_t> edges;
    for (size_t type = 0; block.below[type] < subsets; ++type) {
      const uint64_t pair = block.types[type].pair.value;
      for (uint64_t at = block.below[type], steps = 0; at <= block.below[type + 1] && steps < 3;
           at += pair, ++steps) {
        for (uint64_t rank : {at - 1, at, at + 1}) edges.push_back(rank);
      }
      edges.push_back(block.below[type + 1] - 1);
    }
    std::erase_if(edges, [&](uint64_t rank) { return rank >= subsets; });
    for (size_t at = 0; at < edges.size(); at += kTileChunks) {
      const auto first = edges.begin() + static_cast<ptrdiff_t>(at);
      const auto count = std::min<ptrdiff_t>(kTileChunks, edges.end() - first);
      ASSERT_NO_FATAL_FAILURE(ExpectNaiveOnes(tables.tables(), {first, first + count}));
    }
  }
}

// What ranks ascend with, as tile_kernels.h says it: numbers to be compared one after the other.
std::vector<size_t> OrderOf(const naive::Elements& x) {
  if (x.size() <= 16) {
    size_t number = 0;
    for (size_t i = 0; i < x.size(); ++i) number += size_t{x[i]} << i;
    return {number};
  }
  const size_t part = x.size() <= 64 ? 16 : std::bit_ceil(x.size()) / 2;
  std::vector<size_t> counts, orders;
  for (size_t end = x.size(), begin; end > 0; end = begin) {
    begin = (end - 1) / part * part;
    const naive::Elements here(x.begin() + static_cast<ptrdiff_t>(begin),
                               x.begin() + static_cast<ptrdiff_t>(end));
    counts.push_back(naive::Count(here));
    for (size_t number : OrderOf(here)) orders.push_back(number);
  }
  counts.insert(counts.end(), orders.begin(), orders.end());
  return counts;
}

TEST(NaiveSubsetTest, P19_RanksCountAllSubsetsInTheirOrder) {
  for (auto [size, k] : {std::pair{16, 5}, {32, 3}, {64, 2}, {80, 2}, {128, 2}}) {
    std::vector<naive::Elements> subsets;
    naive::Elements x(static_cast<size_t>(size));
    std::fill(x.end() - k, x.end(), true);
    do {
      subsets.push_back(x);
    } while (std::next_permutation(x.begin(), x.end()));
    std::vector<std::pair<std::vector<size_t>, size_t>> order;
    for (size_t i = 0; i < subsets.size(); ++i) order.emplace_back(OrderOf(subsets[i]), i);
    std::sort(order.begin(), order.end());
    for (size_t rank = 0; rank < order.size(); ++rank) {
      const naive::Elements& subset = subsets[order[rank].second];
      ASSERT_EQ(static_cast<size_t>(naive::Rank(subset)), rank) << size << "/" << k;
      ASSERT_EQ(naive::Unrank(subset.size(), static_cast<size_t>(k), rank), subset);
    }
  }
}

TEST(SubsetTablesTest, BinomialsAreThoseOfPascalOrMissing) {
  for (uint32_t n : {0u, 1u, 5u, 16u, 48u, 64u, 128u}) {
    for (uint32_t k = 0; k <= std::min(n + 1, 64u); ++k) {
      ASSERT_TRUE(Binomial(n, k) == naive::Choose(n, k)) << n << " " << k;
    }
  }
  EXPECT_EQ(*Binomial(64, 8), WideRank{4426165368});
  const WideRank half = *Binomial(128, 64);  // 23951146041928082866135587776380551750
  EXPECT_EQ(static_cast<uint64_t>(half >> 64), 1298394228608800905u);
  EXPECT_FALSE(Binomial(4096, 16).has_value());
}

}  // namespace
}  // namespace isthmus
