#include "worker/replication/part_momentum.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/tensor/layout.h"

namespace isthmus {

PartMomentum::PartMomentum(MomentumLayout layout, const Buckets& buckets,
                           const ReplicatorPlace& place, uint32_t chunk_size) {
  ISTHMUS_CHECK(chunk_size > 0 && kUnitLength % chunk_size == 0);
  parts_.reserve(buckets.count());
  for (uint32_t b = 0; b < buckets.count(); ++b) {
    const Extent extent = buckets.part(BucketIndex(b), place.rank, place.ranks);
    const uint64_t chunks = extent.size() / chunk_size;
    const uint64_t length =
        layout == MomentumLayout::kTiles ? TiledLength(chunks, chunk_size) : extent.size();
    parts_.push_back({extent.begin / chunk_size, chunks, std::vector<float>(length)});
  }
}

PayloadPlace PartMomentum::place(Round round, BucketIndex bucket) const {
  const Part& part = parts_[bucket.value()];
  return {round.value(), part.first_chunk, part.chunk_count};
}

void PartMomentum::Reset() {
  for (Part& part : parts_) std::ranges::fill(part.momentum, 0.0f);
}

}  // namespace isthmus
