#include "server/core/audit.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

using Reports = std::map<GroupId, BucketHashes>;

constexpr GroupId kOne(1), kTwo(2), kThree(3), kFour(4);

TEST(RightHashesTest, TheMajorityOfEachBucketIsRight) {
  const Reports reports{{kOne, {7, 9}}, {kTwo, {1, 2}}, {kThree, {1, 2}}};
  EXPECT_EQ(RightHashes(reports, {kOne, kTwo, kThree}), (BucketHashes{1, 2}));
}

TEST(RightHashesTest, OnATieTheSideOfTheLowestIdIs) {
  EXPECT_EQ(RightHashes({{kOne, {7}}, {kTwo, {1}}}, {kOne, kTwo}), (BucketHashes{7}));
  const Reports four{{kOne, {3}}, {kTwo, {1}}, {kThree, {1}}, {kFour, {3}}};
  EXPECT_EQ(RightHashes(four, {kOne, kTwo, kThree, kFour}), (BucketHashes{3}));
  // Most votes, not the lowest id alone.
  const Reports five{{kOne, {3}}, {kTwo, {1}}, {kThree, {1}}, {kFour, {2}}};
  EXPECT_EQ(RightHashes(five, {kOne, kTwo, kThree, kFour}), (BucketHashes{1}));
}

TEST(RightHashesTest, IfAllDifferTheLowestIdIsRight) {
  const Reports reports{{kTwo, {1, 2}}, {kThree, {3, 4}}, {kFour, {5, 6}}};
  EXPECT_EQ(RightHashes(reports, {kTwo, kThree, kFour}), (BucketHashes{1, 2}));
}

// Each differs somewhere, so nobody could give the state of the majorities.
TEST(RightHashesTest, ItIsAlwaysAStateThatSomebodyHolds) {
  const Reports reports{{kOne, {9, 9, 1}}, {kTwo, {1, 9, 1}}, {kThree, {1, 1, 9}}};
  EXPECT_EQ(RightHashes(reports, {kOne, kTwo, kThree}), (BucketHashes{1, 9, 1}));
  const Reports circle{{kOne, {9, 1, 1}}, {kTwo, {1, 9, 1}}, {kThree, {1, 1, 9}}};
  EXPECT_EQ(RightHashes(circle, {kOne, kTwo, kThree}), (BucketHashes{9, 1, 1}));
}

TEST(RightHashesTest, WhoIsGoneIsAWitnessButNoDonor) {
  const Reports reports{{kOne, {7}}, {kTwo, {1}}, {kThree, {1}}};
  EXPECT_EQ(RightHashes(reports, {kOne, kThree}), (BucketHashes{1}));
  EXPECT_EQ(RightHashes(reports, {kOne}), (BucketHashes{7}));
  EXPECT_EQ(RightHashes(reports, {}), (BucketHashes{1}));
  EXPECT_EQ(RightHashes({}, {}), BucketHashes{});
}

TEST(DifferenceTextTest, NamesTheFirstBuckets) {
  EXPECT_EQ(DifferenceText({1, 2}, {1, 255}),
            "1 of 2 buckets: bucket 1 expected 0000000000000002, got 00000000000000ff");
  const std::string text = DifferenceText(BucketHashes(9, 1), BucketHashes(9, 2));
  EXPECT_EQ(text.find("bucket 4"), std::string::npos);
  EXPECT_EQ(text.substr(text.size() - 5), "; ...");
}

}  // namespace
}  // namespace isthmus
