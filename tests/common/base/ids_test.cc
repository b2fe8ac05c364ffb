#include "common/base/ids.h"

#include <absl/hash/hash_testing.h>
#include <gtest/gtest.h>

#include <type_traits>
#include <unordered_set>

namespace isthmus {
namespace {

static_assert(!std::is_convertible_v<Round, Epoch>);
static_assert(!std::is_convertible_v<uint64_t, Round>);
static_assert(!std::is_convertible_v<Round, uint64_t>);
static_assert(!std::is_constructible_v<Round, Epoch>);

TEST(IdsTest, DefaultIsZero) { EXPECT_EQ(Round().value(), 0u); }

TEST(IdsTest, Order) {
  EXPECT_LT(GroupId(1), GroupId(2));
  EXPECT_EQ(GroupId(3), GroupId(3));
  EXPECT_NE(GroupId(3), GroupId(4));
}

TEST(IdsTest, NextLeavesAndIncrementMoves) {
  Round round(4);
  EXPECT_EQ(round.next(), Round(5));
  EXPECT_EQ(round, Round(4));
  EXPECT_EQ(++round, Round(5));
  EXPECT_EQ(round, Round(5));
}

TEST(IdsTest, Hash) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly({Round(0), Round(1), Round(~0ull)}));
  const std::unordered_set<GroupId> set = {GroupId(1), GroupId(2), GroupId(1)};
  EXPECT_EQ(set.size(), 2u);
}

TEST(IdsTest, PrintsItsValue) { EXPECT_EQ(testing::PrintToString(Round(17)), "17"); }

}  // namespace
}  // namespace isthmus
