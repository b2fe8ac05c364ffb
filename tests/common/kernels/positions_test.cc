#include "common/kernels/positions.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <vector>

#include "tests/common/kernels/kernel_data.h"

namespace isthmus {
namespace {

// The k offsets of a chunk in a round.
using Scheme = std::function<std::vector<uint32_t>(uint64_t round, uint64_t chunk, int stride_bits,
                                                   uint32_t k)>;

Scheme Random(uint64_t seed) {
  return [seed](uint64_t round, uint64_t chunk, int stride_bits, uint32_t k) {
    std::vector<uint32_t> offsets;
    for (uint32_t i = 0; i < k; ++i) {
      offsets.push_back(RandomPosition(seed, round, chunk, stride_bits, i));
    }
    return offsets;
  };
}

std::vector<uint32_t> Striding(uint64_t round, uint64_t chunk, int stride_bits, uint32_t k) {
  std::vector<uint32_t> offsets;
  for (uint32_t i = 0; i < k; ++i) {
    offsets.push_back(StridingPosition(round, chunk, stride_bits, i));
  }
  return offsets;
}

std::vector<uint32_t> Slicing(uint64_t round, uint64_t chunk, int stride_bits, uint32_t k) {
  std::vector<uint32_t> offsets;
  for (uint32_t i = 0; i < k; ++i) {
    offsets.push_back(SlicingPosition(round, chunk, stride_bits, k, i));
  }
  return offsets;
}

// Calls check(first round of a cycle, chunk, stride_bits, k) for many shapes.
template <typename Check>
void ForShapes(Check check) {
  Rng rng(13);
  for (uint32_t k : {1u, 2u, 4u, 64u, 512u}) {
    for (int stride_bits = 0; stride_bits <= 12 && (k << stride_bits) <= 4096; ++stride_bits) {
      for (uint64_t chunk : {uint64_t{0}, uint64_t{1}, rng() >> 20}) {
        for (uint64_t cycle : {uint64_t{0}, uint64_t{1}, rng() >> 24}) {
          check(cycle << stride_bits, chunk, stride_bits, k);
        }
      }
    }
  }
}

void ExpectEachElementOncePerCycle(const Scheme& scheme) {
  ForShapes([&](uint64_t round, uint64_t chunk, int stride_bits, uint32_t k) {
    const uint32_t size = k << stride_bits;
    std::vector<int> sent(size);
    for (uint64_t i = 0; i < uint64_t{1} << stride_bits; ++i) {
      int64_t previous = -1;
      for (uint32_t offset : scheme(round + i, chunk, stride_bits, k)) {
        ASSERT_LT(offset, size);
        ASSERT_GT(static_cast<int64_t>(offset), previous);  // distinct and ascending
        previous = offset;
        ++sent[offset];
      }
    }
    ASSERT_EQ(sent, std::vector<int>(size, 1)) << k << " << " << stride_bits;
  });
}

TEST(PositionsTest, P17_StridingSendsEachElementOnceInAnySRounds) {
  ExpectEachElementOncePerCycle(Striding);
  // Wherever the S rounds begin.
  ExpectEachElementOncePerCycle([](uint64_t round, uint64_t chunk, int bits, uint32_t k) {
    return Striding(round + 3, chunk, bits, k);
  });
}

TEST(PositionsTest, P17_SlicingSendsEachElementOnceInAnySRounds) {
  ExpectEachElementOncePerCycle(Slicing);
  ExpectEachElementOncePerCycle([](uint64_t round, uint64_t chunk, int bits, uint32_t k) {
    return Slicing(round + 3, chunk, bits, k);
  });
}

TEST(PositionsTest, P17_RandomSendsEachElementOnceInACycleOfSRounds) {
  ExpectEachElementOncePerCycle(Random(1));
  ExpectEachElementOncePerCycle(Random(0xfeedfacecafebeef));
}

TEST(PositionsTest, SlicesAreRunsAndStridesAreEven) {
  EXPECT_EQ(Slicing(5, 0, 3, 4), (std::vector<uint32_t>{20, 21, 22, 23}));
  EXPECT_EQ(Slicing(5, 2, 3, 4), (std::vector<uint32_t>{28, 29, 30, 31}));
  EXPECT_EQ(Striding(5, 0, 3, 4), (std::vector<uint32_t>{5, 13, 21, 29}));
  EXPECT_EQ(Striding(5, 4, 3, 4), (std::vector<uint32_t>{1, 9, 17, 25}));
}

// Chi-square over the S elements of a stratum: mean S - 1, variance 2 (S - 1). The seed is fixed.
void ExpectUniform(const std::vector<int>& counts) {
  double total = 0.0;
  for (int count : counts) total += count;
  const double expected = total / static_cast<double>(counts.size());
  double chi_square = 0.0;
  for (int count : counts) {
    const double difference = count - expected;
    chi_square += difference * difference / expected;
  }
  const double freedom = static_cast<double>(counts.size()) - 1;
  EXPECT_LT(chi_square, freedom + 6 * std::sqrt(2 * freedom));
}

TEST(PositionsTest, RandomIsUniformOverCyclesOverChunksAndOverStrata) {
  for (int stride_bits : {1, 3, 5}) {
    const uint64_t stride = uint64_t{1} << stride_bits;
    std::vector<int> cycles(stride), chunks(stride), strata(stride);
    for (uint64_t i = 0; i < 20000; ++i) {
      ++cycles[RandomPosition(7, i << stride_bits, 5, stride_bits, 0)];
      ++chunks[RandomPosition(7, 3, i, stride_bits, 0)];
      const uint32_t stratum = static_cast<uint32_t>(i % 64);
      ++strata[RandomPosition(7, 3, i / 64, stride_bits, stratum) - (stratum << stride_bits)];
    }
    ExpectUniform(cycles);
    ExpectUniform(chunks);
    ExpectUniform(strata);
  }
}

// Neither seeds, nor chunks, nor neighbouring strata go together: pairs are as uniform as one.
TEST(PositionsTest, RandomPairsAreIndependent) {
  std::vector<int> seeds(64), chunks(64), strata(64), cycles(64);
  for (uint64_t i = 0; i < 20000; ++i) {
    const auto at = [&](uint64_t seed, uint64_t round, uint64_t chunk, uint32_t stratum) {
      return RandomPosition(seed, round, chunk, 3, stratum) - (stratum << 3);
    };
    const uint32_t here = at(7, 0, i, 4);
    ++seeds[8 * here + at(8, 0, i, 4)];
    ++chunks[8 * here + at(7, 0, i + 1, 4)];
    ++strata[8 * here + at(7, 0, i, 5)];
    ++cycles[8 * here + at(7, 8, i, 4)];
  }
  ExpectUniform(seeds);
  ExpectUniform(chunks);
  ExpectUniform(strata);
  ExpectUniform(cycles);
}

TEST(PositionsTest, SignOfZeroIsEvenlySplitAndDiffersFromRoundToRound) {
  int negative = 0;
  int changed = 0;
  for (uint64_t element = 0; element < 20000; ++element) {
    negative += static_cast<int>(SignOfZero(3, element));
    changed += SignOfZero(3, element) != SignOfZero(4, element) ? 1 : 0;
  }
  EXPECT_NEAR(negative, 10000, 500);
  EXPECT_NEAR(changed, 10000, 500);
}

}  // namespace
}  // namespace isthmus
