// How an update lies in bytes (update_payload.h): what its writing and its reading share.
#ifndef ISTHMUS_COMMON_COMPRESSION_UPDATE_LAYOUT_H_
#define ISTHMUS_COMMON_COMPRESSION_UPDATE_LAYOUT_H_

#include <cstdint>

#include "common/compression/update_payload.h"

namespace isthmus {

inline constexpr uint16_t kUpdateMagic = 0x5549;  // "IU"
inline constexpr uint8_t kUpdateVersion = 2;
inline constexpr uint64_t kUpdateHeaderBytes = 32;
inline constexpr uint64_t kUpdateCrcOffset = kUpdateHeaderBytes - sizeof(uint32_t);

inline uint8_t UpdateFlags(const UpdateFormat& format, bool presence) {
  return static_cast<uint8_t>((presence ? 1 : 0) | (format.sign ? 2 : 0) |
                              static_cast<int>(format.contribution.transform) << 2);
}

// What an update that is quantized again is written in.
inline PayloadFormat RequantizedFormat(const UpdateFormat& format) {
  PayloadFormat requantized = format.contribution;
  requantized.k = requantized.chunk_size;
  requantized.values = *format.requantized;
  return requantized;
}

// Of five ternary digits in a byte, the lowest first.
inline constexpr unsigned kPowersOfThree[] = {1, 3, 9, 27, 81};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_UPDATE_LAYOUT_H_
