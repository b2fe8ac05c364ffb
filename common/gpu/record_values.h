// What a record says of a value, in each format (docs/protocol.md, P19): value_codes.h and
// positions.h of common/kernels. Naively: naive_codes.h there.
#ifndef ISTHMUS_COMMON_GPU_RECORD_VALUES_H_
#define ISTHMUS_COMMON_GPU_RECORD_VALUES_H_

#include <stdint.h>

#include "common/compression/formats.h"
#include "common/device/grid.h"
#include "common/kernels/positions.h"
#include "common/kernels/value_codes.h"

namespace isthmus {

// What a record says of a value; of kSign: the value itself, for all of it is taken.
template <ValueFormat kValues>
ISTHMUS_KERNEL float SaidValue(float value, float scale) {
  const uint32_t bits = FloatBits(value);
  if constexpr (kValues == ValueFormat::kF32) {
    return value == 0.0f ? 0.0f : FloatOf(ClampToMaxValue(bits));
  } else if constexpr (kValues == ValueFormat::kBf16) {
    const uint32_t said = RoundToBf16(bits);
    return said << 1 == 0 ? 0.0f : FloatOf(said);
  } else if constexpr (kValues == ValueFormat::kInt4) {
    return Int4Value(Int4Code(value, scale), scale);
  } else if constexpr (kValues == ValueFormat::kTwoBit) {
    return TwoBitValue(TwoBitCode(value, scale), scale);
  } else if constexpr (kValues == ValueFormat::kOneBit) {
    return OneBitValue(bits >> 31, scale);
  } else {
    return value;
  }
}

// The bits that stand for a value; `element` is the flat vector's.
template <ValueFormat kValues>
ISTHMUS_KERNEL uint32_t CodeOf(float value, float said, float scale, uint64_t round,
                               uint64_t element) {
  if constexpr (kValues == ValueFormat::kF32) {
    return FloatBits(said);
  } else if constexpr (kValues == ValueFormat::kBf16) {
    return FloatBits(said) >> 16;
  } else if constexpr (kValues == ValueFormat::kInt4) {
    return Int4Code(value, scale);
  } else if constexpr (kValues == ValueFormat::kTwoBit) {
    return TwoBitCode(value, scale);
  } else if constexpr (kValues == ValueFormat::kOneBit) {
    return FloatBits(said) >> 31;
  } else {
    return value == 0.0f ? SignOfZero(round, element) : FloatBits(value) >> 31;
  }
}

// What such bits say; kSign: as of a magnitude of 1.
template <ValueFormat kValues>
ISTHMUS_KERNEL float ValueOf(uint32_t code, float scale) {
  if constexpr (kValues == ValueFormat::kF32) {
    return FloatOf(code);
  } else if constexpr (kValues == ValueFormat::kBf16) {
    return FloatOf(code << 16);
  } else if constexpr (kValues == ValueFormat::kInt4) {
    return Int4Value(code, scale);
  } else if constexpr (kValues == ValueFormat::kTwoBit) {
    return TwoBitValue(code, scale);
  } else {
    return OneBitValue(code, scale);
  }
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_RECORD_VALUES_H_
