// What an update is to a GPU: where its parts lie, and whose parameters it steps.
#ifndef ISTHMUS_COMMON_GPU_APPLY_PARAMS_H_
#define ISTHMUS_COMMON_GPU_APPLY_PARAMS_H_

#include <stdint.h>

#include "common/device/grid.h"
#include "common/gpu/record_format.h"
#include "common/optimizer/optimizer.h"

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
  ValueFormat values = ValueFormat::kTwoBit;  // of records with block scales: theirs may differ
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

  // kContributions, ascending by group; kRequantized: as one of them. With block scales, `merge` is
  // kMean or kSum.
  bool block_scales = false;
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

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_APPLY_PARAMS_H_
