// Which k elements of a chunk the schemes without indices send in a round: a function of what all
// groups know. Every scheme cuts the chunk into k strata of S = chunk_size / k elements (both
// powers of two) or the like, and sends each element exactly once in S successive rounds. There is
// no faster version: these are the definition.
#ifndef ISTHMUS_COMMON_KERNELS_POSITIONS_H_
#define ISTHMUS_COMMON_KERNELS_POSITIONS_H_

#include <stdint.h>

#include "common/base/mix64.h"
#include "common/kernels/formula.h"

namespace isthmus {

// All positions are offsets within the chunk; the i-th of k, ascending in i. S = 1 << stride_bits.

// Every S-th element, from an offset that moves on with the round, and differs from chunk to chunk
// so that no column of a weight matrix is favoured.
ISTHMUS_FORMULA uint32_t StridingPosition(uint64_t round, uint64_t chunk, int stride_bits,
                                          uint32_t i) {
  const uint64_t stride_mask = (uint64_t{1} << stride_bits) - 1;
  return (i << stride_bits) + static_cast<uint32_t>((round + chunk) & stride_mask);
}

// k elements in a row, the slice moving on with the round and from chunk to chunk.
ISTHMUS_FORMULA uint32_t SlicingPosition(uint64_t round, uint64_t chunk, int stride_bits,
                                         uint32_t k, uint32_t i) {
  const uint64_t stride_mask = (uint64_t{1} << stride_bits) - 1;
  return static_cast<uint32_t>((round + chunk) & stride_mask) * k + i;
}

// One element of each stratum of S, chosen by a counter-based generator. The S rounds of a cycle
// share one random word, and each round flips it by its own number: without replacement.
ISTHMUS_FORMULA uint32_t RandomPosition(uint64_t seed, uint64_t round, uint64_t chunk,
                                        int stride_bits, uint32_t i) {
  if (stride_bits == 0) return i;
  const uint32_t per_word = 64 / static_cast<uint32_t>(stride_bits);
  const uint64_t cycle = round >> stride_bits;
  const uint64_t stream = Mix64(seed ^ Mix64(cycle + 0x9e3779b97f4a7c15ULL));
  const uint64_t word = Mix64(stream ^ Mix64((chunk << 13) + i / per_word));
  const uint64_t field = word >> (i % per_word * static_cast<uint32_t>(stride_bits));
  const uint64_t stride_mask = (uint64_t{1} << stride_bits) - 1;
  return (i << stride_bits) + static_cast<uint32_t>((field ^ round) & stride_mask);
}

// The sign that stands for a value of exactly zero where only signs are sent (1: negative): either
// with equal chance, so that elements without gradient do not drift.
ISTHMUS_FORMULA uint32_t SignOfZero(uint64_t round, uint64_t element) {
  return static_cast<uint32_t>(Mix64(Mix64(round) ^ element) & 1);
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_POSITIONS_H_
