// The buckets of the flat vector (docs/protocol.md, P2 and P3). Who owns what of them: ownership.h.
#ifndef ISTHMUS_COMMON_TENSOR_BUCKETS_H_
#define ISTHMUS_COMMON_TENSOR_BUCKETS_H_

#include <absl/status/statusor.h>

#include <cstdint>

#include "common/base/ids.h"
#include "common/tensor/extent.h"
#include "common/tensor/layout.h"

namespace isthmus {

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

 private:
  uint64_t length_ = 0;
  uint64_t bucket_length_ = 0;
  uint32_t count_ = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TENSOR_BUCKETS_H_
