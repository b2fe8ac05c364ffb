// What payloads and updates of a run look like, in plain values: for the codec of CPUs and the
// kernels of GPUs alike.
#ifndef ISTHMUS_COMMON_COMPRESSION_FORMATS_H_
#define ISTHMUS_COMMON_COMPRESSION_FORMATS_H_

#include <cstdint>
#include <optional>

#include "common/tensor/chunk_run.h"

namespace isthmus {

// --- contributions (payload.h) -------------------------------------------------------------------

enum class Transform : uint8_t { kNone = 0, kDct = 1 };

// kInt4, kTwoBit, kOneBit: with a scale per chunk or block, the error stays in the momentum. kSign:
// the sign alone, for all groups alike; nothing stays.
enum class ValueFormat : uint8_t {
  kF32 = 0,
  kBf16 = 1,
  kInt4 = 2,
  kOneBit = 3,
  kSign = 4,
  kTwoBit = 5
};

// Of one value.
constexpr int ValueBits(ValueFormat values) {
  switch (values) {
    case ValueFormat::kF32:
      return 32;
    case ValueFormat::kBf16:
      return 16;
    case ValueFormat::kInt4:
      return 4;
    case ValueFormat::kTwoBit:
      return 2;
    case ValueFormat::kOneBit:
    case ValueFormat::kSign:
      return 1;
  }
  return 0;
}

// True for values that share a scale.
constexpr bool HasScale(ValueFormat values) {
  return values == ValueFormat::kInt4 || values == ValueFormat::kTwoBit ||
         values == ValueFormat::kOneBit;
}

// Elements that share a scale, where all are sent with a scale per block.
inline constexpr uint32_t kScaleBlock = 64;

// Which elements of a chunk are sent: chosen by the sender and told by indices, or known to all
// (common/kernels/positions.h). With k = chunk_size all are, whatever this says.
enum class Positions : uint8_t { kChosen = 0, kRandom = 1, kStriding = 2, kSlicing = 3 };

// What a run of chunks must look like: fixed by the run spec for a round.
struct PayloadFormat {
  Transform transform = Transform::kDct;
  uint32_t chunk_size = 64;  // elements, at most 65536
  uint32_t k = 4;            // sent per chunk; chunk_size: all, without indices
  ValueFormat values = ValueFormat::kBf16;
  Positions positions = Positions::kChosen;
  uint64_t seed = 0;  // of kRandom
  // A scale for every 64 elements, whatever the chunk: where all are sent, in values that have one.
  bool block_scales = false;
  friend bool operator==(const PayloadFormat&, const PayloadFormat&) = default;

  bool has_indices() const { return positions == Positions::kChosen && k < chunk_size; }
};

// True if positions.h knows k of chunk_size elements: both powers of two, k < chunk_size.
bool HasPositions(uint32_t chunk_size, uint32_t k);

// True if contributions in this format can be read as masks (PayloadView::DecodeSigns).
bool HasSignTiles(const PayloadFormat& format);

// Where a payload belongs.
struct PayloadPlace {
  uint64_t round = 0;
  ChunkRun chunks;  // of the flat vector's
  friend bool operator==(const PayloadPlace&, const PayloadPlace&) = default;
};

// --- updates (merge.h, update_payload.h) ---------------------------------------------------------

// kSenderMean: per coefficient, the mean over the groups that sent it. kMean: over all
// contributors. kSum. A value of exactly zero after weighting is not sent, whatever the payload's
// length.
enum class MergeRule : uint8_t { kSenderMean = 0, kMean = 1, kSum = 2 };

enum class UpdateEncoding : uint8_t {
  kSigns = 1,
  kValues = 2,
  kTernary = 3,
  kContributions = 4,
  kRequantized = 5
};

struct UpdateFormat {
  // What every contribution looks like; of those that are not uniform, k is the largest.
  PayloadFormat contribution;
  MergeRule merge = MergeRule::kSenderMean;
  bool sign = true;  // the direction is the sign of the decoded mean (0 stays 0)
  // False: contributions may differ in k and in values.
  bool uniform = true;
  // Of contributions with block scales: what a mean of many of them is said in, with block scales
  // again, so that an update does not grow with their number (docs/protocol.md, P20).
  std::optional<ValueFormat> requantized;
  friend bool operator==(const UpdateFormat&, const UpdateFormat&) = default;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_FORMATS_H_
