// A block of 64 values said in a few bits each and a scale of them all (docs/protocol.md, P19),
// naively: what block_kernels.h does side by side.
#ifndef ISTHMUS_COMMON_KERNELS_NAIVE_BLOCK_H_
#define ISTHMUS_COMMON_KERNELS_NAIVE_BLOCK_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "common/kernels/naive_codes.h"

namespace isthmus::naive {

inline constexpr int kBlock = 64;

// Every sixteenth element is summed in ascending order; of the sixteen sums the upper half is added
// to the lower, then again until one is left. (Sums of floats depend on their order; this one suits
// registers of any width up to 16.)
template <typename Term>
float BlockSum(const float* x, const Term& term) {
  std::array<float, 16> sums{};
  for (int i = 0; i < kBlock; ++i) sums[static_cast<size_t>(i % 16)] += term(x[i]);
  for (size_t half = 8; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

// The scale before it is rounded to a code: the mean magnitude for signs, the step of four levels
// that lose least of a normal distribution, a seventh of the largest magnitude for 15.
inline float BlockScale(int bits, const float* x) {
  if (bits == 1) return BlockSum(x, [](float v) { return std::fabs(v); }) / 64.0f;
  if (bits == 2) return 0.9957f * std::sqrt(BlockSum(x, [](float v) { return v * v; }) / 64.0f);
  float most = 0.0f;
  for (int i = 0; i < kBlock; ++i) most = std::max(most, std::fabs(x[i]));
  return most / 7.0f;
}

// What stands for a value: 1 bit: its sign; 2: sign, and whether it is one and a half times the
// scale rather than half of it; 4: naive_codes.h.
inline uint32_t BlockCode(int bits, float value, float scale) {
  const uint32_t negative = std::signbit(value) ? 1 : 0;
  if (bits == 1) return negative;
  if (bits == 2) return 2 * negative + (std::fabs(value) >= scale ? 1 : 0);
  return Int4Code(value, scale);
}
inline double BlockValue(int bits, uint32_t code, double scale) {
  if (bits == 1) return code != 0 ? -scale : scale;
  if (bits == 2) return (code >= 2 ? -0.5 : 0.5) * (code % 2 != 0 ? 3.0 : 1.0) * scale;
  return Int4Value(code, scale);
}

// As TileKernels::take_blocks of one, with -1 for nothing, and say_block.
inline int TakeBlock(int bits, float* x, uint64_t* codes) {
  std::fill_n(codes, bits, 0);
  const int scale_code = ScaleCode(BlockScale(bits, x));
  if (scale_code < 1) return -1;
  const auto scale = static_cast<float>(ScaleOf(scale_code));
  for (int i = 0; i < kBlock; ++i) {
    const uint32_t code = BlockCode(bits, x[i], scale);
    codes[i * bits / 64] |= uint64_t{code} << (i * bits % 64);
    x[i] -= static_cast<float>(BlockValue(bits, code, static_cast<double>(scale)));
  }
  return scale_code;
}
inline void SayBlock(int bits, int scale_code, const uint64_t* codes, float* values) {
  for (int i = 0; i < kBlock; ++i) {
    const auto code =
        static_cast<uint32_t>(codes[i * bits / 64] >> (i * bits % 64) & ((1u << bits) - 1));
    values[i] = static_cast<float>(BlockValue(bits, code, ScaleOf(scale_code)));
  }
}

}  // namespace isthmus::naive

#endif  // ISTHMUS_COMMON_KERNELS_NAIVE_BLOCK_H_
