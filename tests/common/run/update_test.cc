#include "common/run/update.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

TEST(UpdateHeaderTest, P12_ListsAProcessNotAGroup) {
  UpdateHeader update;
  update.contributors = {{GroupId(2), Incarnation(3)}, {GroupId(4), Incarnation(1)}};
  EXPECT_TRUE(update.Lists(GroupId(2), Incarnation(3)));
  EXPECT_TRUE(update.Lists(GroupId(4), Incarnation(1)));
  EXPECT_FALSE(update.Lists(GroupId(2), Incarnation(1)));
  EXPECT_FALSE(update.Lists(GroupId(3), Incarnation(3)));
  EXPECT_FALSE(UpdateHeader().Lists(GroupId(0), Incarnation(0)));
}

}  // namespace
}  // namespace isthmus
