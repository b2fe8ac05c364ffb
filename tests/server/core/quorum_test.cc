#include "server/core/quorum.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace isthmus {
namespace {

BucketTally Tally(uint32_t complete, uint32_t abstained, std::vector<GroupId> pending,
                  bool deadline_passed = false) {
  return {complete, abstained, std::move(pending), deadline_passed};
}

TEST(QuorumTest, P7_WaitsForEveryAwaitedGroup) {
  EXPECT_FALSE(DecideCommit(Tally(2, 0, {GroupId(3)}), 1).commit);
  EXPECT_TRUE(DecideCommit(Tally(3, 0, {}), 1).commit);
}

TEST(QuorumTest, P8_AbstainEndsTheWaiting) {
  EXPECT_TRUE(DecideCommit(Tally(1, 1, {}), 1).commit);
  EXPECT_TRUE(DecideCommit(Tally(0, 2, {}), 1).commit);
  EXPECT_TRUE(DecideCommit(Tally(1, 1, {}), 2).commit);
}

TEST(QuorumTest, P9_AfterTheDeadlineCommitsWithoutTheLateOnes) {
  EXPECT_TRUE(DecideCommit(Tally(1, 0, {GroupId(2)}, true), 1).commit);
}

TEST(QuorumTest, P9_WithNoneCompleteThereIsNoDeadline) {
  EXPECT_FALSE(DecideCommit(Tally(0, 1, {GroupId(2)}, true), 1).commit);
}

TEST(QuorumTest, P7_NeverBelowMinGroups) {
  EXPECT_FALSE(DecideCommit(Tally(1, 0, {}), 2).commit);
  EXPECT_FALSE(DecideCommit(Tally(1, 0, {GroupId(2)}, true), 2).commit);
}

TEST(QuorumTest, NeverWithoutAnyAnswer) {
  EXPECT_FALSE(DecideCommit(Tally(0, 0, {}), 0).commit);
  EXPECT_FALSE(DecideCommit(Tally(0, 0, {}, true), 0).commit);
}

TEST(QuorumTest, SaysWhomItWaitsFor) {
  EXPECT_EQ(DecideCommit(Tally(1, 0, {GroupId(3), GroupId(7)}), 1).waiting_for,
            "groups 3, 7 have not answered");
  EXPECT_EQ(DecideCommit(Tally(0, 0, {}), 1).waiting_for, "no group has answered");
  EXPECT_EQ(DecideCommit(Tally(1, 1, {}), 3).waiting_for,
            "below the minimum: 2 of min_groups 3 have answered");
  EXPECT_EQ(DecideCommit(Tally(1, 0, {}), 1).waiting_for, "");
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
            const BucketTally tally =
                Tally(complete, abstained, std::vector<GroupId>(pending, GroupId(1)), deadline);
            const QuorumVerdict verdict = DecideCommit(tally, min_groups);
            EXPECT_EQ(verdict.commit,
                      SlowCommit(complete, abstained, pending, deadline, min_groups))
                << complete << " complete, " << abstained << " abstained, " << pending
                << " pending, deadline " << deadline << ", min_groups " << min_groups;
            EXPECT_EQ(verdict.commit, verdict.waiting_for.empty());
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace isthmus
