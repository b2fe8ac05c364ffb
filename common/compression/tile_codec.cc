#include "common/compression/tile_codec.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "common/base/check.h"
#include "common/compression/dct.h"
#include "common/compression/prefetch.h"
#include "common/compression/tile_masks.h"
#include "common/kernels/value_codes.h"

namespace isthmus {

uint64_t TiledLength(uint64_t chunks, uint32_t chunk_size) {
  return (chunks + kTileChunks - 1) / kTileChunks * kTileChunks * chunk_size;
}

// What one thread works with.
struct TileCodec::Segment {
  RecordWriter* writer = nullptr;
  std::vector<uint32_t> masks;     // [MaskWords, kTileChunks]
  std::vector<uint32_t> negative;  // as masks
  std::vector<uint16_t> indices;   // [k]
  std::vector<float> values;       // [k]
  Prefetcher gradient, momentum;   // of the next tile
};

namespace {

template <typename Body>
void RunAll(const ParallelFor& parallel, int count, const Body& body) {
  if (parallel != nullptr && count > 1) return parallel(count, std::cref(body));  // no allocation
  for (int i = 0; i < count; ++i) body(i);
}

}  // namespace

TileCodec::TileCodec(const PayloadFormat& format, const DemoDials& dials,
                     const TileKernels& kernels, int threads, ParallelFor parallel)
    : format_(format), dials_(dials), kernels_(kernels), parallel_(std::move(parallel)) {
  ISTHMUS_CHECK(format.transform == Transform::kDct && format.has_indices());
  ISTHMUS_CHECK(IsChunkSize(format.chunk_size) && threads > 0);
  if (format.values == ValueFormat::kOneBit && HasSignTiles(format)) {
    tables_ = IndexCoder::For(format.chunk_size, format.k).tables();
  }
  for (int i = 0; i < threads; ++i) {
    auto segment = std::make_unique<Segment>();
    segment->masks.resize(
        static_cast<size_t>(MaskWords(static_cast<int>(format.chunk_size)) * kTileChunks));
    segment->negative.resize(segment->masks.size());
    segment->indices.resize(format.k);
    segment->values.resize(format.k);
    segments_.push_back(std::move(segment));
  }
}

TileCodec::~TileCodec() = default;

void TileCodec::Accumulate(float scale, std::span<const float> gradient,
                           std::span<float> momentum) {
  const uint64_t size = format_.chunk_size;
  const uint64_t chunks = gradient.size() / size;
  ISTHMUS_CHECK(gradient.size() == chunks * size);
  ISTHMUS_CHECK(momentum.size() == TiledLength(chunks, format_.chunk_size));
  const uint64_t tiles = (chunks + kTileChunks - 1) / kTileChunks;
  const int count = static_cast<int>(segments_.size());
  RunAll(parallel_, count, [&](int segment) {
    const uint64_t begin = tiles * static_cast<uint64_t>(segment) / static_cast<uint64_t>(count);
    const uint64_t end = tiles * static_cast<uint64_t>(segment + 1) / static_cast<uint64_t>(count);
    for (uint64_t tile = begin; tile < end; ++tile) {
      const uint64_t first = tile * kTileChunks;
      kernels_.accumulate(static_cast<int>(size), gradient.data() + first * size,
                          static_cast<int>(std::min<uint64_t>(kTileChunks, chunks - first)),
                          dials_.decay, scale, momentum.data() + first * size);
    }
  });
}

// One-bit values: chunks side by side all the way to the bits.
void TileCodec::ExtractSigns(Segment& segment, int chunks, float* tile) {
  const int size = static_cast<int>(format_.chunk_size);
  uint32_t* const masks = segment.masks.data();
  float sums[kTileChunks];
  kernels_.gather_signs(size, tile, masks, sums, segment.negative.data());
  segment.momentum.Some();
  uint64_t ranks[kTileChunks], negative[kTileChunks];
  kernels_.rank(*tables_, masks, chunks, ranks);
  segment.gradient.Some();
  kernels_.pack_bits(size, masks, segment.negative.data(), chunks, negative);
  int codes[kTileChunks];
  float amounts[kTileChunks] = {};
  for (int chunk = 0; chunk < chunks; ++chunk) {
    codes[chunk] = ScaleCode(sums[chunk] / static_cast<float>(format_.k));
    if (codes[chunk] != kNoScale) {
      amounts[chunk] = dials_.alpha * ScaleOf(static_cast<uint32_t>(codes[chunk]));
      continue;
    }
    ClearChunk(size, static_cast<uint32_t>(chunk), masks);
  }
  segment.momentum.Some();
  kernels_.subtract_signs(size, masks, amounts, tile);
  segment.gradient.Some();
  for (int chunk = 0; chunk < chunks; ++chunk) {
    segment.writer->AddSigns(ranks[chunk], codes[chunk], negative[chunk]);
  }
  segment.momentum.Some();
}

void TileCodec::ExtractTile(Segment& segment, int chunks, float* tile, float* exact) {
  const int size = static_cast<int>(format_.chunk_size);
  const uint32_t k = format_.k;
  const float alpha = dials_.alpha;
  uint16_t* const indices = segment.indices.data();
  float* const values = segment.values.data();
  kernels_.select(size, static_cast<int>(k), tile, chunks, segment.masks.data());
  segment.gradient.Some();
  if (tables_ != nullptr) return ExtractSigns(segment, chunks, tile);
  for (int chunk = 0; chunk < chunks; ++chunk) {
    float* const column = tile + chunk;
    uint32_t found = 0;
    ForEachElement(size, static_cast<uint32_t>(chunk), segment.masks.data(), [&](uint16_t index) {
      indices[found] = index;
      values[found++] = column[index * kTileChunks];
    });
    if (!segment.writer->Add(indices, values)) continue;
    for (uint32_t i = 0; i < k; ++i) column[indices[i] * kTileChunks] -= alpha * values[i];
    if (exact != nullptr) std::copy_n(values, k, exact + static_cast<size_t>(chunk) * k);
  }
}

void TileCodec::AccumulateAndExtract(const PayloadPlace& place, float scale,
                                     std::span<const float> gradient, std::span<float> momentum,
                                     std::string* payload, std::vector<float>* exact) {
  const uint64_t size = format_.chunk_size;
  ISTHMUS_CHECK(gradient.size() == place.chunks.count * size);
  ISTHMUS_CHECK(momentum.size() == TiledLength(place.chunks.count, format_.chunk_size));
  const bool keep = format_.values == ValueFormat::kSign;
  exact->assign(keep ? place.chunks.count * format_.k : 0, 0.0f);
  const int count = static_cast<int>(segments_.size());
  writer_.Begin(format_, place, payload, count);
  RunAll(parallel_, count, [&](int i) {
    Segment& segment = *segments_[static_cast<size_t>(i)];
    segment.writer = &writer_.segment(i);
    const PayloadPlace run = writer_.segment_place(i);
    const uint64_t begin = run.chunks.first - place.chunks.first;
    for (uint64_t at = 0; at < run.chunks.count; at += kTileChunks) {
      const uint64_t first = begin + at;
      const int chunks = static_cast<int>(std::min<uint64_t>(kTileChunks, run.chunks.count - at));
      float* const tile = momentum.data() + first * size;
      // Of the next tile, which is not in one page with this.
      const size_t next = at + 2 * kTileChunks <= run.chunks.count ? kTileChunks * size : 0;
      segment.gradient = Prefetcher(gradient.subspan(first * size + next, next));
      segment.momentum = Prefetcher(momentum.subspan(first * size + next, next));
      segment.gradient.Some();
      kernels_.accumulate(static_cast<int>(size), gradient.data() + first * size, chunks,
                          dials_.decay, scale, tile);
      segment.momentum.Some();
      ExtractTile(segment, chunks, tile, keep ? exact->data() + first * format_.k : nullptr);
    }
  });
  writer_.Finish();
}

void TileCodec::Return(const PayloadView& payload, std::span<const float> exact,
                       std::span<float> momentum) {
  const uint64_t size = format_.chunk_size;
  const uint32_t k = format_.k;
  const PayloadPlace& place = payload.place();
  ISTHMUS_CHECK(momentum.size() == TiledLength(place.chunks.count, format_.chunk_size));
  ISTHMUS_CHECK(exact.size() == (format_.values == ValueFormat::kSign ? place.chunks.count * k : 0));
  Segment& segment = *segments_[0];
  for (uint64_t chunk = 0; chunk < place.chunks.count; ++chunk) {
    uint8_t which;
    if (payload.Decode(place.chunks.first + chunk, 1, &which, segment.indices.data(),
                       segment.values.data()) == 0) {
      continue;
    }
    const float* values = exact.empty() ? segment.values.data() : exact.data() + chunk * k;
    float* const column =
        momentum.data() + chunk / kTileChunks * kTileChunks * size + chunk % kTileChunks;
    for (uint32_t i = 0; i < k; ++i) {
      if (values[i] == 0.0f) continue;
      column[segment.indices[i] * kTileChunks] += dials_.alpha * values[i];
    }
  }
}

}  // namespace isthmus
