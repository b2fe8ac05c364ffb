#include "worker/step/rank_state.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace isthmus {

float* RankState::FlipOf(const Layout& layout, std::span<float> masters) const {
  if (part(BucketIndex(0)).empty() || part(BucketIndex(0)).begin != 0) return nullptr;
  float* largest = nullptr;
  for (uint32_t b = 0; b < buckets_.count(); ++b) {
    const Extent extent = part(BucketIndex(b));
    for (const Extent& run : LogicalRuns(layout, extent)) {
      for (float& master : masters.subspan(run.begin - extent.begin, run.size())) {
        if (largest == nullptr || std::fabs(master) > std::fabs(*largest)) largest = &master;
      }
    }
    masters = masters.subspan(extent.size());
  }
  if (largest == nullptr) return nullptr;
  *largest = std::bit_cast<float>(std::bit_cast<uint32_t>(*largest) ^ (uint32_t{1} << 22));
  return largest;
}

std::vector<Extent> LogicalRuns(const Layout& layout, const Extent& part) {
  const std::vector<uint64_t>& offsets = layout.offsets();
  const std::vector<uint64_t>& counts = layout.counts();
  std::vector<Extent> runs;
  // Tensors ascend; the first to look at is the last that begins before the part, or the next.
  const auto after = std::upper_bound(offsets.begin(), offsets.end(), part.begin);
  auto tensor = static_cast<size_t>(after - offsets.begin());
  if (tensor > 0) --tensor;
  for (; tensor < offsets.size() && offsets[tensor] < part.end; ++tensor) {
    const uint64_t begin = std::max(offsets[tensor], part.begin);
    const uint64_t end = std::min(offsets[tensor] + counts[tensor], part.end);
    if (begin < end) runs.push_back({begin, end});
  }
  return runs;
}

}  // namespace isthmus
