#include "common/compression/demo_codec.h"

#include <algorithm>
#include <array>
#include <vector>

#include "common/base/check.h"
#include "common/compression/dct.h"
#include "common/compression/prefetch.h"
#include "common/compression/topk.h"
#include "common/kernels/simd.h"

namespace isthmus {

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

namespace {

// Elements of momentum and gradient that are worked on, and fetched ahead, at a time.
constexpr size_t kTileElements = 512;

}  // namespace

Selection Extract(const PayloadFormat& format, const PayloadPlace& place, float alpha,
                  std::span<float> momentum, std::string* payload) {
  const uint64_t k = format.k;
  const uint64_t block_size = format.chunk_size;
  const bool all = k == block_size;
  ISTHMUS_CHECK(momentum.size() == place.chunks.count * block_size);
  if (format.block_scales) {
    ISTHMUS_CHECK(alpha == 1.0f);
    PayloadWriter writer;
    writer.Begin(format, place, payload);
    writer.segment(0).TakeBlocks(ActiveKernels(), place.chunks.count, momentum.data());
    writer.Finish();
    return {};
  }
  Selection taken;
  taken.first_chunk = place.chunks.first;
  taken.chunk_count = place.chunks.count;
  taken.indices.resize(all ? 0 : place.chunks.count * k);
  taken.values.resize(place.chunks.count * k);
  PayloadWriter writer;
  writer.Begin(format, place, payload);
  for (uint64_t block = 0; block < place.chunks.count; ++block) {
    const std::span<float> m = momentum.subspan(block * block_size, block_size);
    const std::span<float> values = std::span(taken.values).subspan(block * k, k);
    if (all) {
      std::copy(m.begin(), m.end(), values.begin());
      writer.Add(nullptr, values.data());
      for (size_t i = 0; i < m.size(); ++i) m[i] -= alpha * values[i];
      continue;
    }
    const std::span<uint16_t> indices = std::span(taken.indices).subspan(block * k, k);
    if (format.has_indices()) {
      SelectTopK(m, static_cast<int>(block_size), static_cast<int>(k), indices, values);
    } else {
      KnownPositions(format, place.round, place.chunks.first + block, indices.data());
      for (size_t i = 0; i < k; ++i) values[i] = m[indices[i]];
    }
    writer.Add(indices.data(), values.data());
    for (size_t i = 0; i < k; ++i) m[indices[i]] -= alpha * values[i];
  }
  writer.Finish();
  return taken;
}

void AccumulateAndExtract(const PayloadFormat& format, const PayloadPlace& place, float decay,
                          float scale, std::span<const float> gradient, std::span<float> momentum,
                          PayloadWriter& writer, std::string* payload) {
  ISTHMUS_CHECK(format.block_scales && format.transform == Transform::kNone);
  ISTHMUS_CHECK(momentum.size() == place.chunks.count * format.chunk_size &&
                gradient.size() == momentum.size());
  const size_t tile = std::max<size_t>(kTileElements, format.chunk_size);
  ISTHMUS_CHECK(tile % format.chunk_size == 0);
  const TileKernels& kernels = ActiveKernels();
  writer.Begin(format, place, payload);
  for (size_t at = 0; at < momentum.size(); at += tile) {
    const std::span<float> m = momentum.subspan(at, std::min(tile, momentum.size() - at));
    kernels.accumulate_flat(decay, scale, gradient.data() + at, m.data(), m.size());
    // What comes next is fetched while blocks are taken out of this.
    const size_t next = at + m.size();
    const size_t ahead = std::min(kTileElements, momentum.size() - next);
    Prefetcher(momentum.subspan(next, ahead)).Rest();
    Prefetcher(gradient.subspan(next, ahead)).Rest();
    writer.segment(0).TakeBlocks(kernels, m.size() / format.chunk_size, m.data());
  }
  writer.Finish();
}

void ReturnSelection(uint32_t block_size, float alpha, const Selection& taken,
                     std::span<float> momentum) {
  ISTHMUS_CHECK(momentum.size() == taken.chunk_count * block_size);
  if (taken.chunk_count == 0) return;
  const uint64_t k = taken.values.size() / taken.chunk_count;
  ISTHMUS_CHECK(taken.values.size() == taken.chunk_count * k);
  ISTHMUS_CHECK(taken.indices.size() == (k == block_size ? 0 : taken.values.size()));
  for (size_t i = 0; i < taken.values.size(); ++i) {
    if (taken.values[i] == 0.0f) continue;
    const size_t offset = k == block_size ? i % k : taken.indices[i];
    momentum[i / k * block_size + offset] += alpha * taken.values[i];
  }
}

}  // namespace isthmus
