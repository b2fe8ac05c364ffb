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
  static void TakeBlocks(int bits, float* x, int count, uint8_t* scales, uint64_t* codes) {
    switch (bits) {
      case 1:
        return Take<1>(x, count, scales, codes);
      case 2:
        return Take<2>(x, count, scales, codes);
      default:
        return Take<4>(x, count, scales, codes);
    }
  }

  static void SayBlock(int bits, int scale_code, const uint64_t* codes, float* values) {
    Say(bits, scale_code, codes, [&](F said, int i) { L::Store(said, values + i); });
  }

  static void AddBlock(int bits, int scale_code, const uint64_t* codes, float weight, float* sums) {
    Say(bits, scale_code, codes,
        [&](F said, int i) { L::Store(L::Load(sums + i) + weight * said, sums + i); });
  }

 private:
  static constexpr int kSums = 16;

  // All scales first: each waits for a long sum of its own, and for no other's.
  template <int kBits>
  static void Take(float* x, int count, uint8_t* scales, uint64_t* codes) {
    for (int b = 0; b < count; ++b) {
      // Code 0 is left to say that there is nothing.
      const int scale_code = CodeOfScale<kBits>(x + b * kBlock);
      scales[b] = static_cast<uint8_t>(scale_code < 1 ? 0 : scale_code);
    }
    for (int b = 0; b < count; ++b, x += kBlock, codes += kBits) {
      uint64_t words[kBits] = {};
      if (scales[b] != 0) TakeCodes<kBits>(F{} + ScaleOf(scales[b]), x, words);
      __builtin_memcpy(codes, words, sizeof(words));
    }
  }
  template <int kBits>
  static void TakeCodes(F scale, float* x, uint64_t* words) {
    ISTHMUS_UNROLL
    for (int i = 0; i < kBlock; i += W) {
      const F v = L::Load(x + i);
      const U code = CodeOf<kBits>(v, scale);
      L::Store(v - ValueOf<kBits>(code, scale), x + i);
      words[i * kBits / 64] |= Packed<kBits>(code) << (i * kBits % 64);
    }
  }

  // Calls take(values, i) for W values from the i-th on.
  template <typename Take>
  static void Say(int bits, int scale_code, const uint64_t* codes, const Take& take) {
    const F scale = F{} + ScaleOf(static_cast<uint32_t>(scale_code));
    switch (bits) {
      case 1:
        return SayBits<1>(scale, codes, take);
      case 2:
        return SayBits<2>(scale, codes, take);
      default:
        return SayBits<4>(scale, codes, take);
    }
  }
  template <int kBits, typename Take>
  static void SayBits(F scale, const uint64_t* codes, const Take& take) {
    ISTHMUS_UNROLL
    for (int i = 0; i < kBlock; i += W) {
      const U code = Spread<kBits>(codes[i * kBits / 64] >> (i * kBits % 64));
      take(ValueOf<kBits>(code, scale), i);
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
    if constexpr (W * kBits <= 32) {
      return L::Union(placed);
    } else {  // sixteen of four bits
      return L::UnionOfHalf(placed, 0) | uint64_t{L::UnionOfHalf(placed, 1)} << 32;
    }
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
