// Every available set of kernels: ranks of subsets, against counting and against their definition.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

#include "common/kernels/subset_tables.h"
#include "tests/common/kernels/kernel_data.h"

namespace isthmus {
namespace {

using Elements = std::vector<bool>;

// The definition (tile_kernels.h), element by element.
uint64_t RankOf(const Elements& x) {
  const auto count = [](const Elements& of) {
    return static_cast<uint32_t>(std::count(of.begin(), of.end(), true));
  };
  const auto binomial = [](size_t n, uint32_t k) {
    return static_cast<uint64_t>(*Binomial(static_cast<uint32_t>(n), k));
  };
  if (x.size() <= 16) {
    uint64_t rank = 0;
    for (uint32_t i = 0, seen = 0; i < x.size(); ++i) {
      if (x[i]) rank += binomial(i, ++seen);  // the combinatorial number system
    }
    return rank;
  }
  if (x.size() <= 64) {
    std::vector<Elements> parts;
    std::vector<uint32_t> counts;
    for (size_t at = 0; at < x.size(); at += 16) {
      parts.emplace_back(x.begin() + static_cast<ptrdiff_t>(at),
                         x.begin() + static_cast<ptrdiff_t>(std::min(at + 16, x.size())));
      counts.push_back(count(parts.back()));
    }
    // Below: those with fewer in the highest part, or as many there and fewer in the next, ...
    uint64_t below = 0, rank = 0;
    size_t left_size = x.size();
    uint32_t left = count(x);
    uint64_t above = 1;  // ways to fill the parts above with their counts
    for (size_t i = parts.size(); i-- > 0;) {
      left_size -= parts[i].size();
      for (uint32_t fewer = 0; fewer < counts[i]; ++fewer) {
        below += above * binomial(parts[i].size(), fewer) * binomial(left_size, left - fewer);
      }
      left -= counts[i];
      above *= binomial(parts[i].size(), counts[i]);
      rank = rank * binomial(parts[i].size(), counts[i]) + RankOf(parts[i]);
    }
    return below + rank;
  }
  const size_t half = std::bit_ceil(x.size()) / 2;
  const Elements lower(x.begin(), x.begin() + static_cast<ptrdiff_t>(half));
  const Elements upper(x.begin() + static_cast<ptrdiff_t>(half), x.end());
  uint64_t below = 0;
  for (uint32_t fewer = 0; fewer < count(upper); ++fewer) {
    below += binomial(upper.size(), fewer) * binomial(half, count(x) - fewer);
  }
  return below + RankOf(upper) * binomial(half, count(lower)) + RankOf(lower);
}

class SubsetKernelsTest : public testing::TestWithParam<const TileKernels*> {
 protected:
  const TileKernels& kernels() const { return *GetParam(); }

  static Elements Chunk(const std::vector<uint32_t>& masks, uint32_t size, size_t chunk) {
    Elements x;
    for (uint32_t i = 0; i < size; ++i) {
      x.push_back((masks[size_t{i / 32} * kTileChunks + chunk] >> (i % 32) & 1) != 0);
    }
    return x;
  }

  Rng rng_{19};
};

TEST_P(SubsetKernelsTest, P19_RanksAreAsDefinedAndComeBack) {
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
      for (int trial = 0; trial < 60; ++trial) {
        const int chunks = 1 + static_cast<int>(rng_.Below(kTileChunks));
        std::vector<uint64_t> ranks, again(kTileChunks);
        for (int i = 0; i < chunks; ++i) ranks.push_back(rng_.Below(subsets));
        if (trial == 0) ranks[0] = 0;
        if (trial == 1) ranks[0] = subsets - 1;
        std::vector<uint32_t> masks(static_cast<size_t>(MaskWords(static_cast<int>(size))) *
                                    kTileChunks);
        kernels().unrank(tables.tables(), ranks.data(), chunks, masks.data());
        for (size_t i = 0; i < ranks.size(); ++i) {
          Elements x = Chunk(masks, size, i);
          if (complement) x.flip();
          ASSERT_EQ(std::count(x.begin(), x.end(), true), k) << size << "/" << k;
          ASSERT_EQ(RankOf(x), ranks[i]) << size << "/" << k;
        }
        kernels().rank(tables.tables(), masks.data(), chunks, again.data());
        again.resize(ranks.size());
        ASSERT_EQ(again, ranks) << size << "/" << k;
      }
    }
  }
}

TEST_P(SubsetKernelsTest, P19_RanksOfSmallChunksCount) {
  for (auto [size, k] : {std::pair{16u, 5u}, {32u, 3u}, {64u, 2u}}) {
    const SubsetTableSet tables(size, k, false);
    const auto subsets = static_cast<uint64_t>(*Binomial(size, k));
    std::vector<uint32_t> masks(static_cast<size_t>(MaskWords(static_cast<int>(size))) *
                                kTileChunks);
    for (uint64_t rank = 0; rank < subsets; ++rank) {
      kernels().unrank(tables.tables(), &rank, 1, masks.data());
      ASSERT_EQ(RankOf(Chunk(masks, size, 0)), rank) << size << "/" << k;
      uint64_t again = ~uint64_t{0};
      kernels().rank(tables.tables(), masks.data(), 1, &again);
      ASSERT_EQ(again, rank) << size << "/" << k;
    }
  }
}

// Where a quotient or a guess would be wrong first: the first and last rank of every type, and
// those beside a multiple of the divisor.
TEST_P(SubsetKernelsTest, P19_RanksAtTheEdgesOfTypesComeBack) {
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
    std::vector<uint32_t> masks(static_cast<size_t>(MaskWords(static_cast<int>(size))) *
                                kTileChunks);
    for (uint64_t rank : edges) {
      if (rank >= subsets) continue;
      kernels().unrank(tables.tables(), &rank, 1, masks.data());
      ASSERT_EQ(RankOf(Chunk(masks, size, 0)), rank) << size << "/" << k;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, SubsetKernelsTest, testing::ValuesIn(AvailableKernels()),
                         [](const auto& set) { return std::string(set.param->name); });

TEST(SubsetTablesTest, BinomialsAreExactOrMissing) {
  EXPECT_EQ(*Binomial(64, 8), WideRank{4426165368});
  EXPECT_EQ(*Binomial(5, 6), WideRank{0});
  EXPECT_EQ(*Binomial(0, 0), WideRank{1});
  const WideRank half = *Binomial(128, 64);  // 23951146041928082866135587776380551750
  EXPECT_EQ(static_cast<uint64_t>(half >> 64), 1298394228608800905u);
  EXPECT_FALSE(Binomial(4096, 16).has_value());
}

}  // namespace
}  // namespace isthmus
