#include "server/merge/merge_bucket.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "common/compression/update_payload.h"

namespace isthmus {
namespace {

constexpr uint64_t kFirst = 32;  // the bucket's chunks
constexpr uint64_t kCount = 8;

RunSpec SmallRun() {
  RunSpec run;
  run.chunk_size = 16;
  run.k = 2;
  run.values = ValueFormat::kF32;
  run.sign = false;
  return run;
}

// Chunks [first, first + count) with values at the first k places of each chunk.
Selection Part(uint64_t first, uint64_t count, const std::function<float()>& value) {
  Selection part{first, count, {}, {}};
  for (uint64_t i = 0; i < count * 2; ++i) {
    part.indices.push_back(static_cast<uint16_t>(i % 2));
    part.values.push_back(value());
  }
  return part;
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
  const auto view =
      UpdateView::Parse(std::as_bytes(std::span(payload)), MergedFormat(run), kFirst, kCount);
  EXPECT_TRUE(view.ok()) << view.status();
  std::vector<float> coefficients(kCount * run.chunk_size);
  if (view.ok()) view->Direction(kFirst, coefficients);
  return coefficients[0];
}

// Without a transform, so that the direction is the merged value itself.
float MergeOfConstants(MergeRule rule, const std::vector<float>& values,
                       const std::vector<uint64_t>& samples) {
  RunSpec run = SmallRun();
  run.scheme = Scheme::kFull;
  run.k = 2;
  run.merge = rule;
  std::vector<std::vector<Selection>> parts;
  for (float value : values) parts.push_back({Part(kFirst, kCount, [&] { return value; })});
  return Direction(run, MergeContributions(run, kFirst, kCount, Contributors(samples), parts));
}

TEST(MergeBucketTest, NobodyMakesAnEmptyUpdate) {
  EXPECT_EQ(MergeContributions(SmallRun(), kFirst, kCount, {}, {}), "");
}

TEST(MergeBucketTest, P10_TheOrderOfArrivalOfPartsDoesNotMatter) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Rng rng(seed);
    const auto value = [&] { return static_cast<float>(rng.Uniform() - 0.5); };
    std::vector<std::vector<Selection>> parts(3);
    for (auto& group : parts) {
      for (uint64_t chunk = 0; chunk < kCount; chunk += 2) {
        group.push_back(Part(kFirst + chunk, 2, value));
      }
    }
    const auto contributors = Contributors({3, 1 + rng.Below(5), 7});
    const std::string in_order =
        MergeContributions(SmallRun(), kFirst, kCount, contributors, parts);
    ASSERT_FALSE(in_order.empty());
    for (int i = 0; i < 5; ++i) {
      for (auto& group : parts) std::shuffle(group.begin(), group.end(), rng);
      ASSERT_EQ(MergeContributions(SmallRun(), kFirst, kCount, contributors, parts), in_order)
          << "seed " << seed;
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
