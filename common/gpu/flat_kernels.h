// Kernels that go element by element: is a gradient usable, the state hash, bfloat16, how far a job
// has gone, and adding that. They equal what docs/protocol.md says in P18 and P29, StateHash
// (common/compression/state_hash.h), TakeProgress (common/compression/intake.h), and
// common/kernels/naive_codes.h; flat_kernels_test.cc holds them to it.
#ifndef ISTHMUS_COMMON_GPU_FLAT_KERNELS_H_
#define ISTHMUS_COMMON_GPU_FLAT_KERNELS_H_

#include <stdint.h>

#include "common/base/mix64.h"
#include "common/device/grid.h"
#include "common/kernels/bfloat16.h"
#include "common/kernels/value_codes.h"

namespace isthmus {

inline constexpr uint32_t kFlatThreads = 256;

// What was to be written behind the work that made some numbers, or none: the work was done.
ISTHMUS_KERNEL bool IsMarked(const uint32_t* mark, uint32_t expected) {
  return mark == nullptr || *mark == expected;
}
// |x| <= most; NaN is not.
ISTHMUS_KERNEL bool IsUsable(float x, float most) {
  return FloatOf(FloatBits(x) & 0x7fffffff) <= most;
}

// Sets *unusable to 1 if some |gradient| exceeds `most` or is no number, or *mark is not
// `expected`: what was to be written behind the work that made the gradients.
struct UsableKernel {
  const float* gradient;  // 16-byte aligned
  uint64_t fours;         // of elements
  float most;
  uint32_t* unusable;
  const uint32_t* mark = nullptr;  // or none
  uint32_t expected = 0;

  template <typename Thread>
  ISTHMUS_KERNEL void operator()(Thread& thread) const {
    bool usable = IsMarked(mark, expected);
    const uint64_t step = uint64_t{thread.blocks()} * thread.threads();
    for (uint64_t i = uint64_t{thread.block()} * thread.threads() + thread.index(); i < fours;
         i += step) {
      const Float4 four = reinterpret_cast<const Float4*>(gradient)[i];
      for (int j = 0; j < 4; ++j) usable &= IsUsable(four.at[j], most);
    }
    if (thread.Any(!usable) && thread.index() == 0) thread.Or(unusable, 1);
  }
};

// Adds to *sum the state hash (common/compression/state_hash.h) of the logical elements: of each 64
// the first logical[i] (docs/protocol.md, P22).
struct HashKernel {
  const float* parameters;
  uint64_t begin;  // flat index of the first
  uint64_t blocks_of_64;
  const uint8_t* logical;  // [blocks_of_64]
  uint64_t* sum;

  template <typename Thread>
  ISTHMUS_KERNEL void operator()(Thread& thread) const {
    uint64_t hash = 0;
    const uint64_t step = uint64_t{thread.blocks()} * thread.threads();
    for (uint64_t i = uint64_t{thread.block()} * thread.threads() + thread.index();
         i < blocks_of_64 * 64; i += step) {
      if (i % 64 < logical[i / 64]) {
        hash += Mix64(Mix64(begin + i) ^ FloatBits(parameters[i]));
      }
    }
    thread.Add(sum, hash);
  }
};

// Four bfloat16 that cross the bus as one; 8-byte aligned.
struct alignas(8) Half4 {
  uint16_t at[4];
};

// A job's bfloat16 as floats, and back (common/kernels/bfloat16.h).
struct WidenKernel {
  const uint16_t* from;  // 8-byte aligned
  uint64_t fours;        // of elements
  float* to;             // 16-byte aligned

  template <typename Thread>
  ISTHMUS_KERNEL void operator()(Thread& thread) const {
    const uint64_t step = uint64_t{thread.blocks()} * thread.threads();
    for (uint64_t i = uint64_t{thread.block()} * thread.threads() + thread.index(); i < fours;
         i += step) {
      const Half4 halves = reinterpret_cast<const Half4*>(from)[i];
      Float4 four;
      for (int j = 0; j < 4; ++j) four.at[j] = FromBfloat16(halves.at[j]);
      reinterpret_cast<Float4*>(to)[i] = four;
    }
  }
};
struct NarrowKernel {
  const float* from;
  uint64_t fours;
  uint16_t* to;

  template <typename Thread>
  ISTHMUS_KERNEL void operator()(Thread& thread) const {
    const uint64_t step = uint64_t{thread.blocks()} * thread.threads();
    for (uint64_t i = uint64_t{thread.block()} * thread.threads() + thread.index(); i < fours;
         i += step) {
      const Float4 four = reinterpret_cast<const Float4*>(from)[i];
      Half4 halves;
      for (int j = 0; j < 4; ++j) halves.at[j] = ToBfloat16(four.at[j]);
      reinterpret_cast<Half4*>(to)[i] = halves;
    }
  }
};

// Numbers as a job holds them on the device (common/tensor/elements.h), four at a time; 16-byte
// aligned.
struct HeldNumbers {
  void* data;
  bool halves;  // bfloat16, not float32

  ISTHMUS_KERNEL Float4 Load(uint64_t i) const {
    if (!halves) return static_cast<const Float4*>(data)[i];
    const Half4 held = static_cast<const Half4*>(data)[i];
    Float4 four;
    for (int j = 0; j < 4; ++j) four.at[j] = FromBfloat16(held.at[j]);
    return four;
  }
  // Rounded.
  ISTHMUS_KERNEL void Store(const Float4& four, uint64_t i) const {
    if (!halves) {
      static_cast<Float4*>(data)[i] = four;
      return;
    }
    Half4 held;
    for (int j = 0; j < 4; ++j) held.at[j] = ToBfloat16(four.at[j]);
    static_cast<Half4*>(data)[i] = held;
  }
  // What it would hold of `x`.
  ISTHMUS_KERNEL float Round(float x) const { return halves ? FromBfloat16(ToBfloat16(x)) : x; }
};

// progress <- weight (given - now), where `given` is rounded as the job holds it (P29); `progress`
// may be `given`. Sets *unusable, unless that is null, as UsableKernel does.
struct ProgressKernel {
  const float* given;  // 16-byte aligned, as `progress`
  HeldNumbers now;
  uint64_t fours;
  float weight;
  float* progress;
  float most;
  uint32_t* unusable = nullptr;
  const uint32_t* mark = nullptr;
  uint32_t expected = 0;

  template <typename Thread>
  ISTHMUS_KERNEL void operator()(Thread& thread) const {
    bool usable = IsMarked(mark, expected);
    const uint64_t step = uint64_t{thread.blocks()} * thread.threads();
    for (uint64_t i = uint64_t{thread.block()} * thread.threads() + thread.index(); i < fours;
         i += step) {
      Float4 four = reinterpret_cast<const Float4*>(given)[i];
      const Float4 held = now.Load(i);
      for (int j = 0; j < 4; ++j) {
        four.at[j] = weight * (now.Round(four.at[j]) - held.at[j]);
        usable &= IsUsable(four.at[j], most);
      }
      reinterpret_cast<Float4*>(progress)[i] = four;
    }
    if (unusable == nullptr) return;
    if (thread.Any(!usable) && thread.index() == 0) thread.Or(unusable, 1);
  }
};

// now <- anchor + (now - then), in float32, rounded as the job holds it (P29, overlap).
struct AddWayKernel {
  const float* anchor;  // 16-byte aligned
  HeldNumbers then;
  HeldNumbers now;
  uint64_t fours;

  template <typename Thread>
  ISTHMUS_KERNEL void operator()(Thread& thread) const {
    const uint64_t step = uint64_t{thread.blocks()} * thread.threads();
    for (uint64_t i = uint64_t{thread.block()} * thread.threads() + thread.index(); i < fours;
         i += step) {
      Float4 four = reinterpret_cast<const Float4*>(anchor)[i];
      const Float4 from = then.Load(i), to = now.Load(i);
      for (int j = 0; j < 4; ++j) four.at[j] = four.at[j] + (to.at[j] - from.at[j]);
      now.Store(four, i);
    }
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_FLAT_KERNELS_H_
