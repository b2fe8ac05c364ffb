// The definition of merge and direction (docs/protocol.md, P10 and P20) in plain loops over decoded
// selections: the dumb second implementation.
#ifndef ISTHMUS_TESTS_COMMON_COMPRESSION_REFERENCE_MERGE_H_
#define ISTHMUS_TESTS_COMMON_COMPRESSION_REFERENCE_MERGE_H_

#include <span>
#include <vector>

#include "common/compression/dct.h"
#include "common/compression/merge.h"
#include "common/compression/update_payload.h"

namespace isthmus {

struct WeightedSelection {
  float weight = 1.0f;
  Selection selection;  // all chunks of the bucket
};

inline MergedBucket ReferenceMerge(MergeRule rule, size_t chunk_size, uint64_t first_chunk,
                                   uint64_t chunk_count,
                                   std::span<const WeightedSelection> groups) {
  MergedBucket merged;
  merged.first_chunk = first_chunk;
  merged.chunk_count = chunk_count;
  merged.coefficients.resize(chunk_count * chunk_size);
  merged.present.resize(chunk_count);
  std::vector<float> senders(merged.coefficients.size());
  for (const WeightedSelection& group : groups) {
    const Selection& said = group.selection;
    const size_t k = chunk_count == 0 ? 1 : said.values.size() / chunk_count;
    for (size_t i = 0; i < said.values.size(); ++i) {
      const float value = said.values[i] * group.weight;
      if (value == 0.0f) continue;
      const size_t offset = said.indices.empty() ? i % k : said.indices[i];
      merged.coefficients[i / k * chunk_size + offset] += value;
      senders[i / k * chunk_size + offset] += 1.0f;
      merged.present[i / k] = 1;
    }
  }
  for (size_t i = 0; i < senders.size(); ++i) {
    float& x = merged.coefficients[i];
    if (rule == MergeRule::kSenderMean && senders[i] > 0) x /= senders[i];
    if (rule == MergeRule::kMean && !groups.empty()) x /= static_cast<float>(groups.size());
    if (x == 0.0f) x = 0.0f;  // never -0
  }
  return merged;
}

inline std::vector<float> ReferenceDirection(const UpdateFormat& format,
                                             const MergedBucket& merged) {
  const size_t size = format.contribution.chunk_size;
  std::vector<float> u = merged.coefficients;
  for (size_t chunk = 0; chunk < merged.chunk_count; ++chunk) {
    if (merged.present[chunk] == 0) continue;
    const std::span<float> part = std::span(u).subspan(chunk * size, size);
    if (format.contribution.transform == Transform::kDct) {
      InverseDct(static_cast<int>(size), part, part);
    }
    for (float& value : part) {
      if (format.sign) value = value > 0 ? 1.0f : value < 0 ? -1.0f : 0.0f;
    }
  }
  return u;
}

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_COMMON_COMPRESSION_REFERENCE_MERGE_H_
