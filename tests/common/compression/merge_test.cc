#include "common/compression/merge.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "common/kernels/simd.h"
#include "tests/common/compression/reference_merge.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

const PayloadFormat kFormat = DctFormat(16, 2, ValueFormat::kF32);

// One group's encoded parts, and views of them.
struct Group {
  // Of selections that become what their payloads say.
  Group(const PayloadFormat& format, std::vector<Selection> selections)
      : Group(format, 0, selections) {}
  Group(const PayloadFormat& format, uint64_t round, std::vector<Selection>& selections) {
    for (Selection& selection : selections) {
      payloads.push_back(EncodePayload(format, round, selection));
      places.push_back({round, selection.first_chunk, selection.chunk_count});
    }
    for (size_t i = 0; i < payloads.size(); ++i) {
      views.push_back(ViewOf(payloads[i], format, places[i]));
    }
  }
  Group(const Group&) = delete;
  Group(Group&&) = default;  // no payload is short enough to lie within its string
  std::vector<std::string> payloads;
  std::vector<PayloadPlace> places;
  std::vector<PayloadView> views;
};

Selection OneChunk(std::vector<uint16_t> indices, std::vector<float> values) {
  return {0, 1, std::move(indices), std::move(values)};
}

std::vector<float> MergeOneChunk(MergeRule rule, const std::vector<Selection>& selections,
                                 const std::vector<float>& weights) {
  std::vector<Group> groups;
  std::vector<MergeInput> inputs;
  for (const Selection& selection : selections)
    groups.emplace_back(kFormat, std::vector{selection});
  for (size_t i = 0; i < groups.size(); ++i) inputs.push_back({weights[i], groups[i].views});
  return Merge(rule, kFormat, 0, 1, inputs).coefficients;
}

Selection RandomSelection(Rng& rng, const PayloadFormat& format, uint64_t first_chunk,
                          uint64_t chunk_count) {
  std::vector<float> m = AdversarialVector(rng, format.chunk_size, chunk_count);
  std::string payload;
  return Extract(format, {0, first_chunk, chunk_count}, 1.0f, m, &payload);
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
  const Group group(kFormat, {{7, 3, {0, 1, 0, 1, 2, 3}, {0.0f, -0.0f, 1.0f, 0.0f, 0.0f, 0.0f}}});
  const std::vector<MergeInput> inputs = {{1.0f, group.views}};
  const MergedBucket merged = Merge(MergeRule::kSenderMean, kFormat, 6, 5, inputs);
  EXPECT_EQ(merged.present, (std::vector<uint8_t>{0, 0, 1, 0, 0}));
  EXPECT_EQ(merged.coefficients[2 * 16], 1.0f);
  EXPECT_EQ(std::count(merged.coefficients.begin(), merged.coefficients.end(), 0.0f), 5 * 16 - 1);
}

// Every rule, every way to send, weights and sets of instructions.
TEST(MergeTest, P10_P21_EqualsPlainLoopsOverSelections) {
  Rng rng(11);
  constexpr MergeRule kRules[] = {MergeRule::kSenderMean, MergeRule::kMean, MergeRule::kSum};
  for (int trial = 0; trial < Repetitions(600); ++trial) {
    const MergeRule rule = kRules[rng.Below(3)];
    const uint32_t chunk_size = 16u << rng.Below(3);
    const uint32_t counts[] = {1, 2, 4, 8, chunk_size - 1, chunk_size};
    const uint32_t k = counts[rng.Below(6)];
    const uint64_t first = rng.Below(100), count = rng.Below(40);
    std::vector<Group> groups;
    std::vector<WeightedSelection> selections;
    std::vector<uint64_t> samples;
    const size_t group_count = 1 + rng.Below(6);
    for (size_t i = 0; i < group_count; ++i) {
      samples.push_back(rng.Chance(0.1) ? 0 : trial % 2 == 0 ? 3 : rng.Below(1000));
      // Groups may differ in how they write values (P19).
      const PayloadFormat format = DctFormat(chunk_size, k, kValueFormats[rng.Below(std::size(kValueFormats))]);
      std::vector<Selection> one = {RandomSelection(rng, format, first, count)};
      groups.emplace_back(format, 0, one);
      selections.push_back({1.0f, *DecodePayload(AsBytes(groups.back().payloads[0]), format,
                                                 groups.back().places[0])});
    }
    const std::vector<float> weights = MergeWeights(samples);
    std::vector<MergeInput> inputs;
    for (size_t i = 0; i < groups.size(); ++i) {
      selections[i].weight = weights[i];
      inputs.push_back({weights[i], groups[i].views});
    }
    const MergedBucket expected = ReferenceMerge(rule, chunk_size, first, count, selections);
    const MergedBucket merged =
        Merge(rule, DctFormat(chunk_size, k, ValueFormat::kF32), first, count, inputs);
    ASSERT_EQ(Bits(merged.coefficients), Bits(expected.coefficients)) << "trial " << trial;
    ASSERT_EQ(merged.present, expected.present) << "trial " << trial;
    for (const TileKernels* kernels : AvailableKernels()) {
      TileMerger merger(rule, chunk_size, k, *kernels);
      if (count == 0) continue;
      const uint64_t at = rng.Below(count);
      const uint32_t present = merger.Merge(first + at, 1, inputs);
      ASSERT_EQ(present, expected.present[at]);
      for (size_t i = 0; i < chunk_size; ++i) {
        ASSERT_EQ(Bits({merger.tile() + i * kTileChunks, 1}),
                  Bits({&expected.coefficients[at * chunk_size + i], 1}));
      }
    }
  }
}

// Two ways to merge one-bit values, whoever sends them in whatever parts.
TEST(MergeTest, P10_P21_OneBitValuesMergeByMasksAsTheyDoOneByOne) {
  Rng rng(17);
  for (uint32_t size : {16u, 32u, 64u, 128u, 1024u, 4096u}) {
    for (int trial = 0; trial < 2 * Repetitions(3); ++trial) {
      const PayloadFormat format = DctFormat(
          size, size == 16 ? 3 : 4, trial % 2 == 0 ? ValueFormat::kOneBit : ValueFormat::kSign);
      std::vector<Group> groups;
      std::vector<float> weights;
      for (uint64_t group = 0, count = 1 + rng.Below(20); group < count; ++group) {
        std::vector<Selection> parts;
        for (uint64_t first = 100; first < 120;) {
          const uint64_t chunks =
              std::min<uint64_t>(rng.Chance(0.3) ? 1 : 1 + rng.Below(20), 120 - first);
          parts.push_back(RandomSelection(rng, format, first, chunks));
          first += chunks;
        }
        groups.emplace_back(format, parts);
        weights.push_back(rng.Chance(0.2) ? 0.0f : static_cast<float>(rng.Uniform()));
      }
      for (const TileKernels* kernels : AvailableKernels()) {
        TileMerger by_masks(MergeRule::kSenderMean, size, format.k, *kernels);
        TileMerger by_values(MergeRule::kSenderMean, size, format.k, *kernels);
        for (auto [first, chunks] : {std::pair{100, 16}, {104, 16}, {116, 4}, {103, 1}}) {
          const auto merge = [&](TileMerger& merger, bool sign_tiles) {
            merger.Begin(sign_tiles);
            for (size_t i = 0; i < groups.size(); ++i) {
              for (const PayloadView& part : groups[i].views) {
                ASSERT_TRUE(part.has_sign_tiles());
                merger.Add(part, weights[i], static_cast<uint64_t>(first), chunks);
              }
            }
            // (Lanes beyond the last chunk hold anything.)
          };
          merge(by_masks, true);
          merge(by_values, false);
          const uint32_t present = by_values.Finish(groups.size());
          ASSERT_EQ(by_masks.Finish(groups.size()), present);
          for (uint32_t i = 0; i < size * kTileChunks; ++i) {
            if (static_cast<int>(i % kTileChunks) >= chunks) continue;
            ASSERT_EQ(Bits({by_masks.tile() + i, 1}), Bits({by_values.tile() + i, 1})) << size;
          }
        }
      }
    }
  }
}

TEST(MergeTest, P10_TheOrderOfPartsDoesNotMatter) {
  Rng rng(11);
  for (int trial = 0; trial < Repetitions(50); ++trial) {
    std::vector<Group> groups;
    for (int i = 0; i < 3; ++i) {
      std::vector<Selection> parts;
      for (uint64_t first : {0, 5, 6}) {
        parts.push_back(RandomSelection(rng, kFormat, first, first == 0 ? 5 : first == 5 ? 1 : 4));
      }
      groups.emplace_back(kFormat, parts);
    }
    std::vector<MergeInput> inputs;
    for (const Group& group : groups) inputs.push_back({0.7f, group.views});
    const MergedBucket expected = Merge(MergeRule::kSenderMean, kFormat, 0, 10, inputs);
    for (Group& group : groups) std::shuffle(group.views.begin(), group.views.end(), rng);
    const MergedBucket shuffled = Merge(MergeRule::kSenderMean, kFormat, 0, 10, inputs);
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
  const Group one(kFormat, {whole});
  const Group ten(kFormat, parts);
  const std::vector<MergeInput> of_one = {{1.0f, one.views}};
  const std::vector<MergeInput> of_ten = {{1.0f, ten.views}};
  EXPECT_EQ(Bits(Merge(MergeRule::kMean, kFormat, 0, 10, of_one).coefficients),
            Bits(Merge(MergeRule::kMean, kFormat, 0, 10, of_ten).coefficients));
}

TEST(MergeTest, TakesSelectionsWithoutIndices) {
  const PayloadFormat format{Transform::kNone, 2, 2, ValueFormat::kF32};
  const Group all(format, {{0, 2, {}, {1.0f, 0.0f, 3.0f, -4.0f}}});
  const std::vector<MergeInput> inputs = {{2.0f, all.views}};
  EXPECT_EQ(Merge(MergeRule::kSum, format, 0, 2, inputs).coefficients,
            (std::vector<float>{2.0f, 0.0f, 6.0f, -8.0f}));
}

TEST(MergeTest, P19_HugeValuesAreBoundedAndUnderflowIsPlusZero) {
  const std::vector<Selection> groups = {OneChunk({0, 1}, {3e38f, -1e-45f}),
                                         OneChunk({0, 2}, {3e38f, 1.0f})};
  const auto merged = MergeOneChunk(MergeRule::kMean, groups, {1.0f, 1.0f});
  EXPECT_EQ(merged[0], 0x1p100f);
  EXPECT_EQ(std::bit_cast<uint32_t>(merged[1]), 0u);
}

TEST(MergeTest, ManyHugeWeightedValuesStayFinite) {
  std::vector<Selection> groups(1000, OneChunk({0, 1}, {3e38f, -3e38f}));
  for (MergeRule rule : {MergeRule::kSenderMean, MergeRule::kMean, MergeRule::kSum}) {
    for (float value : MergeOneChunk(rule, groups, std::vector<float>(1000, 1000.0f))) {
      EXPECT_TRUE(std::isfinite(value));
      EXPECT_LE(std::abs(value), 0x1p120f);  // so its inverse transform is finite, too
    }
  }
}

TEST(MergeTest, NothingIsNothing) {
  const MergedBucket merged = Merge(MergeRule::kMean, kFormat, 0, 3, {});
  EXPECT_EQ(merged.present, std::vector<uint8_t>(3));
  EXPECT_EQ(merged.coefficients, std::vector<float>(48));
  EXPECT_TRUE(Merge(MergeRule::kMean, kFormat, 0, 0, {}).coefficients.empty());
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
