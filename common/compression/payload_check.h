// What both payloads share: their checksum, and the words in which they are refused.
#ifndef ISTHMUS_COMMON_COMPRESSION_PAYLOAD_CHECK_H_
#define ISTHMUS_COMMON_COMPRESSION_PAYLOAD_CHECK_H_

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/string_view.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "common/base/crc32c.h"
#include "common/compression/bit_stream.h"

namespace isthmus {

// INVALID_ARGUMENT naming the field, unless `actual` is what was expected.
inline absl::Status ExpectField(absl::string_view name, absl::string_view field, uint64_t expected,
                                uint64_t actual) {
  if (expected == actual) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " ", field, ": expected ", expected, ", got ", actual));
}

// A payload's checksum covers everything but itself: the header's bytes before it, then the body.
inline uint32_t PayloadCrc(std::span<const std::byte> payload, size_t crc_offset) {
  return ExtendCrc32c(Crc32c(payload.first(crc_offset)),
                      payload.subspan(crc_offset + sizeof(uint32_t)));
}

// Writes the checksum in its place.
inline void StorePayloadCrc(size_t crc_offset, std::span<std::byte> payload) {
  StoreLittleEndian<uint32_t>(PayloadCrc(payload, crc_offset), payload.data() + crc_offset);
}

// DATA_LOSS unless the checksum in `payload`, which reaches beyond it, is right.
inline absl::Status ExpectCrc(absl::string_view name, std::span<const std::byte> payload,
                              size_t crc_offset) {
  const uint32_t declared = LoadLittleEndian<uint32_t>(payload.data() + crc_offset);
  const uint32_t computed = PayloadCrc(payload, crc_offset);
  if (declared == computed) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(name, " checksum: expected ", absl::Hex(declared),
                                          ", got ", absl::Hex(computed)));
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_PAYLOAD_CHECK_H_
