// Buckets and the extents that ranks own of them (docs/protocol.md, P2 and P3).
#ifndef ISTHMUS_COMMON_TENSOR_BUCKETS_H_
#define ISTHMUS_COMMON_TENSOR_BUCKETS_H_

#include <absl/status/statusor.h>

#include <cstdint>

#include "common/base/ids.h"
#include "common/tensor/layout.h"

namespace isthmus {

// A half-open run of elements of the flat vector.
struct Extent {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t size() const { return end - begin; }
  bool empty() const { return begin == end; }
  friend bool operator==(const Extent&, const Extent&) = default;
};

// The flat vector cut into buckets of whole 4096-element units: the same cut for every group.
// A value; thread-safe when const.
class Buckets {
 public:
  Buckets() = default;
  // `bucket_length` 0 chooses min(4 Mi, length / 8), rounded up to whole units. Errors:
  // INVALID_ARGUMENT unless length is a positive multiple of 4096 and so is bucket_length (or 0).
  static absl::StatusOr<Buckets> Create(uint64_t length, uint64_t bucket_length);

  uint64_t length() const { return length_; }
  uint64_t bucket_length() const { return bucket_length_; }
  uint32_t count() const { return count_; }
  // The elements of `bucket`; the last bucket may be shorter.
  Extent bucket(BucketIndex bucket) const;
  // The part of `bucket` that rank `rank` of `ranks` owns: the rank-th of `ranks` nearly equal
  // runs of units. May be empty.
  Extent part(BucketIndex bucket, uint32_t rank, uint32_t ranks) const;
  // Upper bound of part().size() over the ranks of `bucket`, for collectives with equal counts.
  uint64_t max_part_length(BucketIndex bucket, uint32_t ranks) const;

 private:
  uint64_t length_ = 0;
  uint64_t bucket_length_ = 0;
  uint32_t count_ = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TENSOR_BUCKETS_H_
