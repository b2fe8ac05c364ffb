// Every available set of kernels against plain loops: what works element by element.
#include <gtest/gtest.h>

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
