#include "common/tensor/partition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(PartitionTest, ARankMayHaveSeveralRunsOneOrNone) {
  const Partition partition(10, {{{2, 4}, {7, 10}}, {}, {{0, 2}, {4, 7}}});
  EXPECT_EQ(partition.length(), 10u);
  EXPECT_EQ(partition.ranks(), 3u);
  EXPECT_THAT(partition.extents(0), ElementsAre(Extent{2, 4}, Extent{7, 10}));
  EXPECT_THAT(partition.extents(1), IsEmpty());
  EXPECT_THAT(partition.extents(2), ElementsAre(Extent{0, 2}, Extent{4, 7}));
  EXPECT_EQ(partition.size(0), 5u);
  EXPECT_EQ(partition.size(1), 0u);
  EXPECT_EQ(partition.size(2), 5u);
  EXPECT_FALSE(partition.is_equal());
}

TEST(PartitionTest, WhatTouchesIsOneRun) {
  const Partition partition(6, {{{0, 2}, {2, 3}, {5, 6}}, {{3, 4}, {4, 5}}});
  EXPECT_THAT(partition.extents(0), ElementsAre(Extent{0, 3}, Extent{5, 6}));
  EXPECT_THAT(partition.extents(1), ElementsAre(Extent{3, 5}));
}

TEST(PartitionTest, InOrder) {
  const std::vector<uint64_t> lengths = {3, 0, 2};
  const Partition partition = Partition::InOrder(lengths);
  EXPECT_EQ(partition.length(), 5u);
  EXPECT_THAT(partition.extents(0), ElementsAre(Extent{0, 3}));
  EXPECT_THAT(partition.extents(1), IsEmpty());
  EXPECT_THAT(partition.extents(2), ElementsAre(Extent{3, 5}));
}

TEST(PartitionTest, AllIsOneRanks) {
  const Partition partition = Partition::AllOf(1, 3, 4);
  EXPECT_THAT(partition.extents(0), IsEmpty());
  EXPECT_THAT(partition.extents(1), ElementsAre(Extent{0, 4}));
  EXPECT_FALSE(partition.is_equal());
  EXPECT_TRUE(Partition::AllOf(0, 1, 4).is_equal());
}

TEST(PartitionTest, EqualIsOneRunEachInTheOrderOfRanks) {
  EXPECT_TRUE(Partition(6, {{{0, 2}}, {{2, 4}}, {{4, 6}}}).is_equal());
  EXPECT_FALSE(Partition(6, {{{2, 4}}, {{0, 2}}, {{4, 6}}}).is_equal()) << "another order";
  EXPECT_FALSE(Partition(6, {{{0, 3}}, {{3, 6}}, {}}).is_equal());
  EXPECT_FALSE(Partition(8, {{{0, 2}, {4, 6}}, {{2, 4}, {6, 8}}}).is_equal()) << "two runs each";
  EXPECT_FALSE(Partition(7, {{{0, 2}}, {{2, 4}}, {{4, 7}}}).is_equal());
  EXPECT_FALSE(Partition(0, {{}, {}}).is_equal());
}

TEST(PartitionDeathTest, EachElementIsOneRanks) {
  using Extents = std::vector<std::vector<Extent>>;
  EXPECT_DEATH(Partition(4, Extents{{{0, 2}}, {{3, 4}}}), "Cover") << "one is nobody's";
  EXPECT_DEATH(Partition(4, Extents{{{0, 3}}, {{2, 4}}}), "Cover") << "one is two ranks'";
  EXPECT_DEATH(Partition(4, Extents{{{0, 2}}, {{2, 5}}}), "Cover") << "beyond the end";
  EXPECT_DEATH(Partition(4, Extents{{{2, 4}, {0, 2}}}), "begin") << "not ascending";
}

}  // namespace
}  // namespace isthmus
