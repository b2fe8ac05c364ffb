#include "common/tensor/buckets.h"

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <limits>

#include "common/base/check.h"

namespace isthmus {
namespace {

constexpr uint64_t kDefaultBucketLength = uint64_t{4} << 20;
constexpr uint64_t kDefaultBucketCount = 8;

uint64_t UnitsIn(uint64_t length) { return (length + kUnitLength - 1) / kUnitLength; }

}  // namespace

absl::StatusOr<Buckets> Buckets::Create(uint64_t length, uint64_t bucket_length) {
  if (length == 0 || length % kUnitLength != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "flat vector length: expected a positive multiple of ", kUnitLength, ", got ", length));
  }
  if (bucket_length % kUnitLength != 0) {
    return absl::InvalidArgumentError(absl::StrCat("bucket length: expected a multiple of ",
                                                   kUnitLength, ", got ", bucket_length));
  }
  if (bucket_length == 0) {
    const uint64_t eighth = UnitsIn((length + kDefaultBucketCount - 1) / kDefaultBucketCount);
    bucket_length = std::min(kDefaultBucketLength, eighth * kUnitLength);
  }
  const uint64_t count = (length + bucket_length - 1) / bucket_length;
  if (count > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("bucket length ", bucket_length, " cuts ",
                                                   length, " elements into ", count,
                                                   " buckets; at most 2^32 - 1 are allowed"));
  }
  Buckets buckets;
  buckets.length_ = length;
  buckets.bucket_length_ = bucket_length;
  buckets.count_ = static_cast<uint32_t>(count);
  return buckets;
}

Extent Buckets::bucket(BucketIndex bucket) const {
  ISTHMUS_CHECK(bucket.value() < count_);
  const uint64_t begin = bucket.value() * bucket_length_;
  return {begin, std::min(begin + bucket_length_, length_)};
}

}  // namespace isthmus
