#include "common/compression/topk.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "common/kernels/naive_select.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

struct Picked {
  std::vector<uint16_t> indices;
  std::vector<float> values;
};

Picked Select(std::span<const float> coeffs, int chunk_size, int k) {
  const size_t n = coeffs.size() / static_cast<size_t>(chunk_size) * static_cast<size_t>(k);
  Picked picked{std::vector<uint16_t>(n), std::vector<float>(n)};
  SelectTopK(coeffs, chunk_size, k, picked.indices, picked.values);
  return picked;
}

void ExpectEqualsSort(std::span<const float> coeffs, int chunk_size, int k) {
  const Picked picked = Select(coeffs, chunk_size, k);
  const size_t n = static_cast<size_t>(chunk_size);
  size_t at = 0;
  for (size_t chunk = 0; chunk < coeffs.size() / n; ++chunk) {
    const std::span<const float> x = coeffs.subspan(chunk * n, n);
    const naive::Elements expected = naive::Largest({x.begin(), x.end()}, static_cast<size_t>(k));
    for (size_t i = 0; i < n; ++i) {
      if (!expected[i]) continue;
      ASSERT_EQ(picked.indices[at], i) << "chunk " << chunk << " k " << k;
      ASSERT_EQ(Bits({&picked.values[at++], 1}), Bits({&x[i], 1}));
    }
  }
}

TEST(TopKTest, EqualsASortOverShapes) {
  Rng rng(1);
  for (int n : {1, 2, 3, 7, 16, 50, 64, 127, 128, 1000, 4096}) {
    for (int k : {1, 2, 4, n / 4, n / 2, n - 1, n}) {
      if (k < 1 || k > n) continue;
      ExpectEqualsSort(RandomVector(rng, 3 * static_cast<size_t>(n)), n, k);
    }
  }
}

TEST(TopKTest, EqualsASortWithManyTies) {
  Rng rng(2);
  for (int trial = 0; trial < Repetitions(2000); ++trial) {
    std::vector<float> x(64);
    const uint64_t levels = 1 + rng.Below(5);
    for (float& value : x) {
      value = static_cast<float>(rng.Below(levels)) * (rng.Chance(0.5) ? 1.0f : -1.0f);
    }
    ExpectEqualsSort(x, 64, 1 + static_cast<int>(rng.Below(64)));
  }
}

TEST(TopKTest, EqualsASortOfExtremes) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  const float huge = std::numeric_limits<float>::max();
  const std::vector<float> x = {0.0f,   -0.0f, tiny,    -tiny, 2 * tiny, -2 * tiny, huge, -huge,
                                1e-38f, 1e38f, -1e-38f, 1.0f,  -1.0f,    0.0f,      tiny, huge};
  for (int k = 1; k <= 16; ++k) ExpectEqualsSort(x, 16, k);
}

TEST(TopKTest, AllZerosKeepTheLowestIndices) {
  const std::vector<float> zeros(64);
  EXPECT_EQ(Select(zeros, 64, 4).indices, (std::vector<uint16_t>{0, 1, 2, 3}));
}

TEST(TopKTest, TakesTheLargestBlock) {
  Rng rng(3);
  ExpectEqualsSort(RandomVector(rng, kMaxBlockSize), kMaxBlockSize, 1000);
}

TEST(TopKTest, NoChunksAreNothing) { EXPECT_TRUE(Select({}, 64, 4).indices.empty()); }

}  // namespace
}  // namespace isthmus
