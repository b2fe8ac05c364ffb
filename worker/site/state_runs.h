// What of a state image the ranks of one machine own.
#ifndef ISTHMUS_WORKER_SITE_STATE_RUNS_H_
#define ISTHMUS_WORKER_SITE_STATE_RUNS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/base/ids.h"
#include "common/tensor/buckets.h"

namespace isthmus {

// Bytes of an image.
struct ImageRun {
  uint64_t offset = 0;
  uint64_t size = 0;
  friend bool operator==(const ImageRun&, const ImageRun&) = default;
};

// A message takes no more.
inline constexpr uint64_t kMostRunBytes = 1 << 20;

// Those of ranks [first, first + count) of `ranks`, in an image that begins with `vectors` vectors
// of float32: ascending, apart, none longer than kMostRunBytes. All machines' together are exactly
// the vectors.
inline std::vector<ImageRun> RunsOf(const Buckets& buckets, uint32_t vectors, uint32_t first,
                                    uint32_t count, uint32_t ranks) {
  std::vector<ImageRun> runs;
  for (uint32_t v = 0; v < vectors; ++v) {
    for (uint32_t b = 0; b < buckets.count(); ++b) {
      const uint64_t begin = buckets.part(BucketIndex(b), first, ranks).begin;
      const uint64_t end = buckets.part(BucketIndex(b), first + count - 1, ranks).end;
      const uint64_t base = v * buckets.length();
      uint64_t at = (base + begin) * sizeof(float);
      const uint64_t stop = (base + end) * sizeof(float);
      for (; at < stop; at += std::min(kMostRunBytes, stop - at)) {
        runs.push_back({at, std::min(kMostRunBytes, stop - at)});
      }
    }
  }
  return runs;
}

// `size` bytes from `offset` on, the same way.
inline std::vector<ImageRun> CutRun(uint64_t offset, uint64_t size) {
  std::vector<ImageRun> runs;
  for (const uint64_t stop = offset + size; offset < stop;) {
    runs.push_back({offset, std::min(kMostRunBytes, stop - offset)});
    offset += runs.back().size;
  }
  return runs;
}

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_SITE_STATE_RUNS_H_
