// Decodes an update's direction for a run of chunks and steps the parameters with it, in one pass:
// UpdateView::Direction (common/compression/update_payload.h) and ApplyDirection
// (common/optimizer/optimizer.h), to which apply_kernel_test.cc holds it. Every encoding of an
// update gives the same bits.
#ifndef ISTHMUS_COMMON_GPU_APPLY_KERNEL_H_
#define ISTHMUS_COMMON_GPU_APPLY_KERNEL_H_

#include <stdint.h>

#include "common/gpu/block_dct.h"
#include "common/gpu/block_records.h"
#include "common/gpu/chunk_block.h"
#include "common/gpu/record_format.h"
#include "common/optimizer/optimizer_formulas.h"

namespace isthmus {

// Which chunks of a payload are there (common/compression/presence_map.h).
struct PresenceView {
  const uint32_t* bits = nullptr;    // a bit per chunk; null: all are
  const uint32_t* before = nullptr;  // [words of bits]: set in the words before; null: record i is
                                     // chunk i's all the same
};
// The record of a chunk, if it is there.
struct RecordPlace {
  uint64_t record;
  bool present;
};
ISTHMUS_KERNEL RecordPlace FindRecord(const PresenceView& presence, uint64_t chunk) {
  if (presence.bits == nullptr) return {chunk, true};
  const uint32_t word = presence.bits[chunk / 32];
  const uint32_t below = word & ((uint32_t{1} << (chunk % 32)) - 1);
  const bool present = (word >> (chunk % 32) & 1) != 0;
  if (presence.before == nullptr) return {chunk, present};
  return {presence.before[chunk / 32] + CountOnes(below), present};
}

// One part of a contribution: chunks [first_chunk, first_chunk + chunks) of the flat vector.
struct PartRecords {
  uint64_t first_chunk = 0;
  uint64_t chunks = 0;
  const uint32_t* records = nullptr;
  PresenceView presence;
};
// A contribution. Its parts cover what is applied, ascending.
struct ContributionRecords {
  float weight = 1.0f;
  uint32_t part_count = 0;
  const PartRecords* parts = nullptr;
};

// What to do with elements [0, chunks * chunk_size) of a rank's part. Pointers are the device's.
struct ApplyParams {
  RecordFormat format;
  UpdateEncoding encoding = UpdateEncoding::kContributions;
  MergeRule merge = MergeRule::kSenderMean;
  bool sign = true;
  bool known_signs = false;  // HasKnownSigns (common/compression/direction.h)
  uint64_t round = 0;
  uint64_t first_chunk = 0;  // the flat vector's
  uint64_t chunks = 0;

  // kContributions: ascending by group.
  const ContributionRecords* contributions = nullptr;
  uint32_t contribution_count = 0;

  // Of the other encodings: the update's body (update_payload.h), 4-byte aligned, and which chunks
  // it has.
  uint64_t update_chunk = 0;  // the update's first chunk, in the flat vector
  PresenceView presence;
  const uint32_t* body = nullptr;
  const uint32_t* zeros = nullptr;  // kSigns
  uint64_t zero_count = 0;
  const uint32_t* values = nullptr;      // kValues: float bits
  const uint32_t* value_rank = nullptr;  // kValues: [present chunks] values before

  OptimizerSpec optimizer;
  const OptimizerScalars* scalars = nullptr;  // [parameter groups]
  const uint8_t* groups = nullptr;            // [elements / 64] each's parameter group
  float* parameters = nullptr;                // [chunks * chunk_size], 16-byte aligned
  float* state1 = nullptr;                    // as parameters, or null: optimizer.h
  float* state2 = nullptr;
};

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
    Step(place);
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

  // All: steps the block's parameters by the directions in its rows.
  template <typename Thread>
  ISTHMUS_KERNEL void Step(ChunkThread<N, Thread>& place) const {
    if (params.state1 == nullptr) {
      StepWith<0>(place, [](const OptimizerScalars& scalars, float u, Stepped& at) {
        SgdStep(scalars, u, at.parameter);
      });
    } else if (params.state2 == nullptr) {
      StepWith<1>(place, [this](const OptimizerScalars& scalars, float u, Stepped& at) {
        SgdMomentumStep(params.optimizer, scalars, u, at.parameter, at.state1);
      });
    } else {
      StepWith<2>(place, [this](const OptimizerScalars& scalars, float u, Stepped& at) {
        AdamWStep(params.optimizer, scalars, AdamWRatesOf(params.optimizer, scalars), u,
                  at.parameter, at.state1, at.state2);
      });
    }
  }
  // One element's.
  struct Stepped {
    float parameter, state1, state2;
  };
  // With an optimizer that keeps so many state vectors: step(scalars, direction, Stepped&). Several
  // loads are on their way at once: a store between them would make each wait for the one before.
  template <int kStates, typename Thread, typename StepOne>
  ISTHMUS_KERNEL void StepWith(ChunkThread<N, Thread>& place, const StepOne& step) const {
    constexpr int kFours = Shape::kPart / 4;
    constexpr int kAtOnce = kStates == 0 && kFours >= 8 ? 8 : 4;
    const uint32_t fours = place.fours();
    const uint64_t first = place.first_chunk() * (N / 4);
    auto* const parameters = reinterpret_cast<Float4*>(params.parameters) + first;
    auto* const states1 = reinterpret_cast<Float4*>(params.state1) + first;
    auto* const states2 = reinterpret_cast<Float4*>(params.state2) + first;
    const uint8_t* const groups = params.groups + first / 16;
    for (int begin = 0; begin < kFours; begin += kAtOnce) {
      Float4 p[kAtOnce], s1[kAtOnce], s2[kAtOnce];
      OptimizerScalars scalars[kAtOnce];
      ISTHMUS_KERNEL_UNROLL
      for (int j = 0; j < kAtOnce; ++j) {
        const uint32_t i = place.Four(begin + j);
        if (i >= fours) continue;
        p[j] = parameters[i];
        if constexpr (kStates >= 1) s1[j] = states1[i];
        if constexpr (kStates >= 2) s2[j] = states2[i];
        scalars[j] = params.scalars[groups[i / 16]];
      }
      ISTHMUS_KERNEL_UNROLL
      for (int j = 0; j < kAtOnce; ++j) {
        const uint32_t i = place.Four(begin + j);
        if (i >= fours) continue;
        const Float4 direction = place.RowFour(i);
        for (int element = 0; element < 4; ++element) {
          Stepped at = {p[j].at[element], 0.0f, 0.0f};
          if constexpr (kStates >= 1) at.state1 = s1[j].at[element];
          if constexpr (kStates >= 2) at.state2 = s2[j].at[element];
          step(scalars[j], direction.at[element], at);
          p[j].at[element] = at.parameter;
          if constexpr (kStates >= 1) s1[j].at[element] = at.state1;
          if constexpr (kStates >= 2) s2[j].at[element] = at.state2;
        }
        parameters[i] = p[j];
        if constexpr (kStates >= 1) states1[i] = s1[j];
        if constexpr (kStates >= 2) states2[i] = s2[j];
      }
    }
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_APPLY_KERNEL_H_
