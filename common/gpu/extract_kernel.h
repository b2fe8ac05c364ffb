// Momentum update, transform, selection, values and bits of a run of chunks, in one pass over
// gradient and momentum: what a replicator does for a part of a contribution
// (worker/replication/replicator.h). And the way back, for a contribution that missed its round.
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
    Float4* const momentum = place.Momentum(params.momentum);
    ISTHMUS_KERNEL_UNROLL
    for (int i = 0; i < Shape::kPart / 4; ++i) {
      const Float4 before = momentum[i * Shape::kChunks];
      for (int j = 0; j < 4; ++j) {
        const float entering = factor * values[4 * i + j];
        values[4 * i + j] = params.decay * before.at[j] + params.scale * entering;
      }
    }
    if (params.extract) Extract(place, values);
    ISTHMUS_KERNEL_UNROLL
    for (int i = 0; i < Shape::kPart / 4; ++i) {
      momentum[i * Shape::kChunks] = {
          {values[4 * i], values[4 * i + 1], values[4 * i + 2], values[4 * i + 3]}};
    }
  }

 private:
  // All: takes what is sent out of `values`.
  template <typename Thread>
  ISTHMUS_KERNEL void Extract(ChunkThread<N, Thread>& place, float (&values)[Shape::kPart]) const {
    using Records = BlockRecords<N, Thread>;
    const RecordFormat& format = params.format;
    const uint64_t chunk = params.first_chunk + place.chunk();
    PartSelection selection;
    selection.mask = format.indices <= RecordIndices::kKnown
                         ? Records::KnownElements(place, format, params.round, chunk)
                         : SelectTopK(place, values, format.payload.k);
    // (Where a row has several readers the scan makes them meet: nobody reads rows any more.)
    selection.before = place.Scan(CountOnes(selection.mask)).before;
    float* const row = place.row();
    uint32_t next = selection.before;
    ISTHMUS_KERNEL_UNROLL
    for (int j = 0; j < Shape::kPart; ++j) {
      if ((selection.mask >> j & 1) != 0) row[next++] = values[j];
    }
    Records::StoreMask(place, selection.mask);  // and all meet
    auto quantized = Records::Quantize(place, format);
    quantized.present &= place.live();
    Records::WriteElements(place, format, params.records, place.chunk(), selection, quantized);
    if (place.leads() && quantized.present) {
      place.thread().Or(params.presence + place.chunk() / 32, uint32_t{1} << (place.chunk() % 32));
    }
    WriteValues(place, selection, quantized);
    if (!quantized.present) return;
    next = selection.before;
    ISTHMUS_KERNEL_UNROLL
    for (int j = 0; j < Shape::kPart; ++j) {
      if ((selection.mask >> j & 1) != 0) values[j] -= row[next++];
    }
  }

  // Writes this thread's values, and puts what leaves the momentum in their place.
  template <typename Thread>
  ISTHMUS_KERNEL void WriteValues(
      ChunkThread<N, Thread>& place, const PartSelection& selection,
      const typename BlockRecords<N, Thread>::Quantized& quantized) const {
    using Records = BlockRecords<N, Thread>;
    if (!quantized.present) return;
    const RecordFormat& format = params.format;
    const float scale = ScaleOf(static_cast<uint32_t>(quantized.scale_code));
    const uint64_t first_element =
        (params.first_chunk + place.chunk()) * N + place.part() * Shape::kPart;
    float* const row = place.row();
    uint64_t bits = 0;  // of values of one bit
    uint32_t i = selection.before;
    for (uint64_t mask = selection.mask; mask != 0; mask &= mask - 1, ++i) {
      const float value = row[i];
      const float said = Records::SaidValue(format, value, scale);
      const uint32_t code = Records::ValueBits(format, value, said, scale, params.round,
                                               first_element + LowestOne(mask));
      if (format.value_bits == 1) {
        bits |= uint64_t{code} << (i - selection.before);
      } else {
        OrBits(place.thread(), params.records, Records::ValueBit(format, place.chunk(), i), code,
               format.value_bits);
      }
      if (params.exact != nullptr) params.exact[place.chunk() * format.payload.k + i] = value;
      row[i] = params.alpha * said;
    }
    if (format.value_bits == 1 && i > selection.before) {
      OrBits(place.thread(), params.records,
             Records::ValueBit(format, place.chunk(), selection.before), bits,
             static_cast<int>(i - selection.before));
    }
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
    const float scale = Records::ReadScale(format, params.records, chunk);
    Float4* const momentum = place.Momentum(params.momentum);
    uint32_t i = selection.before;
    for (uint64_t mask = selection.mask; mask != 0; mask &= mask - 1, ++i) {
      const float value = params.exact != nullptr
                              ? params.exact[chunk * format.payload.k + i]
                              : Records::ReadValue(format, params.records, chunk, scale, i);
      if (value == 0.0f) continue;
      const uint32_t j = LowestOne(mask);
      momentum[j / 4 * Shape::kChunks].at[j % 4] += params.alpha * value;
    }
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_EXTRACT_KERNEL_H_
