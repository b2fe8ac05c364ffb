// One-bit values of one chunk, naively (docs/protocol.md, P10 and P19): what sign_kernels.h does,
// and the bits that subset_kernels.h packs.
#ifndef ISTHMUS_COMMON_KERNELS_NAIVE_SIGNS_H_
#define ISTHMUS_COMMON_KERNELS_NAIVE_SIGNS_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/kernels/naive_flat.h"
#include "common/kernels/naive_tile.h"

namespace isthmus::naive {

// Of the magnitudes of the chosen elements, in ascending order.
inline float SumOfMagnitudes(const Chunk& x, const Elements& chosen) {
  float sum = 0.0f;
  for (size_t i = 0; i < x.size(); ++i) {
    if (chosen[i]) sum += std::fabs(x[i]);
  }
  return sum;
}

inline Elements NegativeOnes(const Chunk& x, const Elements& chosen) {
  Elements negative(x.size());
  for (size_t i = 0; i < x.size(); ++i) negative[i] = chosen[i] && std::signbit(x[i]);
  return negative;
}

// What stays of x when its chosen elements are sent as `amount` with their signs.
inline Chunk WithoutSigns(Chunk x, const Elements& chosen, float amount) {
  for (size_t i = 0; i < x.size(); ++i) {
    if (chosen[i]) x[i] -= std::copysign(amount, x[i]);
  }
  return x;
}

// What one group sent of a chunk.
struct SentSigns {
  Elements sent, negative;
  float magnitude;
};

// Element by element over those groups that sent it, in their order; 0 where none did.
inline Chunk MeanOfSigns(const std::vector<SentSigns>& groups, size_t chunk_size) {
  Chunk mean(chunk_size);
  for (size_t i = 0; i < chunk_size; ++i) {
    float sum = 0.0f, senders = 0.0f;
    for (const SentSigns& group : groups) {
      if (!group.sent[i]) continue;
      sum += group.negative[i] ? -group.magnitude : group.magnitude;
      ++senders;
    }
    mean[i] = Mean(sum, senders);
  }
  return mean;
}

// The bits of the chosen elements, one after the other from bit 0 on; at most 64. And back.
inline uint64_t Packed(const Elements& bits, const Elements& chosen) {
  uint64_t packed = 0;
  int count = 0;
  for (size_t i = 0; i < chosen.size(); ++i) {
    if (chosen[i]) packed |= uint64_t{bits[i]} << count++;
  }
  return packed;
}
inline Elements Spread(uint64_t packed, const Elements& chosen) {
  Elements bits(chosen.size());
  int count = 0;
  for (size_t i = 0; i < chosen.size(); ++i) {
    if (chosen[i]) bits[i] = (packed >> count++ & 1) != 0;
  }
  return bits;
}

}  // namespace isthmus::naive

#endif  // ISTHMUS_COMMON_KERNELS_NAIVE_SIGNS_H_
