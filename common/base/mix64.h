// The mixer behind every seeded choice (rng.h) and every choice that replicas make alike
// (common/kernels/positions.h). As a formula of common/kernels must be, it is free of the standard
// library and never emitted out of line; constexpr, so that nvcc compiles it for GPUs.
#ifndef ISTHMUS_COMMON_BASE_MIX64_H_
#define ISTHMUS_COMMON_BASE_MIX64_H_

#include <stdint.h>

namespace isthmus {

// splitmix64's finalizer: a bijection on 64 bits that mixes every input bit into every output bit.
[[gnu::always_inline]] constexpr uint64_t Mix64(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  x ^= x >> 31;
  return x;
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_BASE_MIX64_H_
