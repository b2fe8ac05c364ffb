#include "common/compression/demo_codec.h"

#include <algorithm>
#include <array>
#include <vector>

#include "common/base/check.h"
#include "common/compression/dct.h"
#include "common/compression/topk.h"

namespace isthmus {
namespace {

// Moves from `residual` what the payload will say, and returns it.
inline float Take(ValueFormat format, float& residual) {
  const float value = QuantizeValue(format, residual);
  // The test spares -0, which subtracting +0 and adding it back would turn into +0.
  if (value == 0.0f) return 0.0f;
  // Exact: `value` is within a factor of two, so the difference is a float, and so is the sum of
  // the two when it is returned.
  residual -= value;
  return value;
}

}  // namespace

void AccumulateMomentum(const BlockTransform& transform, float decay, float scale,
                        std::span<const float> gradient, std::span<float> momentum) {
  ISTHMUS_CHECK(gradient.size() == momentum.size());
  const size_t block = transform.block_size();
  ISTHMUS_CHECK(momentum.size() % block == 0);
  // In batches that stay in the first-level cache where chunks are small, and that give the
  // transform as many chunks as it takes side by side where they are large. Blocks beyond the
  // largest chunk are the reference path, which may allocate.
  constexpr size_t kSideBySide = 8;
  constexpr size_t kSmallBatch = 4096;  // elements
  std::array<float, kSideBySide * kMaxChunkSize> on_stack;
  std::vector<float> on_heap(block > kMaxChunkSize ? block : 0);
  const std::span<float> buffer = on_heap.empty() ? std::span<float>(on_stack) : on_heap;
  const size_t batch =
      on_heap.empty() ? std::max(kSideBySide * block, kSmallBatch / block * block) : block;
  for (size_t at = 0; at < momentum.size(); at += batch) {
    const size_t count = std::min(batch, momentum.size() - at);
    const std::span<float> coefficients = buffer.first(count);
    transform.Forward(gradient.subspan(at, count), coefficients);
    float* m = momentum.data() + at;
    for (size_t i = 0; i < count; ++i) m[i] = decay * m[i] + scale * coefficients[i];
  }
}

Selection ExtractTopK(const PayloadFormat& format, uint64_t first_block,
                      std::span<float> momentum) {
  const uint32_t k = std::clamp<uint32_t>(format.k, 1, format.chunk_size);
  if (k == format.chunk_size) return ExtractAll(format, first_block, momentum);
  Selection taken;
  taken.first_chunk = first_block;
  taken.chunk_count = momentum.size() / format.chunk_size;
  taken.indices.resize(taken.chunk_count * k);
  taken.values.resize(taken.chunk_count * k);
  SelectTopK(momentum, static_cast<int>(format.chunk_size), static_cast<int>(k), taken.indices,
             taken.values);
  for (uint64_t block = 0; block < taken.chunk_count; ++block) {
    float* m = momentum.data() + block * format.chunk_size;
    for (uint64_t i = block * k; i < (block + 1) * k; ++i) {
      taken.values[i] = Take(format.values, m[taken.indices[i]]);
    }
  }
  return taken;
}

Selection ExtractAll(const PayloadFormat& format, uint64_t first_block, std::span<float> momentum) {
  Selection taken;
  taken.first_chunk = first_block;
  taken.chunk_count = momentum.size() / format.chunk_size;
  ISTHMUS_CHECK(momentum.size() == taken.chunk_count * format.chunk_size);
  taken.values.resize(momentum.size());
  for (size_t i = 0; i < momentum.size(); ++i) {
    taken.values[i] = Take(format.values, momentum[i]);
  }
  return taken;
}

void ReturnSelection(uint32_t block_size, const Selection& taken, std::span<float> momentum) {
  ISTHMUS_CHECK(momentum.size() == taken.chunk_count * block_size);
  if (taken.chunk_count == 0) return;
  const uint64_t k = taken.values.size() / taken.chunk_count;
  ISTHMUS_CHECK(taken.values.size() == taken.chunk_count * k);
  ISTHMUS_CHECK(taken.indices.size() == (k == block_size ? 0 : taken.values.size()));
  for (size_t i = 0; i < taken.values.size(); ++i) {
    if (taken.values[i] == 0.0f) continue;
    const size_t offset = k == block_size ? i % k : taken.indices[i];
    momentum[i / k * block_size + offset] += taken.values[i];
  }
}

}  // namespace isthmus
