#include "common/compression/topk.h"

#include <algorithm>
#include <bit>

#include "common/base/check.h"

namespace isthmus {
namespace {

// |x| as an integer of the same order: the bits without the sign. Non-negative, so signed compares
// (which baseline SSE has) do.
inline int32_t Key(float x) { return std::bit_cast<int32_t>(x) & 0x7fffffff; }

// Which elements to take: every one whose key is above `key`, and the first `ties` equal to it.
struct Threshold {
  int32_t key;
  int ties;
};

inline int CountFrom(const float* x, int n, int32_t key) {
  int count = 0;
  for (int i = 0; i < n; ++i) count += Key(x[i]) >= key ? 1 : 0;
  return count;
}

// Bisects for the k-th largest key. Invariant: at least k keys are >= low, fewer than k >= high.
Threshold FindThreshold(const float* x, int n, int k) {
  int32_t low = Key(x[0]);
  int32_t high = low;
  for (int i = 0; i < n; ++i) {
    low = std::min(low, Key(x[i]));
    high = std::max(high, Key(x[i]));
  }
  high += 1;  // finite values are below 0x7f800000
  int above_high = 0;
  while (high - low > 1) {
    const int32_t middle = low + (high - low) / 2;
    const int count = CountFrom(x, n, middle);
    if (count == k) return {middle, k};
    if (count > k) {
      low = middle;
    } else {
      high = middle;
      above_high = count;
    }
  }
  return {low, k - above_high};
}

// Writes the k elements that `threshold` takes. Candidates are found 64 at a time into the bits of
// a word, without a branch on the data; only they are then looked at one by one.
void Take(const float* x, int n, int k, Threshold threshold, uint16_t* index, float* value) {
  int taken = 0;
  for (int begin = 0; taken < k; begin += 64) {
    const int count = std::min(64, n - begin);
    uint64_t candidates = 0;
    for (int i = 0; i < count; ++i) {
      candidates |= static_cast<uint64_t>(Key(x[begin + i]) >= threshold.key ? 1 : 0) << i;
    }
    for (; candidates != 0 && taken < k; candidates &= candidates - 1) {
      const int i = begin + std::countr_zero(candidates);
      if (Key(x[i]) == threshold.key && --threshold.ties < 0) continue;
      index[taken] = static_cast<uint16_t>(i);
      value[taken] = x[i];
      ++taken;
    }
  }
}

}  // namespace

void SelectTopK(std::span<const float> coeffs, int chunk_size, int k, std::span<uint16_t> indices,
                std::span<float> values) {
  ISTHMUS_CHECK(0 < k && k <= chunk_size && chunk_size <= kMaxBlockSize);
  const size_t n = static_cast<size_t>(chunk_size);
  const size_t chunks = coeffs.size() / n;
  ISTHMUS_CHECK(coeffs.size() == chunks * n);
  ISTHMUS_CHECK(indices.size() == chunks * static_cast<size_t>(k));
  ISTHMUS_CHECK(values.size() == indices.size());
  for (size_t chunk = 0; chunk < chunks; ++chunk) {
    const float* x = coeffs.data() + chunk * n;
    uint16_t* index = indices.data() + chunk * static_cast<size_t>(k);
    float* value = values.data() + chunk * static_cast<size_t>(k);
    Take(x, chunk_size, k, FindThreshold(x, chunk_size, k), index, value);
  }
}

}  // namespace isthmus
