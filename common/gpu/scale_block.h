// A block of 64 values that share a scale (docs/protocol.md, P19a), at one thread: what
// block_kernels.h of common/kernels does for a processor's lanes. Naively: naive_block.h there.
#ifndef ISTHMUS_COMMON_GPU_SCALE_BLOCK_H_
#define ISTHMUS_COMMON_GPU_SCALE_BLOCK_H_

#include <math.h>
#include <stdint.h>

#include "common/device/grid.h"
#include "common/gpu/record_bits.h"
#include "common/gpu/record_format.h"
#include "common/gpu/record_values.h"
#include "common/kernels/value_codes.h"

namespace isthmus {

inline constexpr int kScaleBlockLength = static_cast<int>(kScaleBlock);

// Of values in one of the formats that have a scale.
template <ValueFormat kValues>
struct ScaleBlock {
  static_assert(HasScale(kValues));
  static constexpr int kBits = ValueBits(kValues);
  static constexpr int kBytes = 1 + kScaleBlockLength * kBits / 8;  // the scale's code, the values'

  int scale_code = 0;  // 0: nothing is said
  uint64_t words[kBits] = {};

  // Takes what the block says out of `values`.
  ISTHMUS_KERNEL static ScaleBlock Take(float (&values)[kScaleBlockLength]) {
    ScaleBlock taken;
    const int code = CodeOfScale(values);
    if (code < 1) return taken;
    taken.scale_code = code;
    const float scale = ScaleOf(static_cast<uint32_t>(code));
    ISTHMUS_KERNEL_UNROLL
    for (int i = 0; i < kScaleBlockLength; ++i) {
      const float said = SaidValue<kValues>(values[i], scale);
      const uint64_t bits = CodeOf<kValues>(values[i], said, scale, 0, 0);
      taken.words[i * kBits / 64] |= bits << (i * kBits % 64);
      values[i] -= said;
    }
    return taken;
  }

  // Of a run of blocks, the `index`-th.
  ISTHMUS_KERNEL static ScaleBlock Load(const uint32_t* records, uint64_t index) {
    const uint64_t bit = index * (8 * kBytes);
    ScaleBlock block;
    block.scale_code = static_cast<int>(LoadWordBits(records, bit, 8));
    if (block.scale_code == 0) return block;
    ISTHMUS_KERNEL_UNROLL
    for (int i = 0; i < kBits; ++i) {
      block.words[i] = LoadWordBits(records, bit + 8 + 64 * static_cast<uint64_t>(i), 64);
    }
    return block;
  }
  ISTHMUS_KERNEL void StoreBytes(unsigned char* to) const {
    *to++ = static_cast<unsigned char>(scale_code);
    ISTHMUS_KERNEL_UNROLL
    for (int i = 0; i < 8 * kBits; ++i) {
      *to++ = static_cast<unsigned char>(words[i / 8] >> (i % 8 * 8));
    }
  }

  // Calls use(i, value) for each value of a block that says something.
  template <typename Use>
  ISTHMUS_KERNEL void ForEachValue(const Use& use) const {
    if (scale_code == 0) return;
    const float scale = ScaleOf(static_cast<uint32_t>(scale_code));
    ISTHMUS_KERNEL_UNROLL
    for (int i = 0; i < kScaleBlockLength; ++i) {
      constexpr uint64_t kMask = (uint64_t{1} << kBits) - 1;
      const uint64_t code = words[i * kBits / 64] >> (i * kBits % 64) & kMask;
      use(i, ValueOf<kValues>(static_cast<uint32_t>(code), scale));
    }
  }

 private:
  // Every sixteenth in ascending order; then halves, until one is left.
  ISTHMUS_KERNEL static int CodeOfScale(const float (&values)[kScaleBlockLength]) {
    constexpr int kSums = 16;
    float sums[kSums] = {};
    ISTHMUS_KERNEL_UNROLL
    for (int i = 0; i < kScaleBlockLength; ++i) {
      float& sum = sums[i % kSums];
      if constexpr (kValues == ValueFormat::kOneBit) sum += fabsf(values[i]);
      if constexpr (kValues == ValueFormat::kTwoBit) sum += values[i] * values[i];
      if constexpr (kValues == ValueFormat::kInt4) sum = Larger(sum, fabsf(values[i]));
    }
    ISTHMUS_KERNEL_UNROLL
    for (int level = 3; level >= 0; --level) {
      ISTHMUS_KERNEL_UNROLL
      for (int i = 0; i < kSums / 2; ++i) {
        const int half = 1 << level;
        if (i >= half) continue;
        if constexpr (kValues == ValueFormat::kInt4) {
          sums[i] = Larger(sums[i], sums[i + half]);
        } else {
          sums[i] += sums[i + half];
        }
      }
    }
    constexpr auto kLength = static_cast<float>(kScaleBlockLength);
    if constexpr (kValues == ValueFormat::kOneBit) return ScaleCode(sums[0] / kLength);
    if constexpr (kValues == ValueFormat::kTwoBit) return TwoBitScaleCode(sums[0] / kLength);
    return Int4ScaleCode(sums[0]);
  }
  ISTHMUS_KERNEL static float Larger(float a, float b) { return b > a ? b : a; }
};

// Calls use(ScaleBlock<...>()), so that what it does is compiled for each format by itself. Nothing
// for values without a scale.
template <typename Use>
ISTHMUS_KERNEL void WithScaleBlock(ValueFormat values, const Use& use) {
  switch (values) {
    case ValueFormat::kInt4:
      return use(ScaleBlock<ValueFormat::kInt4>());
    case ValueFormat::kTwoBit:
      return use(ScaleBlock<ValueFormat::kTwoBit>());
    case ValueFormat::kOneBit:
      return use(ScaleBlock<ValueFormat::kOneBit>());
    default:
      return;
  }
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_SCALE_BLOCK_H_
