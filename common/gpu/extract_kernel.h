// Momentum update, transform, selection, values and bits of a run of chunks, in one pass over
// gradient and momentum: what a replicator does for a part of a contribution
// (worker/replication/replicator.h). And the way back, for a contribution that missed its round.
// Naively: AccumulateMomentum, Extract and ReturnSelection (common/compression/demo_codec.h), to
// which extract_kernel_test.cc holds it.
#ifndef ISTHMUS_COMMON_GPU_EXTRACT_KERNEL_H_
#define ISTHMUS_COMMON_GPU_EXTRACT_KERNEL_H_

#include <stdint.h>

#include "common/gpu/block_dct.h"
#include "common/gpu/block_records.h"
#include "common/gpu/block_top_k.h"
#include "common/gpu/chunk_block.h"
#include "common/gpu/record_format.h"

namespace isthmus {

// Pointers are the device's; `gradient` and `momentum` 16-byte aligned.
struct ExtractParams {
  RecordFormat format;
  uint64_t chunks = 0;
  const float* gradient = nullptr;  // [chunks, chunk_size]
  float* momentum = nullptr;        // lane_tiles.h
  float decay = 1.0f;
  float scale = 1.0f;
  float alpha = 1.0f;  // the share of what is sent that leaves the momentum

  // Only the momentum update if false; the rest is then not looked at.
  bool extract = true;
  uint64_t round = 0;
  uint64_t first_chunk = 0;      // the flat vector's
  uint32_t* records = nullptr;   // [RecordWords], zero: chunk i's at i * record_bits, absent or not
  uint32_t* presence = nullptr;  // [PresenceWords], zero: bit i is set if chunk i sends something
  float* exact = nullptr;        // values sign: [chunks, k], zero, gets what was taken; else null
};

// This thread's part of the momentum, `factor` times `values` added to what it was; and its end.
template <int N, typename Thread>
ISTHMUS_KERNEL void AddToMomentum(ChunkThread<N, Thread>& place, const ExtractParams& params,
                                  float factor, float (&values)[ChunkShape<N>::kPart]) {
  const Float4* const momentum = place.Momentum(params.momentum);
  ISTHMUS_KERNEL_UNROLL
  for (int i = 0; i < ChunkShape<N>::kPart / 4; ++i) {
    const Float4 before = momentum[i * ChunkShape<N>::kChunks];
    for (int j = 0; j < 4; ++j) {
      const float entering = factor * values[4 * i + j];
      values[4 * i + j] = params.decay * before.at[j] + params.scale * entering;
    }
  }
}
template <int N, typename Thread>
ISTHMUS_KERNEL void StoreMomentum(ChunkThread<N, Thread>& place, const ExtractParams& params,
                                  const float (&values)[ChunkShape<N>::kPart]) {
  Float4* const momentum = place.Momentum(params.momentum);
  ISTHMUS_KERNEL_UNROLL
  for (int i = 0; i < ChunkShape<N>::kPart / 4; ++i) {
    momentum[i * ChunkShape<N>::kChunks] = {
        {values[4 * i], values[4 * i + 1], values[4 * i + 2], values[4 * i + 3]}};
  }
}

template <int N>
struct ExtractKernel {
  ExtractParams params;

  using Shape = ChunkShape<N>;
  static constexpr size_t kSharedBytes = sizeof(ChunkMemory<N>);

  template <typename Thread>
  ISTHMUS_KERNEL void operator()(Thread& thread) const {
    using Place = ChunkThread<N, Thread>;
    Place place(thread, params.chunks);
    float values[Shape::kPart];
    place.LoadRows(params.gradient);
    place.Meet();
    float factor = 1.0f;
    if (params.format.payload.transform == Transform::kDct) {
      BlockDct<N, Thread>::Forward(place, values);
      factor = BlockDct<N, Thread>::Scale();
    } else {
      place.LoadPart(values);
    }
    AddToMomentum(place, params, factor, values);
    if (params.extract) Extract(place, values);
    StoreMomentum(place, params, values);
  }

 private:
  // All: takes what is sent out of `values`.
  template <typename Thread>
  ISTHMUS_KERNEL void Extract(ChunkThread<N, Thread>& place, float (&values)[Shape::kPart]) const {
    using Records = BlockRecords<N, Thread>;
    const RecordFormat& format = params.format;
    const uint64_t chunk = params.first_chunk + place.chunk();
    // Rows become the momentum: where an element is known by its place alone, it is read from
    // there.
    place.StorePart(values);
    PartSelection selection;
    selection.mask = format.indices <= RecordIndices::kKnown
                         ? Records::KnownElements(place, format, params.round, chunk)
                         : BlockTopK<N, Thread>::Select(place, values, format.payload.k);
    selection.before = place.Scan(CountOnes(selection.mask)).before;
    Records::StoreMask(place, selection.mask);  // and all meet
    auto quantized = Records::Quantize(place, format, selection);
    quantized.present &= place.live();
    Records::WriteElements(place, format, params.records, place.chunk(), selection, quantized);
    if (!quantized.present) return;
    if (place.leads()) {
      place.thread().Or(params.presence + place.chunk() / 32, uint32_t{1} << (place.chunk() % 32));
    }
    const float scale = ScaleOf(static_cast<uint32_t>(quantized.scale_code));
    WithValueFormat(format.payload.values,
                    [&](auto of) { WriteValues<decltype(of)::kFormat>(place, selection, scale); });
    place.LoadPart(values);
  }

  // Writes this thread's values, and takes what leaves the momentum out of its row.
  template <ValueFormat kValues, typename Thread>
  ISTHMUS_KERNEL void WriteValues(ChunkThread<N, Thread>& place, const PartSelection& selection,
                                  float scale) const {
    using Records = BlockRecords<N, Thread>;
    constexpr int kBits = ValueBits(kValues);
    const uint64_t first_element =
        (params.first_chunk + place.chunk()) * N + place.part() * Shape::kPart;
    const uint64_t bit = Records::ValueBit(params.format, place.chunk(), selection.before);
    float* const row = place.row() + place.part() * Shape::kPart;
    float* exact = params.exact;
    if (exact != nullptr) exact += place.chunk() * params.format.payload.k + selection.before;
    uint64_t bits = 0;  // of values of one bit
    int count = 0;
    for (uint64_t mask = selection.mask; mask != 0; mask &= mask - 1, ++count) {
      const uint32_t j = LowestOne(mask);
      const float value = row[j];
      const float said = SaidValue<kValues>(value, scale);
      const uint64_t code = CodeOf<kValues>(value, said, scale, params.round, first_element + j);
      if constexpr (kBits == 1) {
        bits |= code << count;
      } else {
        OrBits(place.thread(), params.records, bit + static_cast<uint64_t>(count * kBits), code,
               kBits);
      }
      if (exact != nullptr) exact[count] = value;
      row[j] = value - params.alpha * said;
    }
    if (kBits == 1 && count > 0) OrBits(place.thread(), params.records, bit, bits, count);
  }
};

// Adds back what an extraction took: records, presence and exact values as it left them.
struct ReturnParams {
  RecordFormat format;
  uint64_t chunks = 0;
  float* momentum = nullptr;
  float alpha = 1.0f;
  uint64_t round = 0;
  uint64_t first_chunk = 0;
  const uint32_t* records = nullptr;
  const uint32_t* presence = nullptr;
  const float* exact = nullptr;
};

template <int N>
struct ReturnKernel {
  ReturnParams params;

  using Shape = ChunkShape<N>;
  static constexpr size_t kSharedBytes = sizeof(ChunkMemory<N>);

  template <typename Thread>
  ISTHMUS_KERNEL void operator()(Thread& thread) const {
    using Records = BlockRecords<N, Thread>;
    ChunkThread<N, Thread> place(thread, params.chunks);
    const RecordFormat& format = params.format;
    const uint64_t chunk = place.chunk();
    const bool present = place.live() && (params.presence[chunk / 32] >> (chunk % 32) & 1) != 0;
    const PartSelection selection = Records::ReadElements(
        place, format, params.round, params.first_chunk + chunk, params.records, chunk, present);
    if (!present) return;
    Float4* const momentum = place.Momentum(params.momentum);
    const auto give_back = [&](uint32_t j, float value) {
      if (value != 0.0f) momentum[j / 4 * Shape::kChunks].at[j % 4] += params.alpha * value;
    };
    if (params.exact == nullptr) {
      return Records::ForEachValue(format, params.records, chunk, selection, give_back);
    }
    const float* exact = params.exact + chunk * format.payload.k + selection.before;
    for (uint64_t mask = selection.mask; mask != 0; mask &= mask - 1) {
      give_back(LowestOne(mask), *exact++);
    }
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_EXTRACT_KERNEL_H_
