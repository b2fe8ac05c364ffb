// Every available set of kernels against the naive one: what works element by element.
#include <gtest/gtest.h>

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
