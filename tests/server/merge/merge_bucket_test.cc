#include "server/merge/merge_bucket.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/base/rng.h"
#include "common/compression/update_payload.h"
#include "common/kernels/simd.h"
#include "common/run/run_spec.h"

namespace isthmus {
namespace {

constexpr uint64_t kRound = 5;
constexpr uint64_t kFirst = 32;  // the bucket's chunks
constexpr uint64_t kCount = 8;
constexpr PayloadPlace kPlace{kRound, {kFirst, kCount}};

RunSpec SmallRun() {
  RunSpec run;
  run.format.chunk_size = 16;
  run.format.all.k = 2;
  run.format.all.values = ValueFormat::kF32;
  run.sign = false;
  return run;
}

// Chunks [first, first + count) with values at the first k places of each chunk.
StoredPart Part(const RunSpec& run, uint64_t first, uint64_t count,
                const std::function<float()>& value) {
  Selection part{first, count, {}, {}};
  for (uint64_t i = 0; i < count * run.format.all.k; ++i) {
    if (run.format.all.k < run.format.chunk_size)
      part.indices.push_back(static_cast<uint16_t>(i % run.format.all.k));
    part.values.push_back(value());
  }
  return {{kRound, first, count},
          EncodePayload(RoundFormats(run).FormatAt(Round(1), GroupId(1)), kRound, part)};
}

std::vector<Contributor> Contributors(const std::vector<uint64_t>& samples) {
  std::vector<Contributor> contributors;
  for (uint64_t s : samples) {
    const GroupId next(static_cast<uint32_t>(contributors.size() + 1));
    contributors.push_back({next, Incarnation(1), s, 0.0f});
  }
  return contributors;
}

// The direction's first element, which all chunks have alike.
float Direction(const RunSpec& run, const std::string& payload) {
  const auto view = UpdateView::Parse(std::as_bytes(std::span(payload)),
                                      RoundFormats(run).MergedAt(Round(1)), kPlace);
  EXPECT_TRUE(view.ok()) << view.status();
  std::vector<float> coefficients(kCount * run.format.chunk_size);
  DirectionScratch scratch(RoundFormats(run).MergedAt(Round(1)), ActiveKernels());
  if (view.ok()) view->Direction(kFirst, coefficients, nullptr, scratch);
  return coefficients[0];
}

// Without a transform, so that the direction is the merged value itself.
float MergeOfConstants(MergeRule rule, const std::vector<float>& values,
                       const std::vector<uint64_t>& samples) {
  RunSpec run = SmallRun();
  run.scheme = Scheme::kFull;
  run.format.all.k = 2;
  run.merge = rule;
  std::vector<std::vector<StoredPart>> parts;
  for (float value : values) {
    int element = 0;  // the other element keeps the chunk present
    parts.push_back({Part(run, kFirst, kCount, [&] { return element++ % 2 == 0 ? value : 8.0f; })});
  }
  return Direction(run,
                   MergeContributions(RoundFormats(run), kPlace, Contributors(samples), parts));
}

TEST(MergeBucketTest, NobodyMakesAnEmptyUpdate) {
  EXPECT_EQ(MergeContributions(RoundFormats(SmallRun()), kPlace, {}, {}), "");
  EXPECT_FALSE(ForwardContributions(RoundFormats(SmallRun()), kPlace, {}));
}

TEST(MergeBucketTest, P10_TheOrderOfArrivalOfPartsDoesNotMatter) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Rng rng(seed);
    const auto value = [&] { return static_cast<float>(rng.Uniform() - 0.5); };
    std::vector<std::vector<StoredPart>> parts(3);
    for (auto& group : parts) {
      for (uint64_t chunk = 0; chunk < kCount; chunk += 2) {
        group.push_back(Part(SmallRun(), kFirst + chunk, 2, value));
      }
    }
    const auto contributors = Contributors({3, 1 + rng.Below(5), 7});
    const std::string in_order =
        MergeContributions(RoundFormats(SmallRun()), kPlace, contributors, parts);
    ASSERT_FALSE(in_order.empty());
    for (int i = 0; i < 5; ++i) {
      for (auto& group : parts) std::shuffle(group.begin(), group.end(), rng);
      ASSERT_EQ(MergeContributions(RoundFormats(SmallRun()), kPlace, contributors, parts), in_order)
          << "seed " << seed;
    }
  }
}

// `groups` groups send `chunks` chunks each, of which the first `absent` are absent.
bool Forwards(const RunSpec& run, uint64_t groups, uint64_t chunks, uint64_t absent = 0) {
  const PayloadPlace place{kRound, {kFirst, chunks}};
  std::vector<std::vector<StoredPart>> parts;
  for (uint64_t g = 0; g < groups; ++g) {
    uint64_t element = 0;
    parts.push_back({Part(run, kFirst, chunks, [&] {
      return element++ < absent * run.format.all.k ? 0.0f
                                                   : 1.0f + 0.25f * static_cast<float>(element % 3);
    })});
  }
  const bool forwards = ForwardContributions(RoundFormats(run), place, parts);
  // Never more than the update would be.
  const std::string update = MergeContributions(
      RoundFormats(run), place, Contributors(std::vector<uint64_t>(groups, 1)), parts);
  EXPECT_LE(SmallestUpdateBytes(RoundFormats(run).MergedAt(Round(1)), chunks - absent),
            update.size());
  if (forwards && absent == 0) {
    EXPECT_LE(parts[0][0].payload.size() * (groups - 1), update.size());
  }
  return forwards;
}

TEST(MergeBucketTest, P20_ContributionsAreForwardedWhereTheyAreSmaller) {
  RunSpec one_bit = DefaultRunSpec(Scheme::kFlexDemo);
  one_bit.format.all.k = 4;  // 4 bytes per chunk; its signs take 8
  EXPECT_TRUE(Forwards(one_bit, 1, 1024));
  EXPECT_TRUE(Forwards(one_bit, 2, 1024));
  EXPECT_FALSE(Forwards(one_bit, 3, 1024));  // only the headers are longer
  EXPECT_TRUE(Forwards(one_bit, 3, 1024, 64));
  EXPECT_FALSE(Forwards(one_bit, 8, 1024));
  const RunSpec full = DefaultRunSpec(Scheme::kFull);
  EXPECT_TRUE(Forwards(full, 2, 4));
  EXPECT_FALSE(Forwards(full, 3, 4));
  EXPECT_FALSE(Forwards(full, 8, 4));
  RunSpec exact = one_bit;
  exact.format.all.values = ValueFormat::kF32;
  EXPECT_FALSE(Forwards(exact, 2, 1024));
  EXPECT_TRUE(Forwards(exact, 1, 1024));  // to the only contributor nothing is sent
}

RunSpec LocalRun(ValueFormat values) {
  RunSpec run = DefaultRunSpec(Scheme::kLocal);
  run.format.all.values = values;
  return run;
}

// A scale and 64 values.
uint64_t BlockBits(ValueFormat values) { return 8 + 64 * static_cast<uint64_t>(ValueBits(values)); }

// Here the update would say something else, so what was sent must not decide.
TEST(MergeBucketTest, P20_BlocksAreForwardedByTheNumberOfContributorsAlone) {
  const std::pair<ValueFormat, ValueFormat> formats[] = {
      {ValueFormat::kOneBit, ValueFormat::kTwoBit},
      {ValueFormat::kTwoBit, ValueFormat::kInt4},
      {ValueFormat::kInt4, ValueFormat::kInt4}};
  for (const auto& [up, down] : formats) {
    const RunSpec run = LocalRun(up);
    const RoundFormats round_formats(run);
    for (uint64_t groups = 1; groups <= 6; ++groups) {
      const bool expected = (groups - 1) * BlockBits(up) <= BlockBits(down);
      for (const uint64_t absent : {0, 1, 20, 39}) {
        uint64_t element = 0;
        const StoredPart some =
            Part(run, kFirst, 40, [&] { return element++ < 64 * absent ? 0.0f : 1.0f; });
        const std::vector<std::vector<StoredPart>> parts(groups, {some});
        EXPECT_EQ(ForwardContributions(round_formats, {kRound, {kFirst, 40}}, parts), expected)
            << Name(up) << ", " << groups << " groups, " << absent << " absent chunks";
      }
      const StoredPart nothing = Part(run, kFirst, 40, [] { return 0.0f; });
      std::vector<std::vector<StoredPart>> parts(groups, {nothing});
      EXPECT_EQ(ForwardContributions(round_formats, {kRound, {kFirst, 40}}, parts), expected);
      parts[0] = {Part(run, kFirst, 10, [] { return 1.0f; }),
                  Part(run, kFirst + 10, 30, [] { return 1.0f; })};
      EXPECT_EQ(ForwardContributions(round_formats, {kRound, {kFirst, 40}}, parts), expected);
    }
    EXPECT_FALSE(ForwardContributions(round_formats, {kRound, {kFirst, 40}}, {}));
  }
}

// As written out: beyond the second group an update is quantized again.
TEST(MergeBucketTest, P20_ASecondContributionOfBlocksIsForwardedAndAThirdIsNot) {
  for (ValueFormat values : {ValueFormat::kOneBit, ValueFormat::kTwoBit, ValueFormat::kInt4}) {
    const RunSpec run = LocalRun(values);
    const std::vector<StoredPart> all = {Part(run, kFirst, kCount, [] { return 1.0f; })};
    for (uint64_t groups = 1; groups <= 6; ++groups) {
      EXPECT_EQ(ForwardContributions(RoundFormats(run), kPlace,
                                     std::vector<std::vector<StoredPart>>(groups, all)),
                groups <= 2)
          << Name(values) << ", " << groups << " groups";
    }
  }
}

TEST(MergeBucketTest, P20_AnUpdateOfBlocksDoesNotGrowWithItsContributors) {
  const std::pair<ValueFormat, uint64_t> formats[] = {
      {ValueFormat::kOneBit, 2}, {ValueFormat::kTwoBit, 2}, {ValueFormat::kInt4, 1}};
  for (const auto& [values, times] : formats) {
    const RunSpec run = LocalRun(values);
    Rng rng(3);
    std::vector<std::vector<StoredPart>> parts;
    for (uint64_t groups = 1; groups <= 20; ++groups) {
      parts.push_back(
          {Part(run, kFirst, kCount, [&] { return static_cast<float>(rng.Uniform() - 0.5); })});
      const std::string update = MergeContributions(
          RoundFormats(run), kPlace, Contributors(std::vector<uint64_t>(groups, 1)), parts);
      const uint64_t contribution = parts[0][0].payload.size();
      // Besides the blocks, only the header that an update has before its payload.
      EXPECT_LE(update.size(), times * contribution + (times == 1 ? 32 : 0)) << groups;
      EXPECT_EQ(update.size(),
                SmallestUpdateBytes(RoundFormats(run).MergedAt(Round(kRound)), kCount));
      EXPECT_TRUE(std::isfinite(Direction(run, update)));
    }
  }
}

TEST(MergeBucketTest, P10_EqualSamplesWeighExactlyOne) {
  const std::vector<float> values = {0.1f, 0.2f, 0.4f};
  const float equal = MergeOfConstants(MergeRule::kSum, values, {5, 5, 5});
  EXPECT_EQ(equal, (0.1f + 0.2f) + 0.4f);
  EXPECT_EQ(MergeOfConstants(MergeRule::kSum, values, {0, 0, 0}), equal);
}

TEST(MergeBucketTest, P10_UnequalSamplesWeighByTheirShare) {
  // Weights w n / sum(w): 1.5 and 0.5.
  EXPECT_EQ(MergeOfConstants(MergeRule::kSum, {1.0f, 4.0f}, {3, 1}), 3.5f);
  EXPECT_EQ(MergeOfConstants(MergeRule::kMean, {1.0f, 4.0f}, {3, 1}), 1.75f);
}

TEST(MergeBucketTest, P10_TheRunsRuleDecidesWhatAMeanIs) {
  const std::vector<float> values = {2.0f, 0.0f, 4.0f};  // an exact zero was not sent
  EXPECT_EQ(MergeOfConstants(MergeRule::kSenderMean, values, {1, 1, 1}), 3.0f);
  EXPECT_EQ(MergeOfConstants(MergeRule::kMean, values, {1, 1, 1}), 2.0f);
  EXPECT_EQ(MergeOfConstants(MergeRule::kSum, values, {1, 1, 1}), 6.0f);
}

}  // namespace
}  // namespace isthmus
