// Every available set of kernels against the naive one, bit for bit: what transforms.
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "tests/common/kernels/kernel_data.h"

namespace isthmus {
namespace {

TEST(TransformKernelsTest, P21_RowsForwardAndBackAreTheNaiveOnes) {
  Rng rng(1);
  for (int size : kChunkSizes) {
    constexpr size_t kMost = 2 * kTileChunks + 1;
    const std::vector<float> in = AdversarialRows(rng, size, kMost);
    std::vector<float> forward(in.size()), inverse(in.size());
    naive::kKernels.forward_rows(size, in.data(), kMost, forward.data());
    naive::kKernels.inverse_rows(size, in.data(), kMost, inverse.data());
    const auto check = [&](const TileKernels& kernels, size_t count) {
      const size_t used = count * static_cast<size_t>(size);
      std::vector<float> out(used);
      kernels.forward_rows(size, in.data(), count, out.data());
      ASSERT_EQ(Bits(out), Bits(std::span(forward).first(used))) << size << " x " << count;
      std::copy_n(in.begin(), used, out.begin());  // in place
      kernels.inverse_rows(size, out.data(), count, out.data());
      ASSERT_EQ(Bits(out), Bits(std::span(inverse).first(used))) << size << " x " << count;
    };
    // No full register, one, two (of 16), and any number of chunks beyond.
    ForEachSet([&](const TileKernels& kernels) {
      for (size_t count = 0; count <= kTileChunks + 1; ++count) {
        ASSERT_NO_FATAL_FAILURE(check(kernels, count));
      }
      check(kernels, kMost);
    });
  }
}

TEST(TransformKernelsTest, P17_P21_AccumulatesAsTheNaiveOneInFullAndPartialTiles) {
  Rng rng(2);
  for (int size : kChunkSizes) {
    const std::vector<float> gradient = AdversarialRows(rng, size, kTileChunks);
    const std::vector<float> before = AdversarialTile(rng, size);
    int least = 1;  // the three take turns at the partial tiles
    for (auto [decay, scale] : {std::pair{0.999f, 1.0f}, {1.0f, 1e-4f}, {0.0f, -3.0f}}) {
      std::vector<float> expected = before;
      naive::kKernels.accumulate(size, gradient.data(), kTileChunks, decay, scale, expected.data());
      for (int chunks = least++; chunks <= kTileChunks; chunks += 3) {
        const std::vector<float> tile = WithEmptyLanes(rng, before, chunks);
        ForEachSet([&, decay = decay, scale = scale](const TileKernels& kernels) {
          std::vector<float> momentum = tile;
          kernels.accumulate(size, gradient.data(), chunks, decay, scale, momentum.data());
          ASSERT_EQ(Bits(Lanes(momentum, chunks)), Bits(Lanes(expected, chunks)))
              << size << " x " << chunks;
        });
      }
    }
  }
}

TEST(TransformKernelsTest, P20_P21_InverseTilesAndTheirSignsAreTheNaiveOnes) {
  Rng rng(4);
  for (int size : kChunkSizes) {
    const size_t n = static_cast<size_t>(size);
    const std::vector<float> tile = AdversarialTile(rng, size);
    for (bool sign : {false, true}) {
      std::vector<float> expected(tile.size());
      naive::kKernels.inverse_tile(size, tile.data(), kTileChunks, sign, expected.data());
      for (int chunks = sign ? 2 : 1; chunks <= kTileChunks; chunks += chunks == 15 ? 1 : 2) {
        const size_t used = n * static_cast<size_t>(chunks);
        const std::vector<float> partial = WithEmptyLanes(rng, tile, chunks);
        ForEachSet([&, sign = sign](const TileKernels& kernels) {
          std::vector<float> rows(used + 1, 7.0f);  // one number more, which must stay what it is
          kernels.inverse_tile(size, partial.data(), chunks, sign, rows.data());
          ASSERT_EQ(rows.back(), 7.0f);
          rows.pop_back();
          ASSERT_EQ(Bits(rows), Bits(std::span(expected).first(used)))
              << size << " x " << chunks << " " << sign;
        });
      }
    }
  }
}

TEST(TransformKernelsTest, P20_SignMasksAreTheNaiveOnes) {
  Rng rng(5);
  for (int size : kChunkSizes) {
    for (int trial = 0; trial < Repetitions(4); ++trial) {
      const std::vector<float> tile = AdversarialTile(rng, size);
      std::vector<uint32_t> expected_negative(TileWords(size)), expected_zero(TileWords(size));
      naive::kKernels.inverse_signs(size, tile.data(), expected_negative.data(),
                                    expected_zero.data());
      ForEachSet([&](const TileKernels& kernels) {
        std::vector<uint32_t> negative(TileWords(size), 77), zero = negative;
        kernels.inverse_signs(size, tile.data(), negative.data(), zero.data());
        ASSERT_EQ(negative, expected_negative) << size;
        ASSERT_EQ(zero, expected_zero) << size;
      });
    }
  }
}

// What no comparison between fast sets could show: that they transform at all.
TEST(NaiveDctTest, IsTheSumOfCosinesAndItsTranspose) {
  Rng rng(3);
  for (int size : kChunkSizes) {
    for (uint64_t character = 0; character < kCharacters; ++character) {
      if (size > 1024 && character > 1) continue;  // quadratic, and all alike
      naive::Chunk x(static_cast<size_t>(size));
      for (float& value : x) value = AdversarialNumber(rng, character);
      for (bool inverse : {false, true}) {
        const std::vector<double> expected = naive::CosineSums(x, inverse);
        const naive::Chunk out = inverse ? naive::InverseDct(x) : naive::Dct(x);
        double largest = 0.0;
        for (double value : expected) largest = std::max(largest, std::abs(value));
        // Of denormals, each of a few roundings is off by one at most.
        const double tolerance = 1e-6 * largest + 100 * 0x1p-149;
        for (size_t i = 0; i < out.size(); ++i) {
          ASSERT_NEAR(static_cast<double>(out[i]), expected[i], tolerance)
              << size << " " << character << " " << inverse;
        }
      }
    }
  }
}

}  // namespace
}  // namespace isthmus
