// Decodes an update's direction for a run of chunks and steps the parameters with it, in one pass:
// UpdateView::Direction (common/compression/update_payload.h) and ApplyDirection
// (common/optimizer/optimizer.h), to which apply_kernel_test.cc holds it. Every encoding of an
// update gives the same bits.
#ifndef ISTHMUS_COMMON_GPU_APPLY_KERNEL_H_
#define ISTHMUS_COMMON_GPU_APPLY_KERNEL_H_

#include <stdint.h>

#include "common/gpu/apply_params.h"
#include "common/gpu/block_dct.h"
#include "common/gpu/block_records.h"
#include "common/gpu/block_step.h"
#include "common/gpu/chunk_block.h"

namespace isthmus {

template <int N>
struct ApplyKernel {
  ApplyParams params;

  using Shape = ChunkShape<N>;
  // How many sent each element, two floats apart from a multiple of 128 bytes.
  static constexpr int kCountRow = N + 2;
  struct Memory {
    ChunkMemory<N> chunks;
    uint16_t counts[Shape::kChunks * kCountRow];
  };
  static constexpr size_t kSharedBytes = sizeof(Memory);

  template <typename Thread>
  ISTHMUS_KERNEL void operator()(Thread& thread) const {
    ChunkThread<N, Thread> place(thread, params.chunks);
    if (params.encoding == UpdateEncoding::kContributions) {
      const bool present = Merge(place);
      Direction(place, present);
    } else {
      RecordPlace at = {0, false};
      if (place.live()) {
        at = FindRecord(params.presence, params.first_chunk + place.chunk() - params.update_chunk);
      }
      ClearRow(place);
      if (params.encoding == UpdateEncoding::kValues) {
        ReadValues(place, at);
        Direction(place, at.present);
      } else if (params.known_signs) {
        ReadKnownSigns(place, at);
      } else if (at.present) {
        ReadSigns(place, at.record);
      }
    }
    place.Meet();
    BlockStep<N, Thread>::Run(place, params);
  }

 private:
  template <typename Thread>
  ISTHMUS_KERNEL static uint16_t* Counts(ChunkThread<N, Thread>& place) {
    return reinterpret_cast<Memory*>(&place.memory())->counts + place.lane() * kCountRow;
  }

  // This thread's part of its row becomes 0.
  template <typename Thread>
  ISTHMUS_KERNEL static void ClearRow(ChunkThread<N, Thread>& place) {
    auto* const row = reinterpret_cast<Float4*>(place.row() + place.part() * Shape::kPart);
    for (int i = 0; i < Shape::kPart / 4; ++i) row[i] = {{0.0f, 0.0f, 0.0f, 0.0f}};
  }

  // All: rows become merged coefficients (merge.h); true where some group sent something. Each
  // thread adds to its own part alone.
  template <typename Thread>
  ISTHMUS_KERNEL bool Merge(ChunkThread<N, Thread>& place) const {
    using Records = BlockRecords<N, Thread>;
    const uint64_t chunk = params.first_chunk + place.chunk();
    float* const row = place.row() + place.part() * Shape::kPart;
    uint16_t* const counts = Counts(place) + place.part() * Shape::kPart;
    ClearRow(place);
    uint64_t sent = 0, shared = 0;  // elements that some group sent, and more than one
    for (uint32_t c = 0; c < params.contribution_count; ++c) {
      const ContributionRecords& contribution = params.contributions[c];
      RecordPlace at = {0, false};
      const uint32_t* words = nullptr;
      if (place.live()) {
        const PartRecords* part = contribution.parts;
        while (chunk >= part->first_chunk + part->chunks) ++part;
        at = FindRecord(part->presence, chunk - part->first_chunk);
        words = part->records;
      }
      const PartSelection selection = Records::ReadElements(place, params.format, params.round,
                                                            chunk, words, at.record, at.present);
      if (!at.present) continue;
      const float weight = contribution.weight;
      const auto add = [&](uint32_t j, float sent_value) {
        const float value = weight * sent_value;
        if (value == 0.0f) return;
        const uint64_t bit = uint64_t{1} << j;
        if ((sent & bit) == 0) {
          row[j] = value;
          counts[j] = 1;
        } else {
          row[j] += value;
          ++counts[j];
        }
        shared |= sent & bit;
        sent |= bit;
      };
      Records::ForEachValue(params.format, words, at.record, selection, add);
    }
    uint64_t divided = 0;
    if (params.merge == MergeRule::kSenderMean) divided = shared;
    if (params.merge == MergeRule::kMean && params.contribution_count > 1) divided = sent;
    for (; divided != 0; divided &= divided - 1) {
      const uint32_t j = LowestOne(divided);
      const uint32_t by =
          params.merge == MergeRule::kSenderMean ? counts[j] : params.contribution_count;
      row[j] = row[j] / static_cast<float>(by) + 0.0f;  // never -0
    }
    return place.Scan(sent != 0 ? 1 : 0).all != 0;
  }

  // All: rows, coefficients so far, become the direction; 0 where the chunk is not `present`.
  template <typename Thread>
  ISTHMUS_KERNEL void Direction(ChunkThread<N, Thread>& place, bool present) const {
    float values[Shape::kPart];
    float factor = 1.0f;
    place.LoadPart(values);
    if (params.format.payload.transform == Transform::kDct) {
      BlockDct<N, Thread>::Inverse(place, values);
      place.LoadPart(values);
      factor = BlockDct<N, Thread>::Scale();
    }
    if (params.sign) {  // of no coefficients it is 0, too
      ISTHMUS_KERNEL_UNROLL
      for (int i = 0; i < Shape::kPart; ++i) values[i] = SignOf(factor * values[i]);
    } else {
      ISTHMUS_KERNEL_UNROLL
      for (int i = 0; i < Shape::kPart; ++i) values[i] = present ? factor * values[i] : 0.0f;
    }
    place.StorePart(values);
  }

  ISTHMUS_KERNEL static float SignOf(float u) {
    const float sign = FloatOf((FloatBits(u) & 0x80000000) | 0x3f800000);
    return u == 0.0f ? 0.0f : sign;
  }

  template <typename Thread>
  ISTHMUS_KERNEL void ReadValues(ChunkThread<N, Thread>& place, const RecordPlace& at) const {
    uint64_t mask = 0;
    if (at.present) {
      mask = LoadWordBits(params.body, at.record * N + place.part() * Shape::kPart, Shape::kPart);
    }
    uint32_t next = place.Scan(CountOnes(mask)).before;
    if (!at.present) return;
    next += params.value_rank[at.record];
    float* const row = place.row() + place.part() * Shape::kPart;
    for (; mask != 0; mask &= mask - 1, ++next) {
      row[LowestOne(mask)] = FloatOf(params.values[next]);
    }
  }

  // Where `element` is in the list of zeros, or would be.
  ISTHMUS_KERNEL uint64_t FindZero(uint64_t element) const {
    uint64_t begin = 0, end = params.zero_count;
    while (begin < end) {
      const uint64_t middle = begin + (end - begin) / 2;
      if (params.zeros[middle] < element) {
        begin = middle + 1;
      } else {
        end = middle;
      }
    }
    return begin;
  }

  template <typename Thread>
  ISTHMUS_KERNEL void ReadSigns(ChunkThread<N, Thread>& place, uint64_t record) const {
    const uint64_t first = record * N + place.part() * Shape::kPart;
    const uint64_t negative = LoadWordBits(params.body, first, Shape::kPart);
    float values[Shape::kPart];
    ISTHMUS_KERNEL_UNROLL
    for (int i = 0; i < Shape::kPart; ++i) {
      values[i] = OneBitValue(static_cast<uint32_t>(negative >> i & 1), 1.0f);
    }
    place.StorePart(values);
    float* const row = place.row() + place.part() * Shape::kPart;
    for (uint64_t i = FindZero(first); i < params.zero_count; ++i) {
      if (params.zeros[i] >= first + Shape::kPart) break;
      row[params.zeros[i] - first] = 0.0f;
    }
  }

  // All: the signs of the elements whose turn it is, one bit or a digit of base 3 each.
  template <typename Thread>
  ISTHMUS_KERNEL void ReadKnownSigns(ChunkThread<N, Thread>& place, const RecordPlace& at) const {
    using Records = BlockRecords<N, Thread>;
    const uint64_t chunk = params.first_chunk + place.chunk();
    const uint64_t elements = Records::KnownElements(place, params.format, params.round, chunk);
    uint64_t element = at.record * params.format.payload.k + place.Scan(CountOnes(elements)).before;
    if (!at.present) return;
    float* const row = place.row() + place.part() * Shape::kPart;
    for (uint64_t mask = elements; mask != 0; mask &= mask - 1, ++element) {
      float u;
      if (params.encoding == UpdateEncoding::kTernary) {
        uint32_t digits = static_cast<uint32_t>(LoadWordBits(params.body, element / 5 * 8, 8));
        for (uint64_t i = element % 5; i > 0; --i) digits /= 3;
        u = digits % 3 == 0 ? 0.0f : digits % 3 == 1 ? 1.0f : -1.0f;
      } else {
        u = OneBitValue(static_cast<uint32_t>(LoadWordBits(params.body, element, 1)), 1.0f);
        const uint64_t zero = FindZero(element);
        if (zero < params.zero_count && params.zeros[zero] == element) u = 0.0f;
      }
      row[LowestOne(mask)] = u;
    }
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_APPLY_KERNEL_H_
