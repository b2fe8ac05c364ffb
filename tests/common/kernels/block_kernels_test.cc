// Every available set of kernels against the naive one: blocks of values with a scale of their own.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/common/kernels/kernel_data.h"

namespace isthmus {
namespace {

class BlockKernelsTest : public testing::TestWithParam<const TileKernels*> {
 protected:
  const TileKernels& kernels() const { return *GetParam(); }
  Rng rng_{31};
};

TEST_P(BlockKernelsTest, P19_P21_BlocksAreTakenAndSaidAsTheNaiveOnesAre) {
  for (int bits : {1, 2, 4}) {
    for (const float factor : {1.0f, 1e-3f, 0x1p-44f, 0x1p-45f}) {
      std::vector<float> rows = AdversarialRows(rng_, kBlock, 200);
      for (float& x : rows) x *= factor;
      for (size_t at = 0; at < rows.size(); at += kBlock) {
        std::vector<float> x(rows.begin() + static_cast<ptrdiff_t>(at),
                             rows.begin() + static_cast<ptrdiff_t>(at) + kBlock);
        std::vector<float> expected = x;
        uint64_t codes[4] = {9, 9, 9, 9}, expected_codes[4] = {9, 9, 9, 9};
        const int scale = kernels().take_block(bits, x.data(), codes);
        ASSERT_EQ(scale, naive::kKernels.take_block(bits, expected.data(), expected_codes));
        ASSERT_EQ(Bits(x), Bits(expected)) << bits << " " << at;
        for (int i = 0; i < 4; ++i) ASSERT_EQ(codes[i], expected_codes[i]) << bits << " " << i;
        if (scale < 0) continue;
        ASSERT_GE(scale, 1);
        std::vector<float> said(kBlock), expected_said(kBlock);
        kernels().say_block(bits, scale, codes, said.data());
        naive::kKernels.say_block(bits, scale, codes, expected_said.data());
        ASSERT_EQ(Bits(said), Bits(expected_said)) << bits << " " << at;
      }
    }
  }
}

TEST_P(BlockKernelsTest, P19_WhatIsSaidAndWhatIsLeftAreAllThereWas) {
  for (int bits : {1, 2, 4}) {
    std::vector<float> x(kBlock), said(kBlock);
    for (float& v : x) v = static_cast<float>(rng_.Below(4096)) / 256.0f - 8.0f;
    const std::vector<float> before = x;
    uint64_t codes[4];
    const int scale = kernels().take_block(bits, x.data(), codes);
    kernels().say_block(bits, scale, codes, said.data());
    for (size_t i = 0; i < kBlock; ++i) EXPECT_EQ(said[i] + x[i], before[i]);
  }
}

// More bits lose less of a normal distribution; two bits what Max's table says of four levels, but
// for the scale's own rounding.
TEST_P(BlockKernelsTest, P19_MoreBitsLoseLess) {
  std::vector<float> normal(kBlock * 2000);
  for (float& v : normal) {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i) sum += rng_.Uniform();
    v = static_cast<float>(sum);
  }
  const auto lost = [&](int bits) {
    std::vector<float> x = normal;
    uint64_t codes[4];
    double square = 0;
    for (size_t at = 0; at < x.size(); at += kBlock) {
      (void)kernels().take_block(bits, x.data() + at, codes);
    }
    for (const float v : x) square += static_cast<double>(v) * static_cast<double>(v);
    return square / static_cast<double>(x.size());
  };
  EXPECT_NEAR(lost(1), 0.363, 0.02);
  EXPECT_NEAR(lost(2), 0.1175, 0.01);
  EXPECT_LT(lost(4), 0.02);
}

INSTANTIATE_TEST_SUITE_P(All, BlockKernelsTest, testing::ValuesIn(AvailableKernels()),
                         [](const auto& set) { return std::string(set.param->name); });

}  // namespace
}  // namespace isthmus
