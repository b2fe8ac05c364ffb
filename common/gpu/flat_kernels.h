// Kernels that go element by element: is a gradient usable, the state hash, and bfloat16. They
// equal what docs/protocol.md says in P18, StateHash (common/compression/state_hash.h) and
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
    bool usable = mark == nullptr || *mark == expected;
    const uint64_t step = uint64_t{thread.blocks()} * thread.threads();
    for (uint64_t i = uint64_t{thread.block()} * thread.threads() + thread.index(); i < fours;
         i += step) {
      const Float4 four = reinterpret_cast<const Float4*>(gradient)[i];
      for (int j = 0; j < 4; ++j) {
        usable &= FloatOf(FloatBits(four.at[j]) & 0x7fffffff) <= most;
      }
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

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_FLAT_KERNELS_H_
