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
