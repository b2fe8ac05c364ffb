#include "server/core/round.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "common/base/rng.h"

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr ChunkRun kBucket{100, 12};

// What was taken, chunk by chunk.
class Bitmap {
 public:
  // What Contribution::Add must answer: nullopt for an error.
  std::optional<Contribution::Fate> Add(ChunkRun part) {
    if (part.count == 0 || part.first < kBucket.first ||
        part.first + part.count > kBucket.first + kBucket.count) {
      return std::nullopt;
    }
    if (parts_.contains(part)) return Contribution::Fate::kRepeat;
    for (uint64_t c = 0; c < part.count; ++c) {
      if (taken_[part.first - kBucket.first + c]) return std::nullopt;
    }
    for (uint64_t c = 0; c < part.count; ++c) taken_[part.first - kBucket.first + c] = true;
    parts_.insert(part);
    return Contribution::Fate::kNew;
  }
  bool complete() const { return std::count(taken_.begin(), taken_.end(), false) == 0; }

 private:
  std::vector<bool> taken_ = std::vector<bool>(kBucket.count);
  std::set<ChunkRun> parts_;
};

TEST(ContributionTest, P8_CoversEveryChunkOnceAsABitmapSays) {
  uint64_t completed = 0;
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    Rng rng(seed);
    Contribution contribution(Incarnation(1), {});
    Bitmap bitmap;
    for (int i = 0; i < 60; ++i) {
      const ChunkRun part{98 + rng.Below(16), rng.Below(5)};
      const auto expected = bitmap.Add(part);
      const auto actual = contribution.Add(part, kBucket);
      ASSERT_EQ(actual.ok(), expected.has_value()) << "seed " << seed << ": " << actual.status();
      if (expected) {
        ASSERT_EQ(*actual, *expected) << "seed " << seed;
      }
      ASSERT_EQ(contribution.complete(kBucket), bitmap.complete()) << "seed " << seed;
    }
    completed += bitmap.complete();
  }
  EXPECT_GT(completed, 100u);  // the walk reaches whole contributions too
}

TEST(ContributionTest, RefusesARunThatOverflows) {
  Contribution contribution(Incarnation(1), {});
  const auto fate = contribution.Add({105, ~uint64_t{0}}, kBucket);
  EXPECT_EQ(fate.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(fate.status().message()), HasSubstr("expected within [100, 112)"));
}

TEST(ContributionTest, SaysWhichPartOverlaps) {
  Contribution contribution(Incarnation(1), {});
  EXPECT_TRUE(contribution.Add({100, 4}, kBucket).ok());
  EXPECT_THAT(std::string(contribution.Add({103, 2}, kBucket).status().message()),
              HasSubstr("part of 2 chunks from 103 overlaps"));
}

class OpenRoundTest : public testing::Test {
 protected:
  void Complete(GroupId group, BucketIndex bucket, absl::Time when) {
    BucketRound& b = round_.bucket(bucket);
    auto& contribution =
        b.contributions.try_emplace(group, Contribution(Incarnation(1), {})).first->second;
    ASSERT_TRUE(contribution.Add(b.chunks, b.chunks).ok());
    if (!b.first_complete) b.first_complete = when;
    round_.NoteComplete(group, when);
  }

  const absl::Time start_ = absl::UnixEpoch();
  OpenRound round_{Round(4), {{0, 12}, {12, 3}}, {GroupId(1), GroupId(2), GroupId(3)}};
};

TEST_F(OpenRoundTest, TallyCountsAnswersAndNamesThePending) {
  Complete(GroupId(1), BucketIndex(0), start_);
  Complete(GroupId(9), BucketIndex(0), start_);  // joined in mid-round: counts, is not awaited
  round_.bucket(BucketIndex(0)).abstained.insert(GroupId(3));
  const BucketTally tally = round_.Tally(BucketIndex(0), start_, absl::Seconds(60));
  EXPECT_EQ(tally.complete, 2u);
  EXPECT_EQ(tally.abstained, 1u);
  EXPECT_THAT(tally.pending, ElementsAre(GroupId(2)));
  EXPECT_EQ(round_.Tally(BucketIndex(1), start_, absl::Seconds(60)).pending.size(), 3u);
}

TEST_F(OpenRoundTest, P9_TheDeadlineRunsFromTheFirstCompleteContribution) {
  const absl::Duration deadline = absl::Seconds(60);
  EXPECT_FALSE(round_.Tally(BucketIndex(0), start_ + absl::Hours(1), deadline).deadline_passed);
  Complete(GroupId(2), BucketIndex(0), start_ + absl::Hours(1));
  const absl::Time end = start_ + absl::Hours(1) + deadline;
  EXPECT_FALSE(round_.Tally(BucketIndex(0), end - absl::Nanoseconds(1), deadline).deadline_passed);
  EXPECT_TRUE(round_.Tally(BucketIndex(0), end, deadline).deadline_passed);
  EXPECT_FALSE(round_.Tally(BucketIndex(1), end, deadline).deadline_passed);
  EXPECT_FALSE(round_.Tally(BucketIndex(0), end, absl::InfiniteDuration()).deadline_passed);
}

TEST_F(OpenRoundTest, AnIncompleteContributionIsNoAnswer) {
  auto& contributions = round_.bucket(BucketIndex(0)).contributions;
  auto& half =
      contributions.try_emplace(GroupId(1), Contribution(Incarnation(1), {})).first->second;
  ASSERT_TRUE(half.Add({0, 11}, {0, 12}).ok());
  const BucketTally tally = round_.Tally(BucketIndex(0), start_, absl::Seconds(60));
  EXPECT_EQ(tally.complete, 0u);
  EXPECT_EQ(tally.pending.size(), 3u);
}

TEST_F(OpenRoundTest, P26_WaitedByCountsFromAGroupsLastCompleteBucket) {
  EXPECT_EQ(round_.WaitedBy(GroupId(1), start_), absl::ZeroDuration());
  Complete(GroupId(1), BucketIndex(0), start_ + absl::Seconds(1));
  Complete(GroupId(1), BucketIndex(1), start_ + absl::Seconds(3));
  EXPECT_EQ(round_.WaitedBy(GroupId(1), start_ + absl::Seconds(10)), absl::Seconds(7));
  EXPECT_EQ(round_.CompleteBuckets(GroupId(1)), 2u);
  EXPECT_EQ(round_.CompleteBuckets(GroupId(2)), 0u);
}

TEST_F(OpenRoundTest, StopAwaitingSaysWhetherTheGroupWasAwaited) {
  EXPECT_TRUE(round_.StopAwaiting(GroupId(2)));
  EXPECT_FALSE(round_.StopAwaiting(GroupId(2)));
  EXPECT_FALSE(round_.StopAwaiting(GroupId(9)));
  EXPECT_THAT(round_.awaited(), ElementsAre(GroupId(1), GroupId(3)));
}

TEST_F(OpenRoundTest, IsAppendedWhenEveryBucketIs) {
  EXPECT_FALSE(round_.all_appended());
  round_.bucket(BucketIndex(1)).appended = true;
  EXPECT_FALSE(round_.all_appended());
  round_.bucket(BucketIndex(0)).appended = true;
  EXPECT_TRUE(round_.all_appended());
}

}  // namespace
}  // namespace isthmus
