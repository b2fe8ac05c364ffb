// The merged result of one bucket, encoded for all groups (docs/protocol.md, P20). An update's
// effect is a function of the contributions alone, never of its encoding: both encodings below
// decode to the same direction, bit for bit.
//
//   update   := header body
//   header   := magic:u16 version:u8 encoding:u8 transform:u8 sign:u8 reserved:u16
//               chunk_size:u32 first_chunk:u64 chunk_count:u64 body_bytes:u64 crc32c:u32
//   presence := one bit per chunk, least significant bit first, zero-padded to a whole byte
//   signs    := presence, then chunk_size bits per present chunk in order (1: negative); only in
//               sign mode, and only if no present element's direction is exactly zero
//   values   := presence, then per present chunk a bitmap of chunk_size bits (1: non-zero
//               coefficient) and, after all bitmaps, the non-zero coefficients as float32
#ifndef ISTHMUS_COMMON_COMPRESSION_UPDATE_PAYLOAD_H_
#define ISTHMUS_COMMON_COMPRESSION_UPDATE_PAYLOAD_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/compression/merge.h"
#include "common/compression/payload.h"

namespace isthmus {

enum class UpdateEncoding : uint8_t { kSigns = 1, kValues = 2 };

struct UpdateFormat {
  Transform transform = Transform::kDct;
  uint32_t chunk_size = 64;
  bool sign = true;  // the direction is the sign of the decoded mean (0 stays 0)
};

// Encodes `merged` in the smallest encoding that carries it exactly.
std::string EncodeUpdate(const UpdateFormat& format, const MergedBucket& merged);

// A validated update, read from any thread. Holds a view of the payload, which must outlive it.
class UpdateView {
 public:
  // Errors: DATA_LOSS for a wrong checksum; INVALID_ARGUMENT naming field, expected and actual.
  static absl::StatusOr<UpdateView> Parse(std::span<const std::byte> payload,
                                          const UpdateFormat& format, uint64_t first_chunk,
                                          uint64_t chunk_count);

  UpdateEncoding encoding() const { return encoding_; }

  // Writes the direction u of chunks [first_chunk, first_chunk + out.size() / chunk_size), which
  // must lie within the update: decoded mean, or its sign; 0 where nothing was sent. `out` holds
  // whole chunks. Thread-safe.
  void Direction(uint64_t first_chunk, std::span<float> out) const;

 private:
  UpdateFormat format_;
  UpdateEncoding encoding_ = UpdateEncoding::kSigns;
  uint64_t first_chunk_ = 0;
  uint64_t chunk_count_ = 0;
  std::span<const std::byte> presence_;
  std::span<const std::byte> body_;   // after the presence bits
  std::vector<uint64_t> chunk_rank_;  // per chunk: present chunks before it
  std::vector<uint64_t> value_rank_;  // kValues: per present chunk, values before it
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_UPDATE_PAYLOAD_H_
