// What of a state image the ranks of one machine own.
#ifndef ISTHMUS_WORKER_SITE_STATE_RUNS_H_
#define ISTHMUS_WORKER_SITE_STATE_RUNS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/base/ids.h"
#include "common/tensor/ownership.h"

namespace isthmus {

// Bytes of an image.
struct ImageRun {
  uint64_t offset = 0;
  uint64_t size = 0;
  friend bool operator==(const ImageRun&, const ImageRun&) = default;
};

// A message takes no more.
inline constexpr uint64_t kMostRunBytes = 1 << 20;

// `size` bytes from `offset` on, in runs none of which is longer than kMostRunBytes.
inline std::vector<ImageRun> CutRun(uint64_t offset, uint64_t size) {
  std::vector<ImageRun> runs;
  for (const uint64_t stop = offset + size; offset < stop;) {
    runs.push_back({offset, std::min(kMostRunBytes, stop - offset)});
    offset += runs.back().size;
  }
  return runs;
}

// What ranks [first, first + count) own, as one: ascending, apart.
inline std::vector<Extent> OwnedBy(const Ownership& ownership, uint32_t first, uint32_t count) {
  std::vector<Extent> owned;
  for (uint32_t rank = first; rank < first + count; ++rank) {
    const Shard shard(ownership, rank);
    for (const Shard::Run& run : shard.runs()) owned.push_back(run.extent);
  }
  std::ranges::sort(owned, {}, &Extent::begin);
  std::vector<Extent> joined;
  for (const Extent& extent : owned) {
    if (!joined.empty() && joined.back().end == extent.begin) {
      joined.back().end = extent.end;
    } else {
      joined.push_back(extent);
    }
  }
  return joined;
}

// Those of ranks [first, first + count), in an image that begins with `vectors` vectors of float32:
// ascending, apart, cut as CutRun() does. All machines' together are exactly the vectors.
inline std::vector<ImageRun> RunsOf(const Ownership& ownership, uint32_t vectors, uint32_t first,
                                    uint32_t count) {
  const std::vector<Extent> owned = OwnedBy(ownership, first, count);
  std::vector<ImageRun> runs;
  for (uint32_t v = 0; v < vectors; ++v) {
    const uint64_t base = v * ownership.buckets().length();
    for (const Extent& extent : owned) {
      const std::vector<ImageRun> cut =
          CutRun((base + extent.begin) * sizeof(float), extent.size() * sizeof(float));
      runs.insert(runs.end(), cut.begin(), cut.end());
    }
  }
  return runs;
}

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_SITE_STATE_RUNS_H_
