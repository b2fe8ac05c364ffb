// A contribution's payload: the encoded coefficients of a run of chunks. Versioned,
// self-describing, checksummed, validated in full before anything is believed.
//
//   payload   := header body
//   header    := magic:u16 version:u8 transform:u8 values:u8 index_coding:u8 reserved:u16
//                chunk_size:u32 k:u32 first_chunk:u64 chunk_count:u64 body_bytes:u64
//                crc32c:u32                    -- of everything else: header before it, then body
//   body      := indices values                -- all little-endian
//   indices   := (packed) k * ceil(log2 chunk_size) bits per chunk, least significant bit first,
//                ascending within a chunk, zero-padded to a whole byte at the end of the run;
//                (none) nothing: k = chunk_size and every coefficient is there
//   values    := k values per chunk, in the order of the indices
#ifndef ISTHMUS_COMMON_COMPRESSION_PAYLOAD_H_
#define ISTHMUS_COMMON_COMPRESSION_PAYLOAD_H_

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace isthmus {

enum class Transform : uint8_t { kNone = 0, kDct = 1 };
enum class ValueFormat : uint8_t { kF32 = 0, kBf16 = 1 };
enum class IndexCoding : uint8_t { kNone = 0, kPacked = 1 };

// What a run of chunks must look like: fixed by the run spec for a round.
struct PayloadFormat {
  Transform transform = Transform::kDct;
  uint32_t chunk_size = 64;  // elements
  uint32_t k = 4;            // coefficients kept per chunk; chunk_size: all, without indices
  ValueFormat values = ValueFormat::kBf16;
  friend bool operator==(const PayloadFormat&, const PayloadFormat&) = default;
};

// The coefficients of chunks [first_chunk, first_chunk + chunk_count) of the flat vector.
struct Selection {
  uint64_t first_chunk = 0;
  uint64_t chunk_count = 0;
  std::vector<uint16_t> indices;  // [chunk_count, k], ascending per chunk; empty if k = chunk_size
  std::vector<float> values;      // [chunk_count, k]
};

// The value that `format` carries for `value`: itself, or the nearest bfloat16 (ties to even;
// never rounded up to infinity). Finite in, finite out. Senders subtract this, not `value`.
float QuantizeValue(ValueFormat format, float value);

// Encoded size in bytes of `chunk_count` chunks, header included.
uint64_t PayloadBytes(const PayloadFormat& format, uint64_t chunk_count);

// Encodes. CHECKs that the lengths fit the format and values are QuantizeValue'd already.
std::string EncodePayload(const PayloadFormat& format, const Selection& selection);

// Decodes and validates: magic, version, every field of `expected`, exactly the chunk run given,
// the body's exact length, CRC, index range and order, finite values, zero padding. Allocates in
// proportion to `chunk_count`, never to what the payload declares.
//
// Errors: DATA_LOSS for a wrong checksum; INVALID_ARGUMENT otherwise, naming the field, expected
// and actual.
absl::StatusOr<Selection> DecodePayload(std::span<const std::byte> payload,
                                        const PayloadFormat& expected, uint64_t first_chunk,
                                        uint64_t chunk_count);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_PAYLOAD_H_
