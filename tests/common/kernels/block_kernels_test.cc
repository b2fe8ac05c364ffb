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
      for (const int count : {0, 1, 2, 7, 64, 150}) {
        std::vector<float> x = AdversarialRows(rng_, kBlock, static_cast<size_t>(count));
        for (float& v : x) v *= factor;
        std::vector<float> expected = x;
        std::vector<uint8_t> scales(static_cast<size_t>(count) + 1, 9), expected_scales = scales;
        std::vector<uint64_t> codes(scales.size() * static_cast<size_t>(bits), 9);
        std::vector<uint64_t> expected_codes = codes;
        kernels().take_blocks(bits, x.data(), count, scales.data(), codes.data());
        naive::kKernels.take_blocks(bits, expected.data(), count, expected_scales.data(),
                                    expected_codes.data());
        ASSERT_EQ(Bits(x), Bits(expected)) << bits << " " << count;
        ASSERT_EQ(scales, expected_scales) << bits << " " << count;
        ASSERT_EQ(codes, expected_codes) << bits << " " << count;
        for (size_t b = 0; b < static_cast<size_t>(count); ++b) {
          if (scales[b] == 0) continue;
          const uint64_t* const block = codes.data() + b * static_cast<size_t>(bits);
          std::vector<float> said(kBlock), expected_said(kBlock);
          kernels().say_block(bits, scales[b], block, said.data());
          naive::kKernels.say_block(bits, scales[b], block, expected_said.data());
          ASSERT_EQ(Bits(said), Bits(expected_said)) << bits << " " << b;
        }
      }
    }
  }
}

TEST_P(BlockKernelsTest, P20_WhatABlockSaysIsAddedAsTheNaiveOneIs) {
  for (int bits : {1, 2, 4}) {
    for (const float weight : {1.0f, 0.75f, 1.0f / 3.0f, 0.0f}) {
      for (int scale : {1, 2, 100, 255}) {
        uint64_t codes[4];
        for (uint64_t& word : codes) word = rng_();
        std::vector<float> sums = AdversarialRows(rng_, kBlock, 1), expected = sums;
        kernels().add_block(bits, scale, codes, weight, sums.data());
        naive::kKernels.add_block(bits, scale, codes, weight, expected.data());
        ASSERT_EQ(Bits(sums), Bits(expected)) << bits << " " << weight << " " << scale;
      }
    }
  }
}

TEST_P(BlockKernelsTest, P19_WhatIsSaidAndWhatIsLeftAreAllThereWas) {
  for (int bits : {1, 2, 4}) {
    std::vector<float> x(kBlock), said(kBlock);
    for (float& v : x) v = static_cast<float>(rng_.Below(4096)) / 256.0f - 8.0f;
    const std::vector<float> before = x;
    uint8_t scale = 0;
    uint64_t codes[4];
    kernels().take_blocks(bits, x.data(), 1, &scale, codes);
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
    std::vector<uint8_t> scales(x.size() / kBlock);
    std::vector<uint64_t> codes(scales.size() * static_cast<size_t>(bits));
    double square = 0;
    kernels().take_blocks(bits, x.data(), static_cast<int>(scales.size()), scales.data(),
                          codes.data());
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
