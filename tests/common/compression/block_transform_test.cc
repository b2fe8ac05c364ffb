#include "common/compression/block_transform.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

TEST(BlockLengthTest, IsTheLargestDivisorUpToTheWanted) {
  EXPECT_EQ(BlockLength(100, 64), 50);
  EXPECT_EQ(BlockLength(1000, 64), 50);
  EXPECT_EQ(BlockLength(160, 64), 40);
  EXPECT_EQ(BlockLength(127, 64), 1);
  EXPECT_EQ(BlockLength(127, 128), 127);
  EXPECT_EQ(BlockLength(502, 64), 2);
  EXPECT_EQ(BlockLength(1, 64), 1);
}

double Basis(int n, int f, int j) {
  return std::sqrt((f == 0 ? 1.0 : 2.0) / n) *
         std::cos(std::numbers::pi * (2 * j + 1) * f / (2.0 * n));
}

TEST(BlockTransformTest, P4_EqualsTheDefinitionForAnyLengths) {
  Rng rng(4);
  for (auto [h, w] : {std::pair{1, 50}, {1, 64}, {16, 9}, {24, 40}, {5, 1}, {1, 1}}) {
    const BlockTransform transform(h, w);
    const std::vector<float> x = RandomVector(rng, 2 * transform.block_size());
    std::vector<float> y(x.size());
    transform.Forward(x, y);
    for (int b = 0; b < h; ++b) {
      for (int d = 0; d < w; ++d) {
        double expected = 0.0;
        for (int i = 0; i < h; ++i) {
          for (int j = 0; j < w; ++j) {
            expected +=
                Basis(h, b, i) * Basis(w, d, j) *
                static_cast<double>(x[transform.block_size() + static_cast<size_t>(i * w + j)]);
          }
        }
        EXPECT_NEAR(y[transform.block_size() + static_cast<size_t>(b * w + d)], expected, 1e-5)
            << h << "x" << w << " " << b << "," << d;
      }
    }
    transform.Inverse(y, y);
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(y[i], x[i], 1e-5);
  }
}

TEST(BlockGridTest, CutsRowMajorAndScatterUndoesGather) {
  const BlockGrid grid(4, 6, 2, 3);
  EXPECT_EQ(grid.block_count(), 4u);
  std::vector<float> tensor(24);
  for (size_t i = 0; i < tensor.size(); ++i) tensor[i] = static_cast<float>(i);
  std::vector<float> blocks(24);
  grid.Gather(tensor, blocks);
  EXPECT_EQ(std::vector<float>(blocks.begin(), blocks.begin() + 12),
            (std::vector<float>{0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11}));
  std::vector<float> back(24);
  grid.Scatter(blocks, back);
  EXPECT_EQ(back, tensor);
}

}  // namespace
}  // namespace isthmus
