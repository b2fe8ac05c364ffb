// Every available set of kernels against the scalar one, bit for bit: what transforms.
#include <gtest/gtest.h>

#include "tests/common/kernels/kernel_data.h"

namespace isthmus {
namespace {

class TransformKernelsTest : public testing::TestWithParam<const TileKernels*> {
 protected:
  const TileKernels& kernels() const { return *GetParam(); }
};

TEST_P(TransformKernelsTest, P21_RowsForwardAndBackAreTheScalarOnes) {
  Rng rng(1);
  for (int size : kChunkSizes) {
    for (size_t count = 0; count <= 2 * kTileChunks + 1; ++count) {
      if (size > 512 && count > 18) continue;
      const std::vector<float> in = AdversarialRows(rng, size, count);
      std::vector<float> expected(in.size()), actual(in.size());
      kScalarKernels.forward_rows(size, in.data(), count, expected.data());
      kernels().forward_rows(size, in.data(), count, actual.data());
      ASSERT_EQ(Bits(actual), Bits(expected)) << size << " x " << count;
      kScalarKernels.inverse_rows(size, in.data(), count, expected.data());
      actual = in;  // in place
      kernels().inverse_rows(size, actual.data(), count, actual.data());
      ASSERT_EQ(Bits(actual), Bits(expected)) << size << " x " << count;
    }
  }
}

TEST_P(TransformKernelsTest, P17_P21_AccumulatesAsTheScalarOneInFullAndPartialTiles) {
  Rng rng(2);
  for (int size : kChunkSizes) {
    for (int chunks = 1; chunks <= kTileChunks; ++chunks) {
      const std::vector<float> gradient = AdversarialRows(rng, size, static_cast<size_t>(chunks));
      const std::vector<float> before = AdversarialTile(rng, size);
      for (auto [decay, scale] : {std::pair{0.999f, 1.0f}, {1.0f, 1e-4f}, {0.0f, -3.0f}}) {
        std::vector<float> expected = before, actual = before;
        kScalarKernels.accumulate(size, gradient.data(), chunks, decay, scale, expected.data());
        kernels().accumulate(size, gradient.data(), chunks, decay, scale, actual.data());
        ASSERT_EQ(Bits(Lanes(actual, chunks)), Bits(Lanes(expected, chunks)))
            << size << " x " << chunks;
      }
    }
  }
}

TEST_P(TransformKernelsTest, P17_AccumulateIsDecayTimesMomentumPlusScaleTimesTheDct) {
  Rng rng(3);
  for (int size : kChunkSizes) {
    const size_t n = static_cast<size_t>(size);
    const std::vector<float> gradient = AdversarialRows(rng, size, kTileChunks);
    const std::vector<float> before = AdversarialTile(rng, size);
    std::vector<float> transformed(gradient.size());
    kernels().forward_rows(size, gradient.data(), kTileChunks, transformed.data());
    std::vector<float> expected = before, actual = before;
    for (size_t chunk = 0; chunk < kTileChunks; ++chunk) {
      for (size_t i = 0; i < n; ++i) {
        float& m = expected[i * kTileChunks + chunk];
        m = 0.9f * m + 0.5f * transformed[chunk * n + i];
      }
    }
    kernels().accumulate(size, gradient.data(), kTileChunks, 0.9f, 0.5f, actual.data());
    ASSERT_EQ(Bits(actual), Bits(expected)) << size;
  }
}

TEST_P(TransformKernelsTest, P21_InverseTilesAndTheirSignsAreTheScalarOnes) {
  Rng rng(4);
  for (int size : kChunkSizes) {
    const size_t n = static_cast<size_t>(size);
    for (int chunks = 1; chunks <= kTileChunks; ++chunks) {
      const std::vector<float> tile = AdversarialTile(rng, size);
      // One number more, which must stay what it is.
      std::vector<float> expected(n * static_cast<size_t>(chunks) + 1, 7.0f);
      std::vector<float> actual = expected;
      for (bool sign : {false, true}) {
        kScalarKernels.inverse_tile(size, tile.data(), chunks, sign, expected.data());
        kernels().inverse_tile(size, tile.data(), chunks, sign, actual.data());
        ASSERT_EQ(Bits(actual), Bits(expected)) << size << " x " << chunks << " " << sign;
      }
    }
  }
}

TEST_P(TransformKernelsTest, P20_SignMasksSayWhatTheInverseTileIs) {
  Rng rng(5);
  for (int size : kChunkSizes) {
    const size_t n = static_cast<size_t>(size);
    for (int trial = 0; trial < 4; ++trial) {
      const std::vector<float> tile = AdversarialTile(rng, size);
      std::vector<float> rows(tile.size()), signs(tile.size());
      kScalarKernels.inverse_tile(size, tile.data(), kTileChunks, false, rows.data());
      kernels().inverse_tile(size, tile.data(), kTileChunks, true, signs.data());
      const size_t words = static_cast<size_t>(MaskWords(size));
      std::vector<uint32_t> negative(words * kTileChunks), zero(negative.size());
      kernels().inverse_signs(size, tile.data(), negative.data(), zero.data());
      std::vector<uint32_t> expected_negative(negative.size()), expected_zero(negative.size());
      for (size_t at = 0; at < rows.size(); ++at) {
        const size_t chunk = at / n, i = at % n;
        const size_t word = i / 32 * kTileChunks + chunk;
        expected_negative[word] |= static_cast<uint32_t>(rows[at] < 0) << (i % 32);
        expected_zero[word] |= static_cast<uint32_t>(rows[at] == 0) << (i % 32);
        const float sign = rows[at] > 0 ? 1.0f : rows[at] < 0 ? -1.0f : 0.0f;
        ASSERT_EQ(std::bit_cast<uint32_t>(signs[at]), std::bit_cast<uint32_t>(sign));
      }
      ASSERT_EQ(negative, expected_negative) << size;
      ASSERT_EQ(zero, expected_zero) << size;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, TransformKernelsTest, testing::ValuesIn(AvailableKernels()),
                         [](const auto& set) { return std::string(set.param->name); });

}  // namespace
}  // namespace isthmus
