#include "common/base/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

#include "common/base/crc32c_internal.h"

namespace isthmus {
namespace {

constexpr std::array<uint32_t, 256> MakeTable() {
  constexpr uint32_t kPolynomial = 0x82f63b78;
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    table[byte] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kTable = MakeTable();

}  // namespace

namespace internal {

uint32_t ExtendCrc32cTable(uint32_t crc, std::span<const std::byte> data) {
  crc = ~crc;
  for (std::byte byte : data) {
    crc = (crc >> 8) ^ kTable[(crc ^ std::to_integer<uint32_t>(byte)) & 0xff];
  }
  return ~crc;
}

#if defined(__x86_64__)

bool HasCrc32cInstruction() { return __builtin_cpu_supports("sse4.2") != 0; }

__attribute__((target("sse4.2"))) uint32_t ExtendCrc32cInstruction(
    uint32_t crc, std::span<const std::byte> data) {
  const std::byte* at = data.data();
  size_t left = data.size();
  uint64_t state = ~crc;
  for (; left >= sizeof(uint64_t); at += sizeof(uint64_t), left -= sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, at, sizeof(word));
    state = _mm_crc32_u64(state, word);
  }
  uint32_t tail = static_cast<uint32_t>(state);
  for (; left > 0; ++at, --left) tail = _mm_crc32_u8(tail, std::to_integer<uint8_t>(*at));
  return ~tail;
}

#else

bool HasCrc32cInstruction() { return false; }

uint32_t ExtendCrc32cInstruction(uint32_t crc, std::span<const std::byte> data) {
  return ExtendCrc32cTable(crc, data);
}

#endif

}  // namespace internal

uint32_t ExtendCrc32c(uint32_t crc, std::span<const std::byte> data) {
  static const bool has_instruction = internal::HasCrc32cInstruction();
  return has_instruction ? internal::ExtendCrc32cInstruction(crc, data)
                         : internal::ExtendCrc32cTable(crc, data);
}

}  // namespace isthmus
