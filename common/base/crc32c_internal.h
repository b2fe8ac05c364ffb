// The two implementations behind crc32c.h, apart so that a test can compare them.
#ifndef ISTHMUS_COMMON_BASE_CRC32C_INTERNAL_H_
#define ISTHMUS_COMMON_BASE_CRC32C_INTERNAL_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace isthmus::internal {

// The specification: one table look-up per byte.
uint32_t ExtendCrc32cTable(uint32_t crc, std::span<const std::byte> data);

// The same by the CPU's instruction; call only where HasCrc32cInstruction().
bool HasCrc32cInstruction();
uint32_t ExtendCrc32cInstruction(uint32_t crc, std::span<const std::byte> data);

}  // namespace isthmus::internal

#endif  // ISTHMUS_COMMON_BASE_CRC32C_INTERNAL_H_
