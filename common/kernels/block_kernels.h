// Kernels that say 64 values in a few bits each and a scale of them all (tile_kernels.h). Naively:
// naive_block.h.
#ifndef ISTHMUS_COMMON_KERNELS_BLOCK_KERNELS_H_
#define ISTHMUS_COMMON_KERNELS_BLOCK_KERNELS_H_

#include <stdint.h>

#include "common/kernels/lanes.h"
#include "common/kernels/tile_kernels.h"
#include "common/kernels/value_codes.h"

namespace isthmus {

template <int W>
class BlockKernels {
  using L = Lanes<W>;
  using F = typename L::F;
  using I = typename L::I;
  using U = typename L::U;

 public:
  static int TakeBlock(int bits, float* x, uint64_t* codes) {
    switch (bits) {
      case 1:
        return Take<1>(x, codes);
      case 2:
        return Take<2>(x, codes);
      default:
        return Take<4>(x, codes);
    }
  }

  static void SayBlock(int bits, int scale_code, const uint64_t* codes, float* values) {
    const float scale = ScaleOf(static_cast<uint32_t>(scale_code));
    switch (bits) {
      case 1:
        return Say<1>(scale, codes, values);
      case 2:
        return Say<2>(scale, codes, values);
      default:
        return Say<4>(scale, codes, values);
    }
  }

 private:
  static constexpr int kSums = 16;

  template <int kBits>
  static int Take(float* x, uint64_t* codes) {
    for (int i = 0; i < kBits; ++i) codes[i] = 0;
    const int scale_code = CodeOfScale<kBits>(x);
    // Code 0 is left to say that there is nothing.
    if (scale_code < 1) return kNoScale;
    const F scale = F{} + ScaleOf(static_cast<uint32_t>(scale_code));
    ISTHMUS_UNROLL
    for (int i = 0; i < kBlock; i += W) {
      const F v = L::Load(x + i);
      const U code = CodeOf<kBits>(v, scale);
      L::Store(v - ValueOf<kBits>(code, scale), x + i);
      codes[i * kBits / 64] |= Packed<kBits>(code) << (i * kBits % 64);
    }
    return scale_code;
  }

  template <int kBits>
  static void Say(float scale, const uint64_t* codes, float* values) {
    ISTHMUS_UNROLL
    for (int i = 0; i < kBlock; i += W) {
      const U code = Spread<kBits>(codes[i * kBits / 64] >> (i * kBits % 64));
      L::Store(ValueOf<kBits>(code, F{} + scale), values + i);
    }
  }

  // --- the scale ---------------------------------------------------------------------------------

  template <int kBits>
  static int CodeOfScale(const float* x) {
    F sums[kSums / W] = {};
    for (int i = 0; i < kBlock; i += kSums) {
      ISTHMUS_UNROLL
      for (int part = 0; part < kSums / W; ++part) {
        const F v = L::Load(x + i + part * W);
        if constexpr (kBits == 1) sums[part] += L::Abs(v);
        if constexpr (kBits == 2) sums[part] += v * v;
        if constexpr (kBits == 4) sums[part] = L::Max(sums[part], L::Abs(v));
      }
    }
    float lanes[kSums];
    __builtin_memcpy(lanes, sums, sizeof(lanes));
    ISTHMUS_UNROLL
    for (int half = kSums / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) {
        if constexpr (kBits == 4) {
          lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
        } else {
          lanes[i] += lanes[i + half];
        }
      }
    }
    if constexpr (kBits == 1) return ScaleCode(lanes[0] / static_cast<float>(kBlock));
    if constexpr (kBits == 2) return TwoBitScaleCode(lanes[0] / static_cast<float>(kBlock));
    return Int4ScaleCode(lanes[0]);
  }

  // --- values and codes --------------------------------------------------------------------------

  static U Negative(F v) { return L::template BitCast<U>(v) >> 31; }
  static U Bit(I mask) { return L::template BitCast<U>(mask) & 1u; }

  template <int kBits>
  static U CodeOf(F v, F scale) {
    if constexpr (kBits == 1) return Negative(v);
    if constexpr (kBits == 2) return Negative(v) << 1 | Bit(L::Mask(L::Abs(v) >= scale));
    if constexpr (kBits == 4) {
      const F magnitude = L::Abs(v) / scale + 0.5f;
      const U steps = Truncated(L::Min(magnitude, F{} + 7.0f));
      const U some = L::template BitCast<U>(L::Mask(L::template BitCast<I>(steps) != 0));
      return steps | (Negative(v) << 3 & some);
    }
  }

  template <int kBits>
  static F ValueOf(U code, F scale) {
    if constexpr (kBits == 1) return Signed(scale, code);
    if constexpr (kBits == 2) return Signed((L::Convert(Odd(code)) + 0.5f) * scale, code >> 1);
    if constexpr (kBits == 4) {
      return Signed(L::Convert(L::template BitCast<I>(code & 7u)) * scale, code >> 3);
    }
  }
  static I Odd(U code) { return L::template BitCast<I>(code & 1u); }
  static F Signed(F magnitude, U negative) {
    return L::template BitCast<F>(L::template BitCast<U>(magnitude) | negative << 31);
  }

  static U Truncated(F v) {
    if constexpr (W == 1) {
      return static_cast<U>(static_cast<int32_t>(v));
    } else {
      return L::template BitCast<U>(__builtin_convertvector(v, I));
    }
  }

  // --- packing -----------------------------------------------------------------------------------

  // Lane l times kBits.
  template <int kBits>
  static U Shifts() {
    uint32_t shifts[W];
    for (int l = 0; l < W; ++l) shifts[l] = static_cast<uint32_t>(l * kBits % 32);
    U v;
    __builtin_memcpy(&v, shifts, sizeof(v));
    return v;
  }
  template <int kBits>
  static uint64_t Packed(U code) {
    const U placed = code << Shifts<kBits>();
    uint32_t lanes[W];
    __builtin_memcpy(lanes, &placed, sizeof(lanes));
    uint32_t low = 0, high = 0;
    ISTHMUS_UNROLL
    for (int l = 0; l < W; ++l) (l * kBits < 32 ? low : high) |= lanes[l];
    return low | uint64_t{high} << 32;
  }
  template <int kBits>
  static U Spread(uint64_t packed) {
    uint32_t words[W];
    ISTHMUS_UNROLL
    for (int l = 0; l < W; ++l) {
      words[l] = static_cast<uint32_t>(l * kBits < 32 ? packed : packed >> 32);
    }
    U v;
    __builtin_memcpy(&v, words, sizeof(v));
    return v >> Shifts<kBits>() & ((1u << kBits) - 1);
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_BLOCK_KERNELS_H_
