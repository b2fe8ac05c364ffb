// Every available set of kernels against the naive one: what works element by element.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/kernels/bfloat16.h"
#include "tests/common/kernels/kernel_data.h"

namespace isthmus {
namespace {

class FlatKernelsTest : public testing::TestWithParam<const TileKernels*> {
 protected:
  const TileKernels& kernels() const { return *GetParam(); }
  float AnyNumber() {
    return rng_.Chance(0.1) ? ExtremeNumber(rng_)
                            : AdversarialNumber(rng_, rng_.Below(kCharacters));
  }
  // Bit for bit, but for what a NaN carries.
  void ExpectSameNumbers(std::vector<float> actual, std::vector<float> expected) {
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(std::isnan(actual[i]), std::isnan(expected[i])) << i;
      if (std::isnan(actual[i])) actual[i] = expected[i] = 0.0f;
    }
    ASSERT_EQ(Bits(actual), Bits(expected)) << actual.size();
  }
  Rng rng_{9};
};

TEST_P(FlatKernelsTest, P10_MeanDividesByTheSendersAndIsNeverMinusZero) {
  for (int most = 1; most <= 7; ++most) {
    for (size_t n : {size_t{0}, size_t{1}, size_t{5}, size_t{64}, size_t{1000}}) {
      std::vector<float> pairs, expected(n), out(n, 9.0f);
      for (size_t i = 0; i < n; ++i) {
        const auto count = static_cast<float>(rng_.Below(static_cast<uint64_t>(most) + 1));
        pairs.insert(pairs.end(), {AnyNumber(), count});
      }
      naive::kKernels.mean(static_cast<float>(most), pairs.data(), expected.data(), n);
      kernels().mean(static_cast<float>(most), pairs.data(), out.data(), n);
      ASSERT_EQ(Bits(out), Bits(expected)) << most << " " << n;
      for (uint32_t bits : Bits(out)) ASSERT_NE(bits, 0x80000000u);
    }
  }
}

TEST_P(FlatKernelsTest, P17_P21_FlatMomentumAndSgdRoundEachOperationOnce) {
  for (size_t n = 0; n < 70; ++n) {
    std::vector<float> a, b;
    for (size_t i = 0; i < n; ++i) {
      a.push_back(AnyNumber());
      b.push_back(AnyNumber());
    }
    std::vector<float> momentum = b, parameters = b;
    std::vector<float> expected_momentum = b, expected_parameters = b;
    naive::kKernels.accumulate_flat(0.7f, 0.3f, a.data(), expected_momentum.data(), n);
    naive::kKernels.sgd(0.7f, 0.3f, a.data(), expected_parameters.data(), n);
    kernels().accumulate_flat(0.7f, 0.3f, a.data(), momentum.data(), n);
    kernels().sgd(0.7f, 0.3f, a.data(), parameters.data(), n);
    ASSERT_EQ(Bits(momentum), Bits(expected_momentum)) << n;
    ASSERT_EQ(Bits(parameters), Bits(expected_parameters)) << n;
  }
}

// With what no job should hold among it.
TEST_P(FlatKernelsTest, P18_P29_ProgressIsTakenAndJudgedAsTheNaiveOneIs) {
  constexpr float kMost = 1e30f;
  constexpr float kUnusable[] = {kMost, 1.1e30f, std::numeric_limits<float>::infinity(),
                                 std::numeric_limits<float>::quiet_NaN()};
  for (size_t n = 0; n < 70; ++n) {
    for (const float weight : {1.0f, 0.3f, 1.5f}) {
      std::vector<float> given, now;
      std::vector<uint16_t> halves;
      for (size_t i = 0; i < n; ++i) {
        given.push_back(AnyNumber());
        now.push_back(rng_.Chance(0.3) ? given.back() : AnyNumber());
        halves.push_back(ToBfloat16(now.back()));
      }
      if (n > 0 && rng_.Chance(0.5)) {
        const size_t i = rng_.Below(n);
        now[i] = kUnusable[rng_.Below(4)] * (rng_.Chance(0.5) ? 1.0f : -1.0f);
        halves[i] = ToBfloat16(now[i]);
      }
      std::vector<float> progress(n), expected(n), in_place = given;
      bool usable =
          naive::kKernels.progress(kMost, weight, given.data(), now.data(), expected.data(), n);
      EXPECT_EQ(kernels().progress(kMost, weight, given.data(), now.data(), progress.data(), n),
                usable);
      ExpectSameNumbers(progress, expected);
      EXPECT_EQ(kernels().progress(kMost, weight, in_place.data(), now.data(), in_place.data(), n),
                usable);
      ExpectSameNumbers(in_place, expected);
      usable = naive::kKernels.progress_bf16(kMost, weight, given.data(), halves.data(),
                                             expected.data(), n);
      in_place = given;
      EXPECT_EQ(
          kernels().progress_bf16(kMost, weight, given.data(), halves.data(), progress.data(), n),
          usable);
      ExpectSameNumbers(progress, expected);
      EXPECT_EQ(kernels().progress_bf16(kMost, weight, in_place.data(), halves.data(),
                                        in_place.data(), n),
                usable);
      ExpectSameNumbers(in_place, expected);
    }
  }
}

TEST_P(FlatKernelsTest, P18_AnUnusableNumberIsFoundWhereverItIs) {
  constexpr size_t kCount = 71;
  std::vector<float> given(kCount), progress(kCount);
  for (const float bad : {2.0f, -2.0f, std::numeric_limits<float>::quiet_NaN(),
                          -std::numeric_limits<float>::infinity()}) {
    for (size_t i = 0; i < kCount; ++i) {
      std::vector<float> now(kCount);
      std::vector<uint16_t> halves(kCount);
      const auto usable = [&] {
        return kernels().progress(1.5f, 1.0f, given.data(), now.data(), progress.data(), kCount);
      };
      const auto usable_bf16 = [&] {
        return kernels().progress_bf16(1.5f, 1.0f, given.data(), halves.data(), progress.data(),
                                       kCount);
      };
      EXPECT_TRUE(usable() && usable_bf16());
      now[i] = bad;
      halves[i] = ToBfloat16(bad);
      EXPECT_FALSE(usable() || usable_bf16()) << bad << " " << i;
      now[i] = 1.5f;
      halves[i] = ToBfloat16(1.5f);
      EXPECT_TRUE(usable() && usable_bf16());
    }
  }
}

TEST_P(FlatKernelsTest, P10_MeansOfSumsAreDividedOnceAndNeverMinusZero) {
  for (const float count : {1.0f, 2.0f, 3.0f, 4.0f, 7.0f, 1024.0f}) {
    for (size_t n = 0; n < 70; ++n) {
      std::vector<float> sums;
      for (size_t i = 0; i < n; ++i) sums.push_back(AnyNumber());
      std::vector<float> expected = sums;
      naive::kKernels.mean_sums(count, expected.data(), n);
      kernels().mean_sums(count, sums.data(), n);
      ASSERT_EQ(Bits(sums), Bits(expected)) << count << " " << n;
    }
  }
}

TEST_P(FlatKernelsTest, P20_ExpandsASignPerBit) {
  for (size_t bytes = 0; bytes < 40; ++bytes) {
    std::vector<uint8_t> bits(bytes);
    for (uint8_t& byte : bits) byte = static_cast<uint8_t>(rng_());
    // One number more, which must stay what it is.
    std::vector<float> expected(8 * bytes + 1, 5.0f), direction = expected;
    naive::kKernels.expand_signs(bits.data(), expected.data(), 8 * bytes);
    kernels().expand_signs(bits.data(), direction.data(), 8 * bytes);
    ASSERT_EQ(Bits(direction), Bits(expected)) << bytes;
  }
}

INSTANTIATE_TEST_SUITE_P(All, FlatKernelsTest, testing::ValuesIn(AvailableKernels()),
                         [](const auto& set) { return std::string(set.param->name); });

}  // namespace
}  // namespace isthmus
