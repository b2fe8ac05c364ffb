// Which elements of every chunk of a block are its k largest: the selection of tile_kernels.h.
#ifndef ISTHMUS_COMMON_GPU_BLOCK_TOP_K_H_
#define ISTHMUS_COMMON_GPU_BLOCK_TOP_K_H_

#include <stdint.h>

#include "common/gpu/chunk_block.h"
#include "common/kernels/value_codes.h"

namespace isthmus {

// All: bit j of the result is element j of this thread's part. Exactly k bits of a chunk, 0 < k <
// N; of equal magnitudes the lower element wins. Counts how many reach a threshold and finds it bit
// by bit, until exactly k do: no thread goes another way than its neighbours.
template <int N, typename Thread>
ISTHMUS_KERNEL uint64_t SelectTopK(ChunkThread<N, Thread>& place,
                                   const float (&values)[ChunkShape<N>::kPart], uint32_t k) {
  constexpr int kPart = ChunkShape<N>::kPart;
  // The largest number that k magnitudes reach, or any that exactly k do.
  uint32_t threshold = 0;
  bool found = !place.live();
  for (uint32_t bit = uint32_t{1} << 30; bit != 0; bit >>= 1) {
    const uint32_t candidate = threshold | bit;
    uint32_t count = 0;
    ISTHMUS_KERNEL_UNROLL
    for (int j = 0; j < kPart; ++j) {
      count += (FloatBits(values[j]) & 0x7fffffff) >= candidate ? 1 : 0;
    }
    count = place.Scan(count).all;
    if (!found && count >= k) threshold = candidate;
    found |= count == k;
    if (!place.Any(!found)) break;
  }
  uint64_t above = 0, equal = 0;
  ISTHMUS_KERNEL_UNROLL
  for (int j = 0; j < kPart; ++j) {
    const uint32_t magnitude = FloatBits(values[j]) & 0x7fffffff;
    above |= uint64_t{magnitude > threshold ? 1u : 0u} << j;
    equal |= uint64_t{magnitude == threshold ? 1u : 0u} << j;
  }
  // As many of those that are equal as are wanted, the lowest.
  const uint32_t wanted = k - place.Scan(CountOnes(above)).all;
  const uint32_t before = place.Scan(CountOnes(equal)).before;
  const uint32_t here = CountOnes(equal);
  uint32_t taken = before < wanted ? wanted - before : 0;
  if (taken >= here) return above | equal;
  for (; taken > 0; --taken) {
    above |= equal & (~equal + 1);
    equal &= equal - 1;
  }
  return above;
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_BLOCK_TOP_K_H_
