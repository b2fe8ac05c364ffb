#include "common/tensor/buckets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace isthmus {
namespace {

using testing::HasSubstr;

constexpr uint64_t kMi = uint64_t{1} << 20;

Buckets Make(uint64_t length, uint64_t bucket_length) {
  const absl::StatusOr<Buckets> buckets = Buckets::Create(length, bucket_length);
  EXPECT_TRUE(buckets.ok()) << buckets.status();
  return *buckets;
}

TEST(BucketsTest, P3_AMillionParametersMakeEightBuckets) {
  const Buckets buckets = Make(kMi, 0);
  EXPECT_EQ(buckets.count(), 8u);
  EXPECT_EQ(buckets.bucket_length(), kMi / 8);
}

TEST(BucketsTest, P3_DefaultLengthIsAnEighthUpToFourMi) {
  EXPECT_EQ(Make(kUnitLength, 0).bucket_length(), kUnitLength);
  EXPECT_EQ(Make(9 * kUnitLength, 0).bucket_length(), 2 * kUnitLength);
  EXPECT_EQ(Make(32 * kMi, 0).bucket_length(), 4 * kMi);
  EXPECT_EQ(Make(1024 * kMi, 0).bucket_length(), 4 * kMi);
}

TEST(BucketsTest, P3_BucketsTileTheVectorOnUnits) {
  for (uint64_t units : {1, 2, 7, 8, 9, 100, 257}) {
    for (uint64_t bucket_units : {0, 1, 3, 300}) {
      const Buckets buckets = Make(units * kUnitLength, bucket_units * kUnitLength);
      uint64_t end = 0;
      for (uint32_t b = 0; b < buckets.count(); ++b) {
        const Extent extent = buckets.bucket(BucketIndex(b));
        EXPECT_EQ(extent.begin, end);
        EXPECT_GT(extent.size(), 0u);
        EXPECT_LE(extent.size(), buckets.bucket_length());
        EXPECT_EQ(extent.begin % kUnitLength, 0u);
        end = extent.end;
      }
      EXPECT_EQ(end, buckets.length());
    }
  }
}

TEST(BucketsTest, P3_PartsOfRanksTileTheBucketOnUnits) {
  for (uint64_t units : {1, 2, 3, 8, 13, 50}) {
    const Buckets buckets = Make(units * kUnitLength, 5 * kUnitLength);
    for (uint32_t ranks = 1; ranks <= 7; ++ranks) {
      for (uint32_t b = 0; b < buckets.count(); ++b) {
        const BucketIndex bucket(b);
        uint64_t end = buckets.bucket(bucket).begin;
        uint64_t longest = 0;
        uint64_t shortest = ~uint64_t{0};
        for (uint32_t rank = 0; rank < ranks; ++rank) {
          const Extent part = buckets.part(bucket, rank, ranks);
          EXPECT_EQ(part.begin, end);
          EXPECT_EQ(part.size() % kUnitLength, 0u);
          EXPECT_LE(part.size(), buckets.max_part_length(bucket, ranks));
          longest = std::max(longest, part.size());
          shortest = std::min(shortest, part.size());
          end = part.end;
        }
        EXPECT_EQ(end, buckets.bucket(bucket).end);
        EXPECT_EQ(longest, buckets.max_part_length(bucket, ranks));
        EXPECT_LE(longest - shortest, kUnitLength);
      }
    }
  }
}

TEST(BucketsTest, P3_PartsMayBeEmpty) {
  const Buckets buckets = Make(kUnitLength, 0);
  EXPECT_TRUE(buckets.part(BucketIndex(0), 0, 2).empty());
  EXPECT_EQ(buckets.part(BucketIndex(0), 1, 2), (Extent{0, kUnitLength}));
}

TEST(BucketsTest, RefusesLengthsThatAreNotWholeUnits) {
  const auto message = [](uint64_t length, uint64_t bucket_length) {
    const absl::Status status = Buckets::Create(length, bucket_length).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message(0, 0), HasSubstr("flat vector length"));
  EXPECT_THAT(message(4097, 0), HasSubstr("multiple of 4096, got 4097"));
  EXPECT_THAT(message(8192, 100), HasSubstr("bucket length: expected a multiple of 4096, got 100"));
  EXPECT_THAT(message(uint64_t{1} << 45, 4096), HasSubstr("at most 2^32 - 1"));
}

}  // namespace
}  // namespace isthmus
