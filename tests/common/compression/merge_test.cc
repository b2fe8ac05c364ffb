#include "common/compression/merge.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

const PayloadFormat kFormat{Transform::kDct, 16, 2, ValueFormat::kF32};

Selection OneChunk(std::vector<uint16_t> indices, std::vector<float> values) {
  return {0, 1, std::move(indices), std::move(values)};
}

std::vector<float> MergeOneChunk(MergeRule rule, const std::vector<Selection>& groups,
                                 const std::vector<float>& weights) {
  std::vector<MergeInput> inputs;
  for (size_t i = 0; i < groups.size(); ++i) inputs.push_back({weights[i], {&groups[i], 1}});
  return Merge(rule, 16, 2, 0, 1, inputs).coefficients;
}

TEST(MergeTest, P10_RulesDifferInWhatTheyDivideBy) {
  const std::vector<Selection> groups = {OneChunk({0, 1}, {4.0f, 2.0f}),
                                         OneChunk({1, 2}, {6.0f, 8.0f})};
  const std::vector<float> ones = {1.0f, 1.0f};
  const auto mean = MergeOneChunk(MergeRule::kMean, groups, ones);
  const auto sender_mean = MergeOneChunk(MergeRule::kSenderMean, groups, ones);
  const auto sum = MergeOneChunk(MergeRule::kSum, groups, ones);
  EXPECT_EQ(std::vector<float>(mean.begin(), mean.begin() + 4),
            (std::vector<float>{2.0f, 4.0f, 4.0f, 0.0f}));
  EXPECT_EQ(std::vector<float>(sender_mean.begin(), sender_mean.begin() + 4),
            (std::vector<float>{4.0f, 4.0f, 8.0f, 0.0f}));
  EXPECT_EQ(std::vector<float>(sum.begin(), sum.begin() + 4),
            (std::vector<float>{4.0f, 8.0f, 8.0f, 0.0f}));
}

TEST(MergeTest, ZerosOfEitherSignAreNotSent) {
  const std::vector<Selection> groups = {OneChunk({0, 1}, {0.0f, 3.0f}),
                                         OneChunk({0, 1}, {5.0f, -0.0f})};
  const auto merged = MergeOneChunk(MergeRule::kSenderMean, groups, {1.0f, 1.0f});
  EXPECT_EQ(merged[0], 5.0f);
  EXPECT_EQ(merged[1], 3.0f);
}

TEST(MergeTest, P10_AGroupOfWeightZeroDilutesNothing) {
  const std::vector<Selection> groups = {OneChunk({0, 1}, {4.0f, 2.0f}),
                                         OneChunk({0, 2}, {6.0f, 8.0f})};
  const auto merged = MergeOneChunk(MergeRule::kSenderMean, groups, {1.0f, 0.0f});
  EXPECT_EQ(merged[0], 4.0f);
  EXPECT_EQ(merged[2], 0.0f);
}

TEST(MergeTest, PresenceSaysWhereSomethingWasSent) {
  const Selection part{7, 3, {0, 1, 0, 1, 2, 3}, {0.0f, -0.0f, 1.0f, 0.0f, 0.0f, 0.0f}};
  const std::vector<MergeInput> inputs = {{1.0f, {&part, 1}}};
  const MergedBucket merged = Merge(MergeRule::kSenderMean, 16, 2, 6, 5, inputs);
  EXPECT_EQ(merged.present, (std::vector<uint8_t>{0, 0, 1, 0, 0}));
  EXPECT_EQ(merged.coefficients[2 * 16], 1.0f);
  EXPECT_EQ(std::count(merged.coefficients.begin(), merged.coefficients.end(), 0.0f), 5 * 16 - 1);
}

TEST(MergeTest, P10_TheOrderOfPartsDoesNotMatter) {
  Rng rng(11);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<std::vector<Selection>> groups(3);
    for (auto& parts : groups) {
      for (uint64_t first : {0, 5, 6}) {
        parts.push_back(RandomSelection(rng, kFormat, first, first == 0 ? 5 : first == 5 ? 1 : 4));
      }
    }
    std::vector<MergeInput> inputs;
    for (const auto& parts : groups) inputs.push_back({0.7f, parts});
    const MergedBucket expected = Merge(MergeRule::kSenderMean, 16, 2, 0, 10, inputs);
    for (auto& parts : groups) std::shuffle(parts.begin(), parts.end(), rng);
    const MergedBucket shuffled = Merge(MergeRule::kSenderMean, 16, 2, 0, 10, inputs);
    EXPECT_EQ(Bits(shuffled.coefficients), Bits(expected.coefficients));
    EXPECT_EQ(shuffled.present, expected.present);
  }
}

TEST(MergeTest, P21_HowTheBucketIsCutIntoPartsDoesNotMatter) {
  Rng rng(12);
  const Selection whole = RandomSelection(rng, kFormat, 0, 10);
  std::vector<Selection> parts;
  for (uint64_t chunk = 0; chunk < 10; ++chunk) {
    const auto at = static_cast<ptrdiff_t>(2 * chunk);
    parts.push_back({chunk,
                     1,
                     {whole.indices.begin() + at, whole.indices.begin() + at + 2},
                     {whole.values.begin() + at, whole.values.begin() + at + 2}});
  }
  const std::vector<MergeInput> one = {{1.0f, {&whole, 1}}};
  const std::vector<MergeInput> ten = {{1.0f, parts}};
  EXPECT_EQ(Bits(Merge(MergeRule::kMean, 16, 2, 0, 10, one).coefficients),
            Bits(Merge(MergeRule::kMean, 16, 2, 0, 10, ten).coefficients));
}

TEST(MergeTest, TakesSelectionsWithoutIndices) {
  const std::vector<float> values = {1.0f, 0.0f, 3.0f, -4.0f};
  const Selection all{0, 2, {}, values};
  const std::vector<MergeInput> inputs = {{2.0f, {&all, 1}}};
  EXPECT_EQ(Merge(MergeRule::kSum, 2, 2, 0, 2, inputs).coefficients,
            (std::vector<float>{2.0f, 0.0f, 6.0f, -8.0f}));
}

TEST(MergeTest, OverflowSaturatesAndUnderflowIsPlusZero) {
  const std::vector<Selection> groups = {OneChunk({0, 1}, {3e38f, -1e-45f}),
                                         OneChunk({0, 2}, {3e38f, 1.0f})};
  const auto merged = MergeOneChunk(MergeRule::kMean, groups, {1.0f, 1.0f});
  EXPECT_EQ(merged[0], std::numeric_limits<float>::max() / 2.0f);
  EXPECT_EQ(std::bit_cast<uint32_t>(merged[1]), 0u);
}

TEST(MergeTest, HugeWeightedValuesOfEitherSignStayFinite) {
  const std::vector<Selection> groups = {OneChunk({0, 1}, {3e38f, 3e38f}),
                                         OneChunk({0, 1}, {-3e38f, -2e38f})};
  for (float value : MergeOneChunk(MergeRule::kSum, groups, {2.0f, 2.0f})) {
    EXPECT_TRUE(std::isfinite(value));
  }
}

TEST(MergeTest, NothingIsNothing) {
  const MergedBucket merged = Merge(MergeRule::kMean, 16, 2, 0, 3, {});
  EXPECT_EQ(merged.present, std::vector<uint8_t>(3));
  EXPECT_EQ(merged.coefficients, std::vector<float>(48));
  EXPECT_TRUE(Merge(MergeRule::kMean, 16, 2, 0, 0, {}).coefficients.empty());
}

TEST(MergeTest, P10_WeightsAreExactlyOneWhenEqual) {
  for (uint64_t n : {uint64_t{0}, uint64_t{1}, uint64_t{3}, uint64_t{1} << 60}) {
    const std::vector<uint64_t> samples(7, n);
    EXPECT_EQ(MergeWeights(samples), std::vector<float>(7, 1.0f));
  }
  EXPECT_TRUE(MergeWeights({}).empty());
}

TEST(MergeTest, P10_WeightsAreSharesTimesTheCount) {
  const std::vector<uint64_t> samples = {1, 3, 0};
  EXPECT_EQ(MergeWeights(samples), (std::vector<float>{0.75f, 2.25f, 0.0f}));
}

}  // namespace
}  // namespace isthmus
