// Payloads from fuzzed bytes. Mutation alone never gets past a checksum, and hardly past a header,
// so the input says which of them to make right. All that the targets know of the byte layout
// stands here.
#ifndef ISTHMUS_TESTS_FUZZ_PAYLOAD_INPUT_H_
#define ISTHMUS_TESTS_FUZZ_PAYLOAD_INPUT_H_

#include <algorithm>
#include <bit>
#include <cmath>
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
    {Transform::kDct, 64, 4, ValueFormat::kBf16},
    {Transform::kDct, 64, 4, ValueFormat::kF32},
    {Transform::kNone, 16, 16, ValueFormat::kF32},
    {Transform::kDct, 16, 1, ValueFormat::kBf16},
    {Transform::kDct, 4096, 3, ValueFormat::kF32},
    {Transform::kDct, 32, 31, ValueFormat::kBf16},
    {Transform::kDct, 64, 4, ValueFormat::kOneBit},
    {Transform::kDct, 64, 4, ValueFormat::kInt4},
    {Transform::kDct, 64, 12, ValueFormat::kSign},
    {Transform::kDct, 256, 40, ValueFormat::kInt4},  // packed
    {Transform::kNone, 64, 8, ValueFormat::kSign, Positions::kRandom, 7},
    {Transform::kNone, 64, 8, ValueFormat::kInt4, Positions::kStriding},
    {Transform::kNone, 16, 1, ValueFormat::kOneBit, Positions::kSlicing},
    {Transform::kNone, 128, 64, ValueFormat::kBf16, Positions::kRandom, 1},
    {Transform::kDct, 16, 16, ValueFormat::kOneBit},
    {Transform::kDct, 64, 56, ValueFormat::kOneBit},
    {Transform::kDct, 128, 12, ValueFormat::kOneBit},
    {Transform::kDct, 64, 4, ValueFormat::kTwoBit},
    {Transform::kNone, 64, 64, ValueFormat::kTwoBit, Positions::kChosen, 0, true},
    {Transform::kNone, 256, 256, ValueFormat::kOneBit, Positions::kChosen, 0, true},
    {Transform::kNone, 128, 128, ValueFormat::kInt4, Positions::kChosen, 0, true}};
inline constexpr UpdateFormat kUpdateFormats[] = {
    {{Transform::kDct, 64, 4, ValueFormat::kOneBit}, MergeRule::kSenderMean, true},
    {{Transform::kNone, 16, 16, ValueFormat::kF32}, MergeRule::kMean, false},
    {{Transform::kDct, 16, 2, ValueFormat::kF32}, MergeRule::kSum, false},
    {{Transform::kNone, 32, 4, ValueFormat::kF32}, MergeRule::kSenderMean, true},
    {{Transform::kNone, 64, 8, ValueFormat::kSign, Positions::kRandom, 7}, MergeRule::kMean, true},
    {{Transform::kNone, 16, 4, ValueFormat::kInt4, Positions::kStriding}, MergeRule::kMean, true},
    {{Transform::kNone, 16, 8, ValueFormat::kBf16, Positions::kSlicing}, MergeRule::kSum, false},
    {{Transform::kDct, 64, 12, ValueFormat::kSign}, MergeRule::kMean, true},
    {{Transform::kNone, 64, 64, ValueFormat::kTwoBit, Positions::kChosen, 0, true},
     MergeRule::kMean,
     false,
     true,
     ValueFormat::kInt4}};
inline constexpr uint64_t kMaxChunks = 40;  // of a payload here
inline constexpr uint64_t kMaxRound = uint64_t{1} << 40;

inline std::span<const std::byte> AsBytes(const std::string& bytes) {
  return std::as_bytes(std::span(bytes));
}

// The format and the place that the receiver expects, and what it is given.
template <typename Format>
struct PayloadCase {
  Format format;
  PayloadPlace place;
  std::string payload;
};

// Makes the checksum right, wherever there is place for one.
inline void FixCrc(size_t crc_offset, std::string& payload) {
  if (payload.size() < crc_offset + sizeof(uint32_t)) return;
  StorePayloadCrc(crc_offset, std::as_writable_bytes(std::span(payload)));
}

// Puts `from` over the beginning of `payload`.
inline void PutHeader(const std::string& from, size_t size, std::string& payload) {
  if (payload.size() < size) payload.resize(size, '\0');
  payload.replace(0, size, from, 0, size);
}

// The chunks and the round, as three numbers.
inline PayloadPlace ReadPlace(Input& input) {
  PayloadPlace place;
  place.chunks.first = input.Number() % kMaxFlatLength;
  place.chunks.count = input.Number() % (kMaxChunks + 1);
  place.round = input.Number() % kMaxRound;
  return place;
}

// `flags` says what of a contribution's payload to make right.
inline void FixContribution(uint8_t flags, const PayloadFormat& format, const PayloadPlace& place,
                            std::string& payload) {
  constexpr size_t kHeaderBytes = 34;
  constexpr size_t kCrcOffset = kHeaderBytes - sizeof(uint32_t);
  constexpr size_t kFlagsOffset = 3;
  if (flags & kFixHeader) {
    const uint64_t kept = place.chunks.count * format.k;
    Selection zeros{place.chunks.first, place.chunks.count, {}, std::vector<float>(kept)};
    for (uint64_t i = 0; format.k < format.chunk_size && i < kept; ++i) {
      zeros.indices.push_back(static_cast<uint16_t>(i % format.k));
    }
    const std::string header = EncodePayload(format, place.round, zeros);
    const bool presence = payload.size() > kFlagsOffset && (payload[kFlagsOffset] & 1) != 0;
    PutHeader(header, kHeaderBytes, payload);
    payload[kFlagsOffset] = static_cast<char>((header[kFlagsOffset] & ~1) | (presence ? 1 : 0));
  }
  if (flags & kFixCrc) FixCrc(kCrcOffset, payload);
}

// input := flags:byte format:byte first_chunk:number chunk_count:number round:number payload
inline PayloadCase<PayloadFormat> ReadContribution(Input input) {
  const uint8_t flags = input.Byte();
  PayloadCase<PayloadFormat> c;
  c.format = kContributionFormats[input.Byte() % std::size(kContributionFormats)];
  c.place = ReadPlace(input);
  c.payload = input.Bytes(input.size());
  FixContribution(flags, c.format, c.place, c.payload);
  return c;
}

// The same; with kFixHeader encoding and presence stay what the input says.
inline PayloadCase<UpdateFormat> ReadUpdate(Input input) {
  constexpr size_t kHeaderBytes = 32;
  constexpr size_t kCrcOffset = kHeaderBytes - sizeof(uint32_t);
  constexpr size_t kEncodingOffset = 3;
  constexpr size_t kFlagsOffset = 4;
  const uint8_t flags = input.Byte();
  PayloadCase<UpdateFormat> c;
  c.format = kUpdateFormats[input.Byte() % std::size(kUpdateFormats)];
  c.place = ReadPlace(input);
  c.payload = input.Bytes(input.size());
  if (flags & kFixHeader) {
    const std::string header = EncodeUpdate(c.format, c.place, {});
    const char encoding = c.payload.size() > kEncodingOffset ? c.payload[kEncodingOffset] : '\0';
    const bool presence = c.payload.size() > kFlagsOffset && (c.payload[kFlagsOffset] & 1) != 0;
    PutHeader(header, kHeaderBytes, c.payload);
    c.payload[kEncodingOffset] = encoding;
    c.payload[kFlagsOffset] = static_cast<char>((header[kFlagsOffset] & ~1) | (presence ? 1 : 0));
  }
  if (flags & kFixCrc) FixCrc(kCrcOffset, c.payload);
  return c;
}

inline bool SameBits(std::span<const float> a, std::span<const float> b) {
  return std::ranges::equal(a, b, {}, std::bit_cast<uint32_t, float>,
                            std::bit_cast<uint32_t, float>);
}

// What every direction is; `encoded` if it is that of an update's payload.
inline void CheckDirection(const UpdateFormat& format, bool encoded,
                           std::span<const float> direction) {
  for (const float u : direction) {
    ISTHMUS_CHECK(!format.sign || u == 0 || std::abs(u) == 1);
    // An update may hold values whose transform overflows; contributions may not.
    ISTHMUS_CHECK(std::isfinite(u) ||
                  (encoded && format.contribution.transform == Transform::kDct));
  }
}

}  // namespace isthmus::fuzz

#endif  // ISTHMUS_TESTS_FUZZ_PAYLOAD_INPUT_H_
