// How values look on the wire (docs/protocol.md, P19) and in a job's bfloat16, naively: what
// value_codes.h and bfloat16.h do to the bits of floats. In double, which has room for everything
// that floats would round.
#ifndef ISTHMUS_COMMON_KERNELS_NAIVE_CODES_H_
#define ISTHMUS_COMMON_KERNELS_NAIVE_CODES_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace isthmus::naive {

// No payload carries more than 2^100.
inline double Clamped(double x) { return std::copysign(std::min(std::fabs(x), 0x1p100), x); }

// The multiple of a bfloat16's last place that is nearest to x, ties to even; not for NaN.
inline double NearestBfloat16(float x) {
  if (x == 0.0f || std::isinf(x)) return x;
  const double place = std::ldexp(1.0, std::max(std::ilogb(x), -126) - 7);
  return std::nearbyint(static_cast<double>(x) / place) * place;
}
// As a job has it, who knows infinity.
inline float JobBfloat16(float x) {
  const double nearest = NearestBfloat16(x);
  if (std::fabs(nearest) < 0x1p128) return static_cast<float>(nearest);
  return std::copysign(std::numeric_limits<float>::infinity(), x);
}
inline float OfBfloat16(uint16_t half) { return std::bit_cast<float>(uint32_t{half} << 16); }

// 1, 1.25, 1.5 and 1.75 times 2^-44, and on in powers of two.
inline double ScaleOf(int code) { return std::ldexp(1.0 + (code & 3) / 4.0, (code >> 2) - 44); }
// The code nearest to `scale` >= 0, ties up, at most 255; -1 where it would be one below 0.
inline int ScaleCode(float scale) {
  int code = -1;
  while (code < 255 && static_cast<double>(scale) >= (ScaleOf(code) + ScaleOf(code + 1)) / 2) {
    ++code;
  }
  return code;
}

// Of 4 bits: how many times the scale, the nearest (ties up) of 0 to 7 as floats divide and add.
inline int Steps(float value, float scale) {
  return static_cast<int>(std::min(std::floor(std::fabs(value) / scale + 0.5f), 7.0f));
}
inline uint32_t Int4Code(float value, float scale) {
  const int steps = Steps(value, scale);
  return static_cast<uint32_t>(steps) + (steps > 0 && value < 0.0f ? 8 : 0);
}
inline double Int4Value(uint32_t code, double scale) {
  return (code < 8 ? 1.0 : -1.0) * static_cast<double>(code % 8) * scale;
}

}  // namespace isthmus::naive

#endif  // ISTHMUS_COMMON_KERNELS_NAIVE_CODES_H_
