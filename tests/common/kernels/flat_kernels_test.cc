// Every available set of kernels against plain loops: what works element by element.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/common/kernels/kernel_data.h"

namespace isthmus {
namespace {

class FlatKernelsTest : public testing::TestWithParam<const TileKernels*> {
 protected:
  const TileKernels& kernels() const { return *GetParam(); }
  Rng rng_{9};
};

TEST_P(FlatKernelsTest, P10_MeanDividesByTheSendersAndIsNeverMinusZero) {
  for (int most = 1; most <= 7; ++most) {
    for (size_t n : {size_t{0}, size_t{1}, size_t{5}, size_t{64}, size_t{1000}}) {
      std::vector<float> pairs, expected, out(n, 9.0f);
      for (size_t i = 0; i < n; ++i) {
        const float sum = AdversarialNumber(rng_, rng_.Below(kCharacters));
        const auto count = static_cast<float>(rng_.Below(static_cast<uint64_t>(most) + 1));
        pairs.insert(pairs.end(), {sum, count});
        const float mean = count > 1.0f ? sum / count : sum;
        expected.push_back(mean == 0.0f ? 0.0f : mean);
      }
      kernels().mean(static_cast<float>(most), pairs.data(), out.data(), n);
      ASSERT_EQ(Bits(out), Bits(expected)) << most << " " << n;
    }
  }
}

// Ranks of all k-subsets, or of the first, the last and some between; guesses are the poorest.
TEST_P(FlatKernelsTest, P19_UnrankIsTheCombinatorialNumberSystem) {
  for (auto [size, k] : {std::pair{16u, 1u},
                         {16u, 3u},
                         {16u, 15u},
                         {20u, 7u},
                         {64u, 4u},
                         {64u, 8u},
                         {128u, 7u},
                         {4096u, 3u}}) {
    std::vector<uint64_t> binomials;
    for (uint32_t i = 1; i <= k; ++i) {
      for (uint32_t c = 0; c <= size; ++c) {
        double binomial = 1;  // below 2^53, so exact
        for (uint32_t j = 1; j <= i; ++j) {
          binomial = c < i ? 0 : binomial * static_cast<double>(c - i + j) / static_cast<double>(j);
        }
        binomials.push_back(static_cast<uint64_t>(binomial));
      }
    }
    const std::vector<uint16_t> guesses(size_t{k} * kGuessKeys);
    const std::vector<int> steps(k, static_cast<int>(size) - 1);
    const UnrankTables tables{size, k, binomials.data(), guesses.data(), steps.data()};
    const uint64_t subsets = binomials.back();
    for (int trial = 0; trial < 100; ++trial) {
      const int lanes = 1 + static_cast<int>(rng_.Below(kTileChunks));
      std::vector<uint64_t> ranks;
      for (int lane = 0; lane < lanes; ++lane) ranks.push_back(rng_.Below(subsets));
      if (trial == 0) ranks[0] = 0;
      if (trial == 1) ranks[0] = subsets - 1;
      std::vector<uint16_t> indices(static_cast<size_t>(lanes) * k);
      std::vector<uint64_t> used = ranks;
      kernels().unrank(tables, used.data(), lanes, indices.data());
      for (size_t lane = 0; lane < ranks.size(); ++lane) {
        uint64_t rank = 0;
        for (uint32_t i = 0; i < k; ++i) {
          const uint16_t index = indices[lane * k + i];
          ASSERT_LT(index, size);
          ASSERT_TRUE(i == 0 || index > indices[lane * k + i - 1]);
          rank += binomials[i * (size + 1) + index];
        }
        ASSERT_EQ(rank, ranks[lane]) << size << "/" << k;
      }
    }
  }
}

TEST_P(FlatKernelsTest, P17_P21_FlatMomentumAndSgdRoundEachOperationOnce) {
  for (size_t n = 0; n < 70; ++n) {
    std::vector<float> a, b;
    for (size_t i = 0; i < n; ++i) {
      a.push_back(AdversarialNumber(rng_, rng_.Below(kCharacters)));
      b.push_back(AdversarialNumber(rng_, rng_.Below(kCharacters)));
    }
    std::vector<float> momentum = b, parameters = b, expected_momentum, expected_parameters;
    for (size_t i = 0; i < n; ++i) {
      const float scaled = 0.3f * a[i], decayed = 0.7f * b[i];
      expected_momentum.push_back(decayed + scaled);
      expected_parameters.push_back(decayed - scaled);
    }
    kernels().accumulate_flat(0.7f, 0.3f, a.data(), momentum.data(), n);
    kernels().sgd(0.7f, 0.3f, a.data(), parameters.data(), n);
    ASSERT_EQ(Bits(momentum), Bits(expected_momentum)) << n;
    ASSERT_EQ(Bits(parameters), Bits(expected_parameters)) << n;
  }
}

TEST_P(FlatKernelsTest, P20_ExpandsASignPerBit) {
  for (size_t bytes = 0; bytes < 40; ++bytes) {
    std::vector<uint8_t> bits(bytes);
    for (uint8_t& byte : bits) byte = static_cast<uint8_t>(rng_());
    std::vector<float> expected, direction(8 * bytes + 1, 5.0f);
    for (size_t i = 0; i < 8 * bytes; ++i) {
      expected.push_back((bits[i / 8] >> (i % 8) & 1) != 0 ? -1.0f : 1.0f);
    }
    expected.push_back(5.0f);
    kernels().expand_signs(bits.data(), direction.data(), 8 * bytes);
    ASSERT_EQ(Bits(direction), Bits(expected)) << bytes;
  }
}

INSTANTIATE_TEST_SUITE_P(All, FlatKernelsTest, testing::ValuesIn(AvailableKernels()),
                         [](const auto& set) { return std::string(set.param->name); });

}  // namespace
}  // namespace isthmus
