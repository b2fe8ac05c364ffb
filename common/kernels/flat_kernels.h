// Kernels that go element by element (tile_kernels.h). Naively: naive_flat.h.
#ifndef ISTHMUS_COMMON_KERNELS_FLAT_KERNELS_H_
#define ISTHMUS_COMMON_KERNELS_FLAT_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

#include "common/kernels/bfloat16.h"
#include "common/kernels/lanes.h"
#include "common/kernels/tile_kernels.h"
#include "common/kernels/value_codes.h"

namespace isthmus {

template <int W>
class FlatKernels {
  using L = Lanes<W>;
  using F = typename L::F;
  using I = typename L::I;
  using U = typename L::U;

 public:
  static void Mean(float most, const float* pairs, float* out, size_t n) {
    size_t i = 0;
    for (; i + W <= n; i += W) {
      const F a = L::Load(pairs + 2 * i), b = L::Load(pairs + 2 * i + W);
      const F sum = Even(a, b), count = Odd(a, b);
      // Division by one and by two are products, of the same bits.
      const F mean = most <= 2.0f ? sum * (count > 1.0f ? F{} + 0.5f : F{} + 1.0f)
                                  : sum / L::Max(count, F{} + 1.0f);
      L::Store(mean + 0.0f, out + i);
    }
    for (; i < n; ++i) {
      const float count = pairs[2 * i + 1];
      out[i] = pairs[2 * i] / (count > 1.0f ? count : 1.0f) + 0.0f;
    }
  }

  static void AccumulateFlat(float decay, float scale, const float* gradient, float* momentum,
                             size_t n) {
    size_t i = 0;
    for (; i + W <= n; i += W) {
      L::Store(decay * L::Load(momentum + i) + scale * L::Load(gradient + i), momentum + i);
    }
    for (; i < n; ++i) momentum[i] = decay * momentum[i] + scale * gradient[i];
  }

  static void Sgd(float decay, float lr, const float* direction, float* parameters, size_t n) {
    size_t i = 0;
    for (; i + W <= n; i += W) {
      L::Store(decay * L::Load(parameters + i) - lr * L::Load(direction + i), parameters + i);
    }
    for (; i < n; ++i) parameters[i] = decay * parameters[i] - lr * direction[i];
  }

  static bool Progress(float most, float weight, const float* given, const float* now,
                       float* progress, size_t n) {
    I usable = ~I{};
    size_t i = 0;
    for (; i + W <= n; i += W) {
      const F p = weight * (L::Load(given + i) - L::Load(now + i));
      usable &= L::Mask(L::Abs(p) <= most);
      L::Store(p, progress + i);
    }
    bool rest = true;
    for (; i < n; ++i) rest &= Within(most, progress[i] = weight * (given[i] - now[i]));
    return L::All(usable) && rest;
  }

  static bool ProgressBf16(float most, float weight, const float* given, const uint16_t* now,
                           float* progress, size_t n) {
    I usable = ~I{};
    size_t i = 0;
    for (; i + W <= n; i += W) {
      const F p = weight * (Bf16(L::Load(given + i)) - L::LoadHalves(now + i));
      usable &= L::Mask(L::Abs(p) <= most);
      L::Store(p, progress + i);
    }
    bool rest = true;
    for (; i < n; ++i) {
      progress[i] = weight * (FromBfloat16(ToBfloat16(given[i])) - FromBfloat16(now[i]));
      rest &= Within(most, progress[i]);
    }
    return L::All(usable) && rest;
  }

  static void MeanSums(float count, float* sums, size_t n) {
    // Division by a power of two is a product, of the same bits.
    const bool exact = (FloatBits(count) & 0x7fffff) == 0;
    const float part = 1.0f / count;
    size_t i = 0;
    if (exact) {
      for (; i + W <= n; i += W) L::Store(L::Load(sums + i) * part + 0.0f, sums + i);
    } else {
      for (; i + W <= n; i += W) L::Store(L::Load(sums + i) / count + 0.0f, sums + i);
    }
    for (; i < n; ++i) sums[i] = sums[i] / count + 0.0f;
  }

  static void ExpandSigns(const uint8_t* bits, float* direction, size_t n) {
    if constexpr (W >= 8) {
      using U8 = typename LanesOf<8>::U;
      const U8 shifts = {31, 30, 29, 28, 27, 26, 25, 24};
      for (size_t i = 0; i < n; i += 8) {
        const U8 byte = U8{} + uint32_t{bits[i / 8]};
        const U8 lanes = (byte << shifts & 0x80000000u) | 0x3f800000u;
        __builtin_memcpy(direction + i, &lanes, sizeof(lanes));
      }
    } else {
      for (size_t i = 0; i < n; i += 8) {
        const uint32_t byte = bits[i / 8];
        uint32_t out[8];
        for (uint32_t j = 0; j < 8; ++j) out[j] = 0x3f800000u | (byte << (31 - j) & 0x80000000u);
        __builtin_memcpy(direction + i, out, sizeof(out));
      }
    }
  }

 private:
  // (NaN is within nothing.)
  static bool Within(float most, float x) { return FloatOf(FloatBits(x) & 0x7fffffff) <= most; }

  // Rounded to the nearest float without a lower half, as ToBfloat16 does it.
  static F Bf16(F v) {
    const U bits = L::template BitCast<U>(v);
    const U rounded = bits + 0x7fffu + (bits >> 16 & 1u);
    const I nan = L::Mask(L::Key(v) > 0x7f800000);
    const I nearest =
        L::Blend(nan, L::template BitCast<I>(bits | 0x400000u), L::template BitCast<I>(rounded));
    return L::template BitCast<F>(L::template BitCast<U>(nearest) & 0xffff0000u);
  }

  // The even and the odd elements of two registers.
  static F Even(F a, F b) {
    if constexpr (W == 4) return __builtin_shufflevector(a, b, 0, 2, 4, 6);
    if constexpr (W == 8) return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
    if constexpr (W == 16) {
      return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28,
                                     30);
    }
    if constexpr (W == 1) return a;
  }
  static F Odd(F a, F b) {
    if constexpr (W == 4) return __builtin_shufflevector(a, b, 1, 3, 5, 7);
    if constexpr (W == 8) return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
    if constexpr (W == 16) {
      return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29,
                                     31);
    }
    if constexpr (W == 1) return b;
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_FLAT_KERNELS_H_
