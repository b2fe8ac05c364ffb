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
using testing::Pair;

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
  // A part of the bucket; all of it unless said otherwise.
  bool Add(GroupId group, BucketIndex index, absl::Time when, std::optional<ChunkRun> part = {}) {
    BucketRound& bucket = round_.bucket(index);
    const auto taken = bucket.Add(group, Incarnation(1), {}, part.value_or(bucket.chunks()), when);
    EXPECT_TRUE(taken.ok()) << taken.status();
    if (taken->completes) round_.NoteAnswer(index, group, true, when);
    return taken->completes;
  }
  BucketTally Tally(BucketIndex index, absl::Time now) const {
    return round_.Tally(index, now, kRule);
  }

  static constexpr WaitRule kRule{.deadline = absl::Seconds(60), .most = absl::Seconds(240)};
  const absl::Time start_ = absl::UnixEpoch();
  OpenRound round_{Round(4), {{0, 12}, {12, 3}}, {GroupId(1), GroupId(2), GroupId(3)}, start_};
};

TEST_F(OpenRoundTest, TallyCountsAnswersAndNamesThePending) {
  Add(GroupId(1), BucketIndex(0), start_);
  Add(GroupId(9), BucketIndex(0), start_);  // joined in mid-round: counts, is not awaited
  bool dropped = true;
  EXPECT_TRUE(round_.bucket(BucketIndex(0)).Abstain(GroupId(3), &dropped));
  EXPECT_FALSE(dropped);
  EXPECT_FALSE(round_.bucket(BucketIndex(0)).Abstain(GroupId(3), &dropped));  // said already
  const BucketTally tally = Tally(BucketIndex(0), start_);
  EXPECT_EQ(tally.complete, 2u);
  EXPECT_EQ(tally.abstained, 1u);
  EXPECT_EQ(tally.pending, 1u);
  EXPECT_THAT(round_.bucket(BucketIndex(0)).pending(), ElementsAre(GroupId(2)));
  EXPECT_EQ(Tally(BucketIndex(1), start_).pending, 3u);
}

TEST_F(OpenRoundTest, P8_ACompleteContributionOverridesAnEarlierAbstain) {
  bool dropped = false;
  EXPECT_TRUE(round_.bucket(BucketIndex(0)).Abstain(GroupId(1), &dropped));
  Add(GroupId(1), BucketIndex(0), start_);
  EXPECT_EQ(Tally(BucketIndex(0), start_).complete, 1u);
  EXPECT_EQ(Tally(BucketIndex(0), start_).abstained, 0u);
  EXPECT_FALSE(round_.bucket(BucketIndex(0)).Abstain(GroupId(1), &dropped));
  EXPECT_EQ(Tally(BucketIndex(0), start_).abstained, 0u);
}

TEST_F(OpenRoundTest, P9_TheDeadlineRunsFromTheFirstCompleteContribution) {
  EXPECT_FALSE(Tally(BucketIndex(0), start_ + absl::Hours(1)).deadline_passed);
  Add(GroupId(2), BucketIndex(0), start_ + absl::Hours(1));
  const absl::Time end = start_ + absl::Hours(1) + kRule.deadline;
  EXPECT_FALSE(Tally(BucketIndex(0), end - absl::Nanoseconds(1)).deadline_passed);
  EXPECT_TRUE(Tally(BucketIndex(0), end).deadline_passed);
  EXPECT_FALSE(Tally(BucketIndex(1), end).deadline_passed);
  EXPECT_FALSE(
      round_.Tally(BucketIndex(0), end, {absl::InfiniteDuration(), absl::InfiniteDuration()})
          .deadline_passed);
}

TEST_F(OpenRoundTest, P9_WhoSendsIsWaitedForLongerUpToFourDeadlines) {
  Add(GroupId(1), BucketIndex(0), start_);
  Add(GroupId(3), BucketIndex(0), start_);
  const auto until = [&] { return round_.WaitsUntil(BucketIndex(0), kRule) - start_; };
  EXPECT_EQ(until(), absl::Seconds(60));
  round_.NoteFrame(GroupId(2), start_ + absl::Seconds(50));
  EXPECT_EQ(until(), absl::Seconds(110));
  round_.NoteFrame(GroupId(2), start_ + absl::Seconds(20));  // told late: changes nothing
  EXPECT_EQ(until(), absl::Seconds(110));
  EXPECT_FALSE(Tally(BucketIndex(0), start_ + absl::Seconds(109)).deadline_passed);
  EXPECT_TRUE(Tally(BucketIndex(0), start_ + absl::Seconds(110)).deadline_passed);
  round_.NoteFrame(GroupId(2), start_ + absl::Seconds(239));
  EXPECT_EQ(until(), absl::Seconds(240));
  EXPECT_TRUE(round_.Sends(GroupId(2), start_ + absl::Seconds(240), kRule.deadline));
  EXPECT_FALSE(round_.Sends(GroupId(2), start_ + absl::Seconds(299), kRule.deadline));
  EXPECT_FALSE(round_.Sends(GroupId(1), start_ + absl::Seconds(240), kRule.deadline));
}

TEST_F(OpenRoundTest, P9_FramesOfWhoHasAnsweredExtendNothing) {
  Add(GroupId(1), BucketIndex(0), start_);
  round_.NoteFrame(GroupId(1), start_ + absl::Seconds(59));  // of another bucket
  EXPECT_EQ(round_.WaitsUntil(BucketIndex(0), kRule), start_ + absl::Seconds(60));
}

TEST_F(OpenRoundTest, P9_ALagIsBehindTheFirstOfABucketOfWhoHasAnsweredAll) {
  Add(GroupId(1), BucketIndex(0), start_);
  Add(GroupId(2), BucketIndex(0), start_ + absl::Seconds(3));
  Add(GroupId(2), BucketIndex(1), start_ + absl::Seconds(4));
  Add(GroupId(1), BucketIndex(1), start_ + absl::Seconds(5));
  Add(GroupId(3), BucketIndex(1), start_ + absl::Seconds(9));
  Add(GroupId(9), BucketIndex(0), start_ + absl::Seconds(20));  // nobody waits for it
  Add(GroupId(9), BucketIndex(1), start_ + absl::Seconds(20));
  EXPECT_THAT(round_.Lags(),
              ElementsAre(Pair(GroupId(1), absl::Seconds(1)), Pair(GroupId(2), absl::Seconds(3))));
  round_.NoteAnswer(BucketIndex(0), GroupId(3), false, start_ + absl::Seconds(10));
  EXPECT_THAT(round_.Lags(), testing::Contains(Pair(GroupId(3), absl::Seconds(10))))
      << "an abstention is an answer";
}

TEST_F(OpenRoundTest, AnIncompleteContributionIsNoAnswer) {
  EXPECT_FALSE(Add(GroupId(1), BucketIndex(0), start_, ChunkRun{0, 11}));
  EXPECT_EQ(Tally(BucketIndex(0), start_).complete, 0u);
  EXPECT_EQ(Tally(BucketIndex(0), start_).pending, 3u);
  EXPECT_FALSE(round_.bucket(BucketIndex(0)).first_complete());
  bool dropped = false;
  EXPECT_TRUE(round_.bucket(BucketIndex(0)).Abstain(GroupId(1), &dropped));
  EXPECT_TRUE(dropped);
  EXPECT_TRUE(round_.bucket(BucketIndex(0)).contributions().empty());
}

TEST_F(OpenRoundTest, APartThatIsRefusedLeavesNothingBehind) {
  BucketRound& bucket = round_.bucket(BucketIndex(0));
  EXPECT_FALSE(bucket.Add(GroupId(1), Incarnation(1), {}, {5, 100}, start_).ok());
  EXPECT_TRUE(bucket.contributions().empty());
}

TEST_F(OpenRoundTest, P26_WaitedByCountsFromAGroupsLastCompleteBucket) {
  EXPECT_EQ(round_.WaitedBy(GroupId(1), start_), absl::ZeroDuration());
  Add(GroupId(1), BucketIndex(0), start_ + absl::Seconds(1));
  Add(GroupId(1), BucketIndex(1), start_ + absl::Seconds(3));
  EXPECT_EQ(round_.WaitedBy(GroupId(1), start_ + absl::Seconds(10)), absl::Seconds(7));
  EXPECT_EQ(round_.CompleteBuckets(GroupId(1)), 2u);
  EXPECT_EQ(round_.CompleteBuckets(GroupId(2)), 0u);
}

TEST_F(OpenRoundTest, StopAwaitingSaysWhetherTheGroupWasAwaited) {
  EXPECT_TRUE(round_.StopAwaiting(GroupId(2)));
  EXPECT_FALSE(round_.StopAwaiting(GroupId(2)));
  EXPECT_FALSE(round_.StopAwaiting(GroupId(9)));
  EXPECT_THAT(round_.awaited(), ElementsAre(GroupId(1), GroupId(3)));
  EXPECT_EQ(Tally(BucketIndex(1), start_).pending, 2u);
}

TEST_F(OpenRoundTest, IsAppendedWhenEveryBucketIs) {
  EXPECT_FALSE(round_.all_appended());
  EXPECT_FALSE(round_.SetAppended(BucketIndex(1)));
  EXPECT_FALSE(round_.all_appended());
  EXPECT_TRUE(round_.SetAppended(BucketIndex(0)));
  EXPECT_TRUE(round_.all_appended());
}

// The counters against a count from the beginning, over random histories.
TEST_F(OpenRoundTest, CountsAsACountFromTheBeginningDoes) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    Rng rng(seed);
    const std::set<GroupId> awaited{GroupId(1), GroupId(2), GroupId(3), GroupId(4)};
    OpenRound round(Round(1), {{0, 3}}, awaited, absl::UnixEpoch());
    BucketRound& bucket = round.bucket(BucketIndex(0));
    std::set<GroupId> said_nothing;
    for (int i = 0; i < 40; ++i) {
      const GroupId group(static_cast<uint32_t>(1 + rng.Below(6)));
      bool dropped = false;
      switch (rng.Below(8)) {
        case 0:
          if (!bucket.Completed(group)) said_nothing.insert(group);
          bucket.Abstain(group, &dropped);
          break;
        case 1:
          round.StopAwaiting(group);
          break;
        case 2:
          bucket.DropIncomplete(group);
          break;
        default:
          (void)bucket.Add(group, Incarnation(1), {}, {rng.Below(3), 1}, start_);
      }
      if (bucket.Completed(group)) said_nothing.erase(group);
      uint32_t complete = 0;
      std::set<GroupId> pending = round.awaited();
      for (uint32_t g = 1; g <= 6; ++g) {
        complete += bucket.Completed(GroupId(g)) ? 1 : 0;
        if (bucket.Completed(GroupId(g)) || said_nothing.contains(GroupId(g))) {
          pending.erase(GroupId(g));
        }
      }
      const BucketTally tally = round.Tally(BucketIndex(0), start_, kRule);
      ASSERT_EQ(tally.complete, complete) << "seed " << seed;
      ASSERT_EQ(tally.abstained, said_nothing.size()) << "seed " << seed;
      ASSERT_EQ(bucket.pending(), pending) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace isthmus
