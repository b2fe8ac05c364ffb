// How values look on the wire (docs/protocol.md, P19), as integer arithmetic on the bits of floats:
// the same on CPUs and GPUs. Naively, by distances in double: naive_codes.h.
#ifndef ISTHMUS_COMMON_KERNELS_VALUE_CODES_H_
#define ISTHMUS_COMMON_KERNELS_VALUE_CODES_H_

#include <math.h>
#include <stdint.h>

#include "common/kernels/formula.h"

namespace isthmus {

// No payload carries a larger magnitude, 2^100: the sums over a thousand groups and 4096
// coefficients stay finite. Momentum beyond it is sent in several rounds.
inline constexpr uint32_t kMaxValueBits = 0x71800000;

ISTHMUS_FORMULA uint32_t FloatBits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  return bits;
}
ISTHMUS_FORMULA float FloatOf(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}

// --- f32 and bf16 ------------------------------------------------------------------------------

ISTHMUS_FORMULA uint32_t ClampToMaxValue(uint32_t bits) {
  const uint32_t magnitude = bits & 0x7fffffff;
  return (bits & 0x80000000) | (magnitude < kMaxValueBits ? magnitude : kMaxValueBits);
}

// The nearest bfloat16 as float bits, ties to even, within kMaxValueBits.
ISTHMUS_FORMULA uint32_t RoundToBf16(uint32_t bits) {
  // Half a unit less one, plus the bit that makes a tie round up to even.
  const uint32_t rounded = ((bits & 0x7fffffff) + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
  return ClampToMaxValue((bits & 0x80000000) | rounded);
}

// --- a scale per chunk, 8 bits -----------------------------------------------------------------

// Code c stands for the float whose exponent and two highest mantissa bits are c + kScaleCodeBase:
// 1, 1.25, 1.5 or 1.75 times a power of two from 2^-44 to 2^19.
inline constexpr uint32_t kScaleCodeBase = (127 - 44) << 2;
inline constexpr int kNoScale = -1;

// The code nearest to scale >= 0 (ties up), at most 255; kNoScale if that would be below the
// smallest: there is nothing worth sending.
ISTHMUS_FORMULA int ScaleCode(float scale) {
  const uint32_t steps = (FloatBits(scale) + (1u << 20)) >> 21;
  if (steps < kScaleCodeBase) return kNoScale;
  return steps - kScaleCodeBase < 255 ? static_cast<int>(steps - kScaleCodeBase) : 255;
}
ISTHMUS_FORMULA float ScaleOf(uint32_t code) { return FloatOf((code + kScaleCodeBase) << 21); }

// --- 4 bits: sign and a magnitude of 0 to 7 times the scale --------------------------------------

// The scale for a largest magnitude `most`: a seventh of it. (7 * 2^19 is below kMaxValueBits.)
ISTHMUS_FORMULA int Int4ScaleCode(float most) { return ScaleCode(most / 7.0f); }

// 8 for negative, plus the magnitude; never -0.
ISTHMUS_FORMULA uint32_t Int4Code(float value, float scale) {
  const float magnitude = FloatOf(FloatBits(value) & 0x7fffffff) / scale + 0.5f;
  const uint32_t steps = magnitude < 7.0f ? static_cast<uint32_t>(magnitude) : 7;
  return steps == 0 ? 0 : steps | (FloatBits(value) >> 31 << 3);
}
ISTHMUS_FORMULA float Int4Value(uint32_t code, float scale) {
  const float magnitude = static_cast<float>(code & 7) * scale;  // exact: 3 bits times 3 bits
  return FloatOf(FloatBits(magnitude) | (code >> 3 << 31));
}

// --- 2 bits: sign, and a magnitude of half the scale or one and a half times it ------------------

// The scale for values whose squares have this mean: of a normal distribution, the levels lose
// least (Max, "Quantizing for minimum distortion", 1960, table I, N = 4).
ISTHMUS_FORMULA int TwoBitScaleCode(float mean_square) {
  return ScaleCode(0.9957f * sqrtf(mean_square));
}

// 2 for negative, 1 for the larger magnitude.
ISTHMUS_FORMULA uint32_t TwoBitCode(float value, float scale) {
  const uint32_t large = FloatOf(FloatBits(value) & 0x7fffffff) >= scale ? 1 : 0;
  return FloatBits(value) >> 31 << 1 | large;
}
ISTHMUS_FORMULA float TwoBitValue(uint32_t code, float scale) {
  const float magnitude = (static_cast<float>(code & 1) + 0.5f) * scale;  // exact
  return FloatOf(FloatBits(magnitude) | (code >> 1 << 31));
}

// --- 1 bit -------------------------------------------------------------------------------------

ISTHMUS_FORMULA float OneBitValue(uint32_t negative, float magnitude) {
  return FloatOf(FloatBits(magnitude) | negative << 31);
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_VALUE_CODES_H_
