// CRC32C (Castagnoli, reflected polynomial 0x82f63b78), as in iSCSI (RFC 3720, B.4).
#ifndef ISTHMUS_COMMON_BASE_CRC32C_H_
#define ISTHMUS_COMMON_BASE_CRC32C_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace isthmus {

// The checksum of the bytes that gave `crc` followed by `data`; start with crc = 0. Uses the CPU's
// instruction where it has one, with the same result. Thread-safe.
uint32_t ExtendCrc32c(uint32_t crc, std::span<const std::byte> data);

inline uint32_t Crc32c(std::span<const std::byte> data) { return ExtendCrc32c(0, data); }

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_BASE_CRC32C_H_
