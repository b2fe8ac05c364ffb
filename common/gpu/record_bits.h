// Runs of bits in 32-bit words, least significant first: the bytes of bit_stream.h.
#ifndef ISTHMUS_COMMON_GPU_RECORD_BITS_H_
#define ISTHMUS_COMMON_GPU_RECORD_BITS_H_

#include <stdint.h>

#include "common/device/grid.h"

namespace isthmus {

// Sets `width` <= 64 bits, which are zero so far, to `value` < 2^width: threads may share words.
template <typename Thread>
ISTHMUS_KERNEL void OrBits(Thread& thread, uint32_t* words, uint64_t bit, uint64_t value,
                           int width) {
  const int shift = static_cast<int>(bit % 32);
  words += bit / 32;
  thread.Or(words, static_cast<uint32_t>(value << shift));
  if (shift + width > 32) thread.Or(words + 1, static_cast<uint32_t>(value >> (32 - shift)));
  if (shift + width > 64) thread.Or(words + 2, static_cast<uint32_t>(value >> (64 - shift)));
}

// `width` <= 64 bits. Reads up to 64 bits beyond.
ISTHMUS_KERNEL uint64_t LoadWordBits(const uint32_t* words, uint64_t bit, int width) {
  const int shift = static_cast<int>(bit % 32);
  words += bit / 32;
  uint64_t value = (words[0] | uint64_t{words[1]} << 32) >> shift;
  if (shift + width > 64) value |= uint64_t{words[2]} << (64 - shift);
  return width == 64 ? value : value & ((uint64_t{1} << width) - 1);
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_RECORD_BITS_H_
