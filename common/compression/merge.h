// Contributions in, one update out; no state, no I/O.
//
// Source: DeMo (arXiv:2411.19870v2), aggregation; docs/protocol.md, P10.
#ifndef ISTHMUS_COMMON_COMPRESSION_MERGE_H_
#define ISTHMUS_COMMON_COMPRESSION_MERGE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "common/compression/payload.h"

namespace isthmus {

// kSenderMean: per coefficient, the mean over the groups that sent it. kMean: over all
// contributors. kSum. A value of exactly zero after weighting is not sent, whatever the payload's
// length.
enum class MergeRule : uint8_t { kSenderMean = 0, kMean = 1, kSum = 2 };

struct MergeInput {
  float weight = 1.0f;               // w n / sum(w); exactly 1 when all samples are equal
  std::span<const Selection> parts;  // cover the bucket's chunks once, in any order
};

// The merged coefficients of one bucket.
struct MergedBucket {
  uint64_t first_chunk = 0;
  uint64_t chunk_count = 0;
  std::vector<float> coefficients;  // [chunk_count, chunk_size]; zero where nobody sent
  std::vector<uint8_t> present;     // [chunk_count] 1 where some group sent something
};

// Weights for MergeInput from the contributors' sample counts, in the same order. Computed in
// double, rounded once. All-zero samples count as equal.
std::vector<float> MergeWeights(std::span<const uint64_t> samples);

// Adds `inputs` in the order given, which must be ascending group id: the result is the same bits
// on every machine and for every arrival order. CHECKs that parts lie within the bucket.
MergedBucket Merge(MergeRule rule, uint32_t chunk_size, uint32_t k, uint64_t first_chunk,
                   uint64_t chunk_count, std::span<const MergeInput> inputs);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_MERGE_H_
