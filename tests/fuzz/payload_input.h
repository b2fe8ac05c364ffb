// Payloads from fuzzed bytes. Mutation alone never gets past a checksum, and hardly past a header,
// so the input says which of them to make right. All that the targets know of the byte layout
// stands here.
#ifndef ISTHMUS_TESTS_FUZZ_PAYLOAD_INPUT_H_
#define ISTHMUS_TESTS_FUZZ_PAYLOAD_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "common/compression/payload.h"
#include "common/compression/payload_check.h"
#include "common/compression/update_payload.h"
#include "common/tensor/layout.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/grammar.h"

namespace isthmus::fuzz {

inline constexpr PayloadFormat kContributionFormats[] = {
    {Transform::kDct, 64, 4, ValueFormat::kBf16},  {Transform::kDct, 64, 4, ValueFormat::kF32},
    {Transform::kNone, 16, 16, ValueFormat::kF32}, {Transform::kDct, 16, 1, ValueFormat::kBf16},
    {Transform::kDct, 4096, 3, ValueFormat::kF32}, {Transform::kDct, 32, 31, ValueFormat::kBf16}};
inline constexpr UpdateFormat kUpdateFormats[] = {{Transform::kDct, 64, true},
                                                  {Transform::kNone, 16, false},
                                                  {Transform::kDct, 16, false},
                                                  {Transform::kNone, 32, true}};
inline constexpr uint64_t kMaxChunks = 40;  // of a payload here

inline std::span<const std::byte> AsBytes(const std::string& bytes) {
  return std::as_bytes(std::span(bytes));
}

// The format and the chunk run that the receiver expects, and what it is given.
template <typename Format>
struct PayloadCase {
  Format format;
  uint64_t first_chunk = 0;
  uint64_t chunk_count = 0;
  std::string payload;
};

// Makes the checksum right, wherever there is place for one.
inline void FixCrc(size_t crc_offset, std::string& payload) {
  if (payload.size() >= crc_offset + sizeof(uint32_t)) StorePayloadCrc(crc_offset, payload);
}

// Puts `from` over the beginning of `payload`.
inline void PutHeader(const std::string& from, size_t size, std::string& payload) {
  if (payload.size() < size) payload.resize(size, '\0');
  payload.replace(0, size, from, 0, size);
}

// input := flags:byte format:byte first_chunk:number chunk_count:number payload
inline PayloadCase<PayloadFormat> ReadContribution(Input input) {
  constexpr size_t kHeaderBytes = 44;
  constexpr size_t kCrcOffset = kHeaderBytes - sizeof(uint32_t);
  const uint8_t flags = input.Byte();
  PayloadCase<PayloadFormat> c;
  c.format = kContributionFormats[input.Byte() % std::size(kContributionFormats)];
  c.first_chunk = input.Number() % kMaxFlatLength;
  c.chunk_count = input.Number() % (kMaxChunks + 1);
  c.payload = input.Bytes(input.size());
  if (flags & kFixHeader) {
    const uint64_t kept = c.chunk_count * c.format.k;
    Selection zeros{c.first_chunk, c.chunk_count, {}, std::vector<float>(kept)};
    if (c.format.k < c.format.chunk_size) zeros.indices.resize(kept);
    PutHeader(EncodePayload(c.format, zeros), kHeaderBytes, c.payload);
  }
  if (flags & kFixCrc) FixCrc(kCrcOffset, c.payload);
  return c;
}

// The same; with kFixHeader the encoding stays what the input says, and the length is made right.
inline PayloadCase<UpdateFormat> ReadUpdate(Input input) {
  constexpr size_t kHeaderBytes = 40;
  constexpr size_t kCrcOffset = kHeaderBytes - sizeof(uint32_t);
  constexpr size_t kEncodingOffset = 3;
  constexpr size_t kBodyBytesOffset = 28;
  const uint8_t flags = input.Byte();
  PayloadCase<UpdateFormat> c;
  c.format = kUpdateFormats[input.Byte() % std::size(kUpdateFormats)];
  c.first_chunk = input.Number() % kMaxFlatLength;
  c.chunk_count = input.Number() % (kMaxChunks + 1);
  c.payload = input.Bytes(input.size());
  if (flags & kFixHeader) {
    const MergedBucket nothing{c.first_chunk, c.chunk_count,
                               std::vector<float>(c.chunk_count * c.format.chunk_size),
                               std::vector<uint8_t>(c.chunk_count)};
    const char encoding = c.payload.size() > kEncodingOffset ? c.payload[kEncodingOffset] : '\0';
    PutHeader(EncodeUpdate(c.format, nothing), kHeaderBytes, c.payload);
    c.payload[kEncodingOffset] = encoding;
    std::string length;
    AppendLittleEndian<uint64_t>(c.payload.size() - kHeaderBytes, length);
    c.payload.replace(kBodyBytesOffset, length.size(), length);
  }
  if (flags & kFixCrc) FixCrc(kCrcOffset, c.payload);
  return c;
}

}  // namespace isthmus::fuzz

#endif  // ISTHMUS_TESTS_FUZZ_PAYLOAD_INPUT_H_
