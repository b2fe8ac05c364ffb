// How a GPU's thread closes in on the k-th largest magnitude: what it finds (block_top_k.h) is held
// to the CPU's selection by the extraction's tests; here, that it ends, and soon.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "common/gpu/block_top_k.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

uint32_t CountReaching(const std::vector<float>& x, uint32_t threshold) {
  return static_cast<uint32_t>(std::count_if(x.begin(), x.end(), [threshold](float value) {
    return std::bit_cast<uint32_t>(std::fabs(value)) >= threshold;
  }));
}

// Tries until it is near; checks what it says of both sides then.
int CountTries(const std::vector<float>& x, uint32_t k) {
  const float sum = std::accumulate(x.begin(), x.end(), 0.0f, [](float before, float value) {
    return before + std::fabs(value);
  });
  const auto n = static_cast<uint32_t>(x.size());
  TopKSearch search(n, k, sum / static_cast<float>(n));
  int tries = 0;
  do {
    const uint32_t threshold = search.Next();
    EXPECT_LT(search.lower(), threshold);
    EXPECT_LT(threshold, search.upper());
    const uint32_t reach = CountReaching(x, threshold);
    EXPECT_EQ(search.Tell(threshold, reach), reach >= k);
    ++tries;
  } while (!search.IsNear() && tries < 1000 && !testing::Test::HasFailure());
  EXPECT_EQ(search.reach_lower(), CountReaching(x, search.lower()));
  EXPECT_GE(search.reach_lower(), k);
  EXPECT_LT(search.reach_upper(), k);
  if (search.upper() != TopKSearch::kInfinity) {
    EXPECT_EQ(search.reach_upper(), CountReaching(x, search.upper()));
  }
  return tries;
}

TEST(TopKSearchTest, EndsWhateverTheNumbers) {
  Rng rng(80);
  for (uint32_t size : {16u, 64u, 1024u}) {
    for (int i = 0; i < 1500; ++i) {
      const std::vector<float> x = AdversarialVector(rng, size, 1);
      const auto k = static_cast<uint32_t>(1 + rng.Below(size - 1));
      ASSERT_LE(CountTries(x, k), 4 * 32) << size << "/" << k << ", vector " << i;
      ASSERT_FALSE(HasFailure()) << size << "/" << k << ", vector " << i;
    }
  }
}

TEST(TopKSearchTest, EndsWithInfinities) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float most = std::numeric_limits<float>::max();
  std::vector<float> x(64, 1.0f);
  std::fill_n(x.begin(), 9, infinity);
  std::fill_n(x.begin() + 9, 9, -most);
  for (uint32_t k : {1u, 8u, 9u, 10u, 18u, 19u, 63u}) {
    EXPECT_LE(CountTries(x, k), 4 * 32) << k;
  }
}

// Of equal numbers it need not look further: 61 zeros, of which 5 are wanted.
TEST(TopKSearchTest, SoonSeesThatTheRestIsZero) {
  std::vector<float> x(64, 0.0f);
  EXPECT_LE(CountTries(x, 8), 1);
  x[5] = 1e-3f;
  x[20] = -2.0f;
  x[33] = 1e20f;
  EXPECT_LE(CountTries(x, 8), 5);
}

// A warp goes on until the last of its 32 chunks is near: that counts.
TEST(TopKSearchTest, TakesFewTriesForAWarpOfNormalNumbers) {
  Rng rng(81);
  for (const auto& [size, k] :
       {std::pair{32u, 4u}, {64u, 8u}, {64u, 4u}, {128u, 16u}, {256u, 32u}}) {
    constexpr int kWarps = 200;
    int sum = 0;
    for (int warp = 0; warp < kWarps; ++warp) {
      int most = 0;
      for (int lane = 0; lane < 32; ++lane) {
        most = std::max(most, CountTries(RandomVector(rng, size), k));
      }
      sum += most;
    }
    EXPECT_LE(sum, 7 * kWarps) << size << "/" << k << ": " << static_cast<double>(sum) / kWarps;
  }
}

}  // namespace
}  // namespace isthmus
