#include "common/tensor/ownership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Buckets Make(uint64_t units, uint64_t bucket_units) {
  return *Buckets::Create(units * kUnitLength, bucket_units * kUnitLength);
}

Extent Units(uint64_t begin, uint64_t end) { return {begin * kUnitLength, end * kUnitLength}; }

TEST(OwnershipTest, P3_EqualPartsTileTheBucketOnUnits) {
  for (uint64_t units : {1, 2, 3, 8, 13, 50}) {
    const Buckets buckets = Make(units, 5);
    for (uint32_t ranks = 1; ranks <= 7; ++ranks) {
      const Ownership ownership = Ownership::InEqualParts(buckets, ranks);
      for (uint32_t b = 0; b < buckets.count(); ++b) {
        const Partition& partition = ownership.of(BucketIndex(b));
        EXPECT_EQ(partition.length(), buckets.bucket(BucketIndex(b)).size());
        ASSERT_EQ(partition.ranks(), ranks);
        uint64_t end = 0, longest = 0, shortest = ~uint64_t{0};
        for (uint32_t rank = 0; rank < ranks; ++rank) {
          longest = std::max(longest, partition.size(rank));
          shortest = std::min(shortest, partition.size(rank));
          if (partition.size(rank) == 0) continue;
          ASSERT_EQ(partition.extents(rank).size(), 1u);
          EXPECT_EQ(partition.extents(rank)[0].begin, end);
          EXPECT_EQ(partition.size(rank) % kUnitLength, 0u);
          end = partition.extents(rank)[0].end;
        }
        EXPECT_LE(longest - shortest, kUnitLength);
      }
    }
  }
}

// Who has the odd units is part of the protocol: groups of another version cut the same.
TEST(OwnershipTest, P3_TheRthOfNearlyEqualParts) {
  const Ownership ownership = Ownership::InEqualParts(Make(9, 5), 3);
  const Partition& five = ownership.of(BucketIndex(0));
  EXPECT_THAT(five.extents(0), ElementsAre(Units(0, 1)));
  EXPECT_THAT(five.extents(1), ElementsAre(Units(1, 3)));
  EXPECT_THAT(five.extents(2), ElementsAre(Units(3, 5)));
  const Partition& four = ownership.of(BucketIndex(1));
  EXPECT_THAT(four.extents(0), ElementsAre(Units(0, 1)));
  EXPECT_THAT(four.extents(1), ElementsAre(Units(1, 2)));
  EXPECT_THAT(four.extents(2), ElementsAre(Units(2, 4)));
}

TEST(OwnershipTest, P3_ARankMayHaveNothing) {
  const Ownership ownership = Ownership::InEqualParts(Make(1, 0), 2);
  EXPECT_THAT(ownership.of(BucketIndex(0)).extents(0), IsEmpty());
  EXPECT_THAT(ownership.of(BucketIndex(0)).extents(1), ElementsAre(Units(0, 1)));
}

TEST(OwnershipTest, ByUnitGivesRunsInAnyOrder) {
  const std::vector<uint32_t> owners = {1, 0, 0, 1, 1, 1, 1};
  const auto ownership = Ownership::ByUnit(Make(7, 4), 2, owners);
  ASSERT_TRUE(ownership.ok()) << ownership.status();
  EXPECT_THAT(ownership->of(BucketIndex(0)).extents(0), ElementsAre(Units(1, 3)));
  EXPECT_THAT(ownership->of(BucketIndex(0)).extents(1), ElementsAre(Units(0, 1), Units(3, 4)));
  EXPECT_THAT(ownership->of(BucketIndex(1)).extents(0), IsEmpty());
  EXPECT_THAT(ownership->of(BucketIndex(1)).extents(1), ElementsAre(Units(0, 3)));
}

TEST(OwnershipTest, ByUnitRefusesWhatIsNoRankForEachUnit) {
  const Buckets buckets = Make(3, 0);
  const auto message = [&](const std::vector<uint32_t>& owners) {
    const absl::Status status = Ownership::ByUnit(buckets, 2, owners).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message({0, 1}), HasSubstr("expected 3, got 2"));
  EXPECT_THAT(message({0, 1, 2}), HasSubstr("owner of unit 2: expected a rank below 2, got 2"));
}

TEST(ShardTest, RunsLieOneAfterTheOther) {
  const std::vector<uint32_t> owners = {1, 0, 0, 1, 1, 1, 1, 0};
  const Ownership ownership = Ownership::ByUnit(Make(8, 4), 2, owners).value();
  const Shard shard(ownership, 1);
  EXPECT_EQ(shard.length(), 5 * kUnitLength);
  EXPECT_EQ(shard.longest(), 3 * kUnitLength);
  const auto runs = shard.runs(BucketIndex(0));
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].extent, Units(0, 1));
  EXPECT_EQ(runs[0].start, 0u);
  EXPECT_EQ(runs[1].extent, Units(3, 4));
  EXPECT_EQ(runs[1].start, kUnitLength);
  EXPECT_EQ(shard.first_run(BucketIndex(1)), 2u);
  EXPECT_EQ(shard.start(BucketIndex(1)), 2 * kUnitLength);
  EXPECT_EQ(shard.length(BucketIndex(1)), 3 * kUnitLength);
  ASSERT_EQ(shard.runs(BucketIndex(1)).size(), 1u);
  EXPECT_EQ(shard.runs(BucketIndex(1))[0].extent, Units(4, 7));
  EXPECT_EQ(shard.runs().size(), 3u);
}

TEST(ShardTest, MayBeEmpty) {
  const Shard shard(Ownership::InEqualParts(Make(1, 0), 2), 0);
  EXPECT_EQ(shard.length(), 0u);
  EXPECT_EQ(shard.longest(), 0u);
  EXPECT_THAT(shard.runs(BucketIndex(0)), IsEmpty());
}

}  // namespace
}  // namespace isthmus
