// Gradients that are no numbers, steps without gradients, learning rates that differ.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "tests/e2e/harness.h"

namespace isthmus::e2e {
namespace {

constexpr uint64_t kRounds = 8;

class NumbersTest : public ::testing::Test {
 protected:
  // Group 1 has one rank, group 2 two; `options` are those of group 2.
  void Train(const JobOptions& options) {
    Job first(one_, {});
    Job second(two_, options);
    a_ = first.Await();
    b_ = second.Await();
    ExpectEqualEnds({&a_, &b_}, coordinator_.ExpectEqualHashes(2));
    status_ = coordinator_.Status();
  }

  TestCoordinator coordinator_{SmallRun(2, kRounds)};
  Site one_{coordinator_.address(), 1, 1};
  Site two_{coordinator_.address(), 2, 2};
  std::vector<RankOutcome> a_, b_;
  v1::GetStatusReply status_;
};

TEST_F(NumbersTest, P18_NanAtOneRankCostsThatBucketOfThatRound) {
  JobOptions options;
  options.edit = [](uint32_t rank, uint64_t round, client::Session& session) {
    if (rank == 1 && round == 4) {
      session.FlatGradients()[5000] = std::numeric_limits<float>::quiet_NaN();
    }
    if (rank == 0 && round == 6) {
      session.FlatGradients()[10] = std::numeric_limits<float>::infinity();
      session.FlatGradients()[9000] = -std::numeric_limits<float>::infinity();
    }
  };
  Train(options);
  for (uint64_t s = 0; s < kRounds; ++s) {
    EXPECT_EQ(a_[0].steps[s].merged_here, 4u);
    const uint32_t lost = s + 1 == 4 ? 1 : s + 1 == 6 ? 2 : 0;
    for (const RankOutcome& rank : b_) EXPECT_EQ(rank.steps[s].merged_here, 4 - lost);
    EXPECT_EQ(a_[0].steps[s].contributors, s + 1 == 6 ? 1u : 2u);  // of bucket 0
  }
  EXPECT_EQ(coordinator_.Group(2).heartbeat().nonfinite_buckets(), 3u);
  EXPECT_EQ(coordinator_.Group(1).heartbeat().nonfinite_buckets(), 0u);
  EXPECT_EQ(status_.abstentions(), 3u);
  EXPECT_EQ(status_.contributions_late(), 0u);
}

TEST_F(NumbersTest, OneRankWithTheSkipFlagMakesItsGroupSitTheRoundOut) {
  JobOptions options;
  options.skip = [](uint32_t rank, uint64_t round) { return rank == 1 && round == 3; };
  options.edit = [](uint32_t rank, uint64_t round, client::Session& session) {
    if (rank != 1 || round != 3) return;
    for (float& g : session.Gradient(0)) g = std::numeric_limits<float>::quiet_NaN();  // unread
  };
  Train(options);
  for (uint64_t s = 0; s < kRounds; ++s) {
    EXPECT_EQ(b_[0].steps[s].merged_here, s + 1 == 3 ? 0u : 4u);
    EXPECT_EQ(a_[0].steps[s].contributors, s + 1 == 3 ? 1u : 2u);
  }
  EXPECT_EQ(status_.abstentions(), 4u);
  EXPECT_EQ(coordinator_.Group(2).heartbeat().nonfinite_buckets(), 0u);
}

TEST_F(NumbersTest, WhenAllAbstainTheRoundPassesAndChangesNothing) {
  std::vector<float> before;
  JobOptions options;
  options.skip = [](uint32_t, uint64_t round) { return round == 3; };
  options.edit = [&](uint32_t rank, uint64_t round, client::Session& session) {
    if (rank != 0) return;
    const auto now = session.FlatParameters();
    if (round == 3) before.assign(now.begin(), now.end());
    if (round != 4) return;
    EXPECT_TRUE(std::equal(now.begin(), now.end(), before.begin(), before.end()));
  };
  Job first(one_, options);
  Job second(two_, {.skip = options.skip});
  a_ = first.Await();
  b_ = second.Await();
  ExpectEqualEnds({&a_, &b_}, coordinator_.ExpectEqualHashes(2));
  EXPECT_EQ(a_[0].steps[2].contributors, 0u);
  EXPECT_EQ(b_[0].steps[2].merged_here, 0u);
}

TEST_F(NumbersTest, P11_TheLowestGroupsLearningRateCountsAndTheDifferenceIsCounted) {
  JobOptions options;
  options.lr = {0.5f, 0.5f};
  Train(options);
  EXPECT_EQ(status_.scalar_mismatches(), kRounds * 4);
}

}  // namespace
}  // namespace isthmus::e2e
