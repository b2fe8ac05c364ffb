#include "common/compression/merge.h"

#include <algorithm>
#include <limits>

#include "common/base/check.h"

namespace isthmus {
namespace {

constexpr float kMaxFinite = std::numeric_limits<float>::max();

void CheckPart(const Selection& part, uint32_t chunk_size, uint32_t k, uint64_t first_chunk,
               uint64_t chunk_count) {
  ISTHMUS_CHECK(part.first_chunk >= first_chunk && part.chunk_count <= chunk_count &&
                part.first_chunk - first_chunk <= chunk_count - part.chunk_count);
  ISTHMUS_CHECK(part.values.size() == part.chunk_count * k);
  ISTHMUS_CHECK(part.indices.size() == (k == chunk_size ? 0 : part.values.size()));
}

// Sums stay finite, so that groups' huge values cannot make one that no payload may carry.
float Saturate(float x) { return std::clamp(x, -kMaxFinite, kMaxFinite); }

// Calls visit(chunk, position, weighted value) for each value that counts as sent, in order;
// `chunk` and `position` count from the bucket's first. The weight comes before the rule (P10), so
// a group of weight zero sent nothing, and dilutes no mean over senders.
template <typename Visit>
void ForEachSent(const Selection& part, float weight, uint32_t chunk_size, uint32_t k,
                 uint64_t first_chunk, Visit visit) {
  const float* values = part.values.data();
  const uint16_t* indices = part.indices.empty() ? nullptr : part.indices.data();
  uint64_t chunk = part.first_chunk - first_chunk;
  for (uint64_t c = 0; c < part.chunk_count; ++c, ++chunk, values += k) {
    for (uint32_t i = 0; i < k; ++i) {
      const float value = Saturate(weight * values[i]);
      if (value == 0.0f) continue;
      visit(chunk, chunk * chunk_size + (indices == nullptr ? i : indices[i]), value);
    }
    if (indices != nullptr) indices += k;
  }
}

// The coefficient that stands for `sum` over `count` senders; never -0, which the update does not
// encode.
float Finish(float sum, float count) {
  if (count != 1.0f) sum /= count;
  return sum + 0.0f;
}

}  // namespace

std::vector<float> MergeWeights(std::span<const uint64_t> samples) {
  std::vector<float> weights(samples.size(), 1.0f);
  const bool equal =
      std::all_of(samples.begin(), samples.end(), [&](uint64_t n) { return n == samples.front(); });
  if (equal) return weights;
  double total = 0.0;
  for (uint64_t n : samples) total += static_cast<double>(n);
  const double count = static_cast<double>(samples.size());
  for (size_t i = 0; i < samples.size(); ++i) {
    weights[i] = static_cast<float>(static_cast<double>(samples[i]) * count / total);
  }
  return weights;
}

MergedBucket Merge(MergeRule rule, uint32_t chunk_size, uint32_t k, uint64_t first_chunk,
                   uint64_t chunk_count, std::span<const MergeInput> inputs) {
  ISTHMUS_CHECK(0 < k && k <= chunk_size);
  ISTHMUS_CHECK(inputs.size() <= std::numeric_limits<uint16_t>::max());
  MergedBucket merged;
  merged.first_chunk = first_chunk;
  merged.chunk_count = chunk_count;
  merged.coefficients.resize(chunk_count * chunk_size);
  merged.present.resize(chunk_count);
  std::vector<uint16_t> senders(merged.coefficients.size());
  for (const MergeInput& input : inputs) {
    for (const Selection& part : input.parts) {
      CheckPart(part, chunk_size, k, first_chunk, chunk_count);
      ForEachSent(part, input.weight, chunk_size, k, first_chunk,
                  [&](uint64_t chunk, uint64_t position, float value) {
                    float& sum = merged.coefficients[position];
                    sum = Saturate(sum + value);
                    merged.present[chunk] = 1;
                    ++senders[position];
                  });
    }
  }
  // A second walk over what was sent, which is far less than the whole bucket. The count is spent
  // at the first visit, so that each coefficient is finished once.
  const auto finish = [&](uint64_t, uint64_t position, float) {
    if (senders[position] == 0) return;
    const float count = rule == MergeRule::kSum    ? 1.0f
                        : rule == MergeRule::kMean ? static_cast<float>(inputs.size())
                                                   : static_cast<float>(senders[position]);
    merged.coefficients[position] = Finish(merged.coefficients[position], count);
    senders[position] = 0;
  };
  for (const MergeInput& input : inputs) {
    for (const Selection& part : input.parts) {
      ForEachSent(part, input.weight, chunk_size, k, first_chunk, finish);
    }
  }
  return merged;
}

}  // namespace isthmus
