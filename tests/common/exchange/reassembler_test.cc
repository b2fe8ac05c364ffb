#include "common/exchange/reassembler.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

TEST(ReassemblerTest, FramesInOrderMakeAWholeAndThenTheNext) {
  Reassembler bytes;
  for (int i = 0; i < 2; ++i) {
    bytes.Begin(5, i == 0);
    ASSERT_TRUE(bytes.Follows(0, 3));
    EXPECT_FALSE(bytes.Add("abc"));
    ASSERT_TRUE(bytes.Follows(3, 2));
    EXPECT_TRUE(bytes.Add("de"));
    EXPECT_EQ(bytes.Take(), "abcde");
  }
}

TEST(ReassemblerTest, NothingFollowsOutOfOrderOrBeyondTheEnd) {
  Reassembler bytes;
  EXPECT_FALSE(bytes.Follows(0, 0));  // nothing was begun
  bytes.Begin(5, false);
  bytes.Add("abc");
  EXPECT_FALSE(bytes.Follows(2, 1));
  EXPECT_FALSE(bytes.Follows(4, 1));
  EXPECT_FALSE(bytes.Follows(3, 3));
  EXPECT_TRUE(bytes.Follows(3, 2));
  EXPECT_FALSE(bytes.Follows(3, ~uint64_t{0}));
}

TEST(ReassemblerTest, AnEmptyFrameCompletesNothingTwice) {
  Reassembler bytes;
  bytes.Begin(2, false);
  EXPECT_TRUE(bytes.Add("ab"));
  bytes.Take();
  EXPECT_FALSE(bytes.Follows(0, 0));
  EXPECT_FALSE(bytes.Follows(2, 0));
}

TEST(ReassemblerTest, ABeginningDropsWhatWasUnfinished) {
  Reassembler bytes;
  bytes.Begin(5, false);
  bytes.Add("abc");
  bytes.Begin(2, false);
  EXPECT_EQ(bytes.have(), 0u);
  EXPECT_TRUE(bytes.Add("de"));
  EXPECT_EQ(bytes.Take(), "de");
}

}  // namespace
}  // namespace isthmus
