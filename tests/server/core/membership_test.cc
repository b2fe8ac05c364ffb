#include "server/core/membership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace isthmus {
namespace {

using testing::HasSubstr;

constexpr GroupId kGroup(5);

TEST(MembershipTest, P5_TheSameNonceIsTheSameIncarnation) {
  Membership membership(4);
  const auto first = membership.Register(kGroup, 11, "site", 2);
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(first->new_incarnation);
  EXPECT_EQ(first->group->incarnation, Incarnation(1));
  first->group->ready = true;
  const Epoch epoch = membership.epoch();

  const auto again = membership.Register(kGroup, 11, "site", 2);
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(again->new_incarnation);
  EXPECT_EQ(again->fenced_stream, std::nullopt);
  EXPECT_EQ(again->group->incarnation, Incarnation(1));
  EXPECT_TRUE(again->group->ready);
  EXPECT_EQ(membership.epoch(), epoch);
}

TEST(MembershipTest, P5_ANewNonceFencesTheOldProcessAndStartsAfresh) {
  Membership membership(4);
  GroupState* group = membership.Register(kGroup, 11, "site", 2)->group;
  group->ready = group->in_sync = true;
  group->stream = StreamId(3);
  const Epoch epoch = membership.epoch();

  const auto second = membership.Register(kGroup, 12, "other", 1);
  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(second->new_incarnation);
  EXPECT_EQ(second->fenced_stream, StreamId(3));
  EXPECT_EQ(second->group->incarnation, Incarnation(2));
  EXPECT_EQ(second->group->label, "other");
  EXPECT_FALSE(second->group->ready);
  EXPECT_FALSE(second->group->in_sync);
  EXPECT_FALSE(second->group->stream.has_value());
  EXPECT_GT(membership.epoch(), epoch);
}

TEST(MembershipTest, WhatAGroupContributedIsCountedOverAllItsProcesses) {
  Membership membership(4);
  GroupState* group = membership.Register(kGroup, 11, "site", 2)->group;
  group->contributions_merged = 7;
  group->contributions_late = 2;
  group = membership.Register(kGroup, 12, "site", 2)->group;
  EXPECT_EQ(group->contributions_merged, 7u);
  EXPECT_EQ(group->contributions_late, 2u);
}

TEST(MembershipTest, P5_AFencedProcessIsToldAndNeverGetsBackIn) {
  Membership membership(4);
  ASSERT_TRUE(membership.Register(kGroup, 11, "", 1).ok());
  ASSERT_TRUE(membership.Register(kGroup, 12, "", 1).ok());
  const auto zombie = membership.Register(kGroup, 11, "", 1);
  EXPECT_EQ(zombie.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(zombie.status().message()), HasSubstr("group 5: fenced"));
  EXPECT_EQ(membership.Find({kGroup, Incarnation(1)}).status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(membership.Find({kGroup, Incarnation(2)}).ok());
}

TEST(MembershipTest, WhoNeverRegisteredIsToldSo) {
  Membership membership(4);
  EXPECT_EQ(membership.Find({kGroup, Incarnation(1)}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(membership.Register(kGroup, 11, "", 1).ok());
  EXPECT_EQ(membership.Find({kGroup, Incarnation(2)}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(MembershipTest, TakesAtMostMaxGroups) {
  Membership membership(2);
  ASSERT_TRUE(membership.Register(GroupId(1), 1, "", 1).ok());
  ASSERT_TRUE(membership.Register(GroupId(2), 2, "", 1).ok());
  EXPECT_EQ(membership.Register(GroupId(3), 3, "", 1).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(membership.Register(GroupId(2), 4, "", 1).ok());
  EXPECT_EQ(membership.groups().size(), 2u);
}

TEST(MembershipTest, RemembersABoundedNumberOfFencedProcesses) {
  Membership membership(1);
  for (uint64_t nonce = 1; nonce <= 100; ++nonce) {
    ASSERT_TRUE(membership.Register(kGroup, nonce, "", 1).ok());
  }
  EXPECT_EQ(membership.Register(kGroup, 99, "", 1).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(membership.Register(kGroup, 36, "", 1).status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(membership.Register(kGroup, 35, "", 1).ok());  // long forgotten
}

TEST(MembershipTest, FindsAGroupByItsStream) {
  Membership membership(2);
  GroupState& group = *membership.Register(kGroup, 1, "", 1)->group;
  membership.Attach(group, StreamId(8));
  ASSERT_NE(membership.FindByStream(StreamId(8)), nullptr);
  EXPECT_EQ(membership.FindByStream(StreamId(8))->id, kGroup);
  EXPECT_EQ(membership.FindByStream(StreamId(9)), nullptr);
  membership.Detach(group, absl::UnixEpoch());
  EXPECT_EQ(membership.FindByStream(StreamId(8)), nullptr);
  EXPECT_EQ(group.stream_lost, absl::UnixEpoch());
}

TEST(MembershipTest, TheStreamOfAFencedProcessIsNobodys) {
  Membership membership(2);
  membership.Attach(*membership.Register(kGroup, 1, "", 1)->group, StreamId(8));
  EXPECT_EQ(membership.Register(kGroup, 2, "", 1)->fenced_stream, StreamId(8));
  EXPECT_EQ(membership.FindByStream(StreamId(8)), nullptr);
}

TEST(GroupStateTest, P9_CountsDuringItsGracePeriod) {
  const absl::Time lost = absl::UnixEpoch();
  GroupState group;
  group.ready = group.in_sync = true;
  group.stream_lost = lost;
  EXPECT_FALSE(group.active());
  const absl::Duration grace = absl::Seconds(5);
  EXPECT_TRUE(group.active_or_graced(lost + absl::Seconds(4), grace));
  EXPECT_FALSE(group.active_or_graced(lost + absl::Seconds(5), grace));
  group.stream = StreamId(1);
  EXPECT_TRUE(group.active());
  group.in_sync = false;
  EXPECT_FALSE(group.active());
}

}  // namespace
}  // namespace isthmus
