// bfloat16 as jobs hold it: the upper half of a float32. Naively: naive_codes.h.
#ifndef ISTHMUS_COMMON_KERNELS_BFLOAT16_H_
#define ISTHMUS_COMMON_KERNELS_BFLOAT16_H_

#include <stdint.h>

#include "common/kernels/formula.h"
#include "common/kernels/value_codes.h"

namespace isthmus {

ISTHMUS_FORMULA float FromBfloat16(uint16_t half) { return FloatOf(uint32_t{half} << 16); }

// The nearest, ties to even; infinity beyond the largest; NaN stays NaN. (What goes between sites
// is rounded by RoundToBf16 in value_codes.h, which has no infinities.)
ISTHMUS_FORMULA uint16_t ToBfloat16(float value) {
  const uint32_t bits = FloatBits(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x0040);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_BFLOAT16_H_
