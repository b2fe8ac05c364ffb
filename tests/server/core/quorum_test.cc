#include "server/core/quorum.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace isthmus {
namespace {

BucketTally Tally(uint32_t complete, uint32_t abstained, uint32_t pending,
                  bool deadline_passed = false) {
  return {complete, abstained, pending, deadline_passed};
}

TEST(QuorumTest, P7_WaitsForEveryAwaitedGroup) {
  EXPECT_FALSE(MayCommit(Tally(2, 0, 1), 1));
  EXPECT_TRUE(MayCommit(Tally(3, 0, 0), 1));
}

TEST(QuorumTest, P8_AbstainEndsTheWaiting) {
  EXPECT_TRUE(MayCommit(Tally(1, 1, 0), 1));
  EXPECT_TRUE(MayCommit(Tally(0, 2, 0), 1));
  EXPECT_TRUE(MayCommit(Tally(1, 1, 0), 2));
}

TEST(QuorumTest, P9_AfterTheDeadlineCommitsWithoutTheLateOnes) {
  EXPECT_TRUE(MayCommit(Tally(1, 0, 1, true), 1));
}

TEST(QuorumTest, P9_WithNoneCompleteThereIsNoDeadline) {
  EXPECT_FALSE(MayCommit(Tally(0, 1, 1, true), 1));
}

TEST(QuorumTest, P7_NeverBelowMinGroups) {
  EXPECT_FALSE(MayCommit(Tally(1, 0, 0), 2));
  EXPECT_FALSE(MayCommit(Tally(1, 0, 1, true), 2));
}

TEST(QuorumTest, NeverWithoutAnyAnswer) {
  EXPECT_FALSE(MayCommit(Tally(0, 0, 0), 0));
  EXPECT_FALSE(MayCommit(Tally(0, 0, 0, true), 0));
}

TEST(QuorumTest, SaysWhomItWaitsForAndWhatKeepsThem) {
  const Straggler two[] = {{GroupId(3), ""}, {GroupId(7), "its job computes"}};
  EXPECT_EQ(WaitingFor(Tally(1, 0, 2), two, 1), "groups 3, 7 (its job computes) have not answered");
  EXPECT_EQ(WaitingFor(Tally(1, 0, 1), std::span(two).first(1), 1), "group 3 has not answered");
  EXPECT_EQ(WaitingFor(Tally(0, 0, 0), {}, 1), "no group has answered");
  EXPECT_EQ(WaitingFor(Tally(1, 1, 0), {}, 3),
            "below the minimum: 2 of min_groups 3 have answered");
  EXPECT_EQ(WaitingFor(Tally(1, 0, 0), {}, 1), "");
}

// The rule once more, as a person would read it from the groups one by one.
bool SlowCommit(uint32_t complete, uint32_t abstained, uint32_t pending, bool deadline,
                uint32_t min_groups) {
  std::string groups =
      std::string(complete, 'c') + std::string(abstained, 'a') + std::string(pending, 'p');
  uint32_t answers = 0;
  bool somebody_contributed = false;
  bool somebody_missing = false;
  for (char group : groups) {
    if (group != 'p') ++answers;
    if (group == 'c') somebody_contributed = true;
    if (group == 'p') somebody_missing = true;
  }
  if (answers == 0) return false;
  if (answers < min_groups) return false;
  if (!somebody_missing) return true;
  return deadline && somebody_contributed;
}

TEST(QuorumTest, AgreesWithTheSlowRuleOnAllSmallTallies) {
  for (uint32_t complete = 0; complete <= 4; ++complete) {
    for (uint32_t abstained = 0; abstained <= 4; ++abstained) {
      for (uint32_t pending = 0; pending <= 4; ++pending) {
        for (bool deadline : {false, true}) {
          for (uint32_t min_groups = 0; min_groups <= 9; ++min_groups) {
            const BucketTally tally = Tally(complete, abstained, pending, deadline);
            const bool commit = MayCommit(tally, min_groups);
            EXPECT_EQ(commit, SlowCommit(complete, abstained, pending, deadline, min_groups))
                << complete << " complete, " << abstained << " abstained, " << pending
                << " pending, deadline " << deadline << ", min_groups " << min_groups;
            const std::vector<Straggler> ids(pending, {GroupId(1), ""});
            EXPECT_EQ(commit, WaitingFor(tally, ids, min_groups).empty());
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace isthmus
