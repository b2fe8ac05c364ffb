// Kernels that go element by element: is a gradient usable, and the state hash.
#ifndef ISTHMUS_COMMON_GPU_FLAT_KERNELS_H_
#define ISTHMUS_COMMON_GPU_FLAT_KERNELS_H_

#include <stdint.h>

#include "common/base/mix64.h"
#include "common/device/grid.h"
#include "common/kernels/value_codes.h"

namespace isthmus {

inline constexpr uint32_t kFlatThreads = 256;

// Sets *unusable to 1 if some |gradient| exceeds `most` or is no number.
struct UsableKernel {
  const float* gradient;  // 16-byte aligned
  uint64_t fours;         // of elements
  float most;
  uint32_t* unusable;

  template <typename Thread>
  ISTHMUS_KERNEL void operator()(Thread& thread) const {
    bool usable = true;
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

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_FLAT_KERNELS_H_
