#include "worker/replication/part_momentum.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/compression/demo_codec.h"

namespace isthmus {

PartMomentum::PartMomentum(const Buckets& buckets, uint32_t rank, uint32_t ranks,
                           uint32_t chunk_size)
    : chunk_size_(chunk_size) {
  ISTHMUS_CHECK(chunk_size > 0 && kUnitLength % chunk_size == 0);
  parts_.reserve(buckets.count());
  for (uint32_t b = 0; b < buckets.count(); ++b) {
    const Extent extent = buckets.part(BucketIndex(b), rank, ranks);
    parts_.push_back({extent.begin / chunk_size, std::vector<float>(extent.size())});
  }
}

void PartMomentum::Return(BucketIndex bucket, const Selection& taken) {
  ISTHMUS_CHECK(taken.first_chunk == first_chunk(bucket));
  ReturnSelection(chunk_size_, taken, of(bucket));
}

void PartMomentum::Reset() {
  for (Part& part : parts_) std::fill(part.momentum.begin(), part.momentum.end(), 0.0f);
}

}  // namespace isthmus
