#include "worker/step/rank_state.h"

#include <algorithm>

namespace isthmus {

std::vector<Extent> LogicalRuns(const Layout& layout, const Extent& extent) {
  const std::vector<uint64_t>& offsets = layout.offsets();
  const std::vector<uint64_t>& counts = layout.counts();
  std::vector<Extent> runs;
  // Tensors ascend; the first to look at is the last that begins before the extent, or the next.
  const auto after = std::upper_bound(offsets.begin(), offsets.end(), extent.begin);
  auto tensor = static_cast<size_t>(after - offsets.begin());
  if (tensor > 0) --tensor;
  for (; tensor < offsets.size() && offsets[tensor] < extent.end; ++tensor) {
    const uint64_t begin = std::max(offsets[tensor], extent.begin);
    const uint64_t end = std::min(offsets[tensor] + counts[tensor], extent.end);
    if (begin < end) runs.push_back({begin, end});
  }
  return runs;
}

}  // namespace isthmus
