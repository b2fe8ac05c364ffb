// What kernels need to know of a run's payloads (common/compression/payload.h): sizes in bits, and
// the tables that ranking looks up, in the device's memory.
#ifndef ISTHMUS_COMMON_GPU_RECORD_FORMAT_H_
#define ISTHMUS_COMMON_GPU_RECORD_FORMAT_H_

#include <stdint.h>

#include "common/compression/formats.h"
#include "common/device/grid.h"
#include "common/kernels/tile_kernels.h"
#include "common/kernels/wide_subset_formulas.h"

namespace isthmus {

// How the elements of a record are told.
enum class RecordIndices : uint8_t {
  kAll = 0,       // every element is sent
  kKnown = 1,     // positions.h
  kPacked = 2,    // offsets, one after the other
  kRank = 3,      // of the subset, by tables
  kWideRank = 4,  // of more than kRankBits
};

struct RecordFormat {
  PayloadFormat payload;
  RecordIndices indices = RecordIndices::kAll;
  int index_bits = 0;   // of a record
  int offset_bits = 0;  // of one packed offset
  int stride_bits = 0;  // log2(chunk_size / k), for known positions
  int scale_bits = 0;
  int value_bits = 0;  // of one value
  int record_bits = 0;
  SubsetTables tables = {};           // kRank
  WideSubsetTables wide_tables = {};  // kWideRank
};

template <ValueFormat kValues>
struct OfValueFormat {
  static constexpr ValueFormat kFormat = kValues;
};
// Calls use(OfValueFormat<...>()), so that what it does is compiled for each format by itself.
template <typename Use>
ISTHMUS_KERNEL void WithValueFormat(ValueFormat values, const Use& use) {
  switch (values) {
    case ValueFormat::kF32:
      return use(OfValueFormat<ValueFormat::kF32>());
    case ValueFormat::kBf16:
      return use(OfValueFormat<ValueFormat::kBf16>());
    case ValueFormat::kInt4:
      return use(OfValueFormat<ValueFormat::kInt4>());
    case ValueFormat::kTwoBit:
      return use(OfValueFormat<ValueFormat::kTwoBit>());
    case ValueFormat::kOneBit:
      return use(OfValueFormat<ValueFormat::kOneBit>());
    case ValueFormat::kSign:
      return use(OfValueFormat<ValueFormat::kSign>());
  }
}

// Elements of what momentum lies in tiles of (lane_tiles.h): a chunk, or a block with a scale.
constexpr uint32_t TiledSize(const PayloadFormat& format) {
  return format.block_scales ? kScaleBlock : format.chunk_size;
}

// Words of 32 bits that hold the records of `chunks` chunks, and may be read a little beyond.
constexpr uint64_t RecordWords(const RecordFormat& format, uint64_t chunks) {
  return (chunks * static_cast<uint64_t>(format.record_bits) + 31) / 32 + 3;
}
// Words of a bit per chunk.
constexpr uint64_t PresenceWords(uint64_t chunks) { return (chunks + 31) / 32; }

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_RECORD_FORMAT_H_
