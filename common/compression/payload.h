// A contribution's payload: the encoded coefficients of a run of chunks. Versioned,
// self-describing, checksummed, validated in full before anything is believed.
//
//   payload   := header presence? record*
//   header    := magic:u16 version:u8 flags:u8 values:u8 index_coding:u8 chunk_size-1:u16 k-1:u16
//                chunk_count:u32 first_chunk:u64 round:u64 crc32c:u32
//                                        -- the crc is of everything else: header, then body
//   flags     := bit 0: presence is there; bits 1-2: transform; bits 3-5: positions; bit 6: a
//                scale per block; the rest zero
//   presence  := only if some chunk is absent: one bit per chunk, least significant first (1:
//                present), zero-padded to a whole byte
//   record    := one per present chunk, in order, all of the same number of bits, least significant
//                bit first, without gaps; zero-padded to a whole byte at the end of the payload
//                indices scale? values, or block*
//   indices   := index_coding.h; none where all or known positions are sent
//   scale     := 8 bits, value_codes.h (values of 4 bits and 1 bit)
//   values    := k values of 32, 16, 4, 2 or 1 bits, ascending by index
//   block     := where all are sent with a scale per block: 64 elements' scale, then their values;
//   a
//                scale of 0, and values of 0 bits, where there is nothing to say. Not in all
//                blocks.
//
// A chunk without anything to send is absent: it costs one bit, and dilutes no mean.
#ifndef ISTHMUS_COMMON_COMPRESSION_PAYLOAD_H_
#define ISTHMUS_COMMON_COMPRESSION_PAYLOAD_H_

#include <absl/status/statusor.h>
#include <absl/strings/string_view.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/compression/bit_stream.h"
#include "common/compression/formats.h"
#include "common/compression/index_coding.h"
#include "common/compression/presence_map.h"

namespace isthmus {

// Encoded size in bytes when all chunks are present, and when they are not.
uint64_t PayloadBytes(const PayloadFormat& format, uint64_t chunk_count);
uint64_t LargestPayloadBytes(const PayloadFormat& format, uint64_t chunk_count);

// The offsets that a format without indices sends of a chunk: writes [k], ascending.
void KnownPositions(const PayloadFormat& format, uint64_t round, uint64_t chunk, uint16_t* indices);

// Writes the records of a run of chunks into memory. Single-threaded.
class RecordWriter {
 public:
  // `place` is that of the run, for which [begin, end) is large enough.
  void Begin(const PayloadFormat& format, const PayloadPlace& place, std::byte* begin,
             std::byte* end);

  // The next chunk: `indices`, [k], ascending offsets (null where all are sent), and `values`, [k],
  // finite. Replaces each value by what the payload says of it, 0 for nothing: what the sender
  // takes out of its momentum. (kSign: by itself, for all of it is taken.) Returns false, with
  // zeros, if there is nothing to send.
  bool Add(const uint16_t* indices, float* values);

  // The same where the chunk's rank (IndexCoder::tables()), scale and signs are known already
  // (kOneBit, HasSignTiles()): bit j of `negative` is the sign of the j-th value. kNoScale: nothing
  // to send.
  void AddSigns(uint64_t rank, int scale_code, uint64_t negative);

  // The same of `count` whole chunks with a scale per block: takes what the records say of
  // `elements`, [count, chunk_size], finite, out of them.
  void TakeBlocks(const TileKernels& kernels, uint64_t count, float* elements);

  // After chunk_count chunks; zero-pads the last byte.
  void Finish();

  uint64_t present_chunks() const { return present_; }
  std::span<const uint8_t> presence() const { return presence_; }  // bits
  std::span<const std::byte> bytes() const { return {begin_, end_}; }

 private:
  bool Quantize(float* values);
  void MarkPresent(uint64_t chunk);

  PayloadFormat format_;
  PayloadPlace place_;
  const IndexCoder* coder_ = nullptr;
  BitWriter bits_{nullptr, nullptr};
  std::byte* begin_ = nullptr;
  std::byte* end_ = nullptr;
  uint64_t added_ = 0;
  uint64_t present_ = 0;
  int scale_code_ = 0;
  float scale_ = 0;
  std::vector<uint8_t> presence_;
};

// Writes one payload, straight into its bytes. Reusable: memory is kept from one to the next.
// Segments may be written by one thread each; they change nothing about the result.
class PayloadWriter {
 public:
  // Begins a payload in `out`, replacing what it held. CHECKs the format.
  void Begin(const PayloadFormat& format, const PayloadPlace& place, std::string* out,
             int segments = 1);

  // Runs of whole tiles (16 chunks), except at the end; some may be empty.
  PayloadPlace segment_place(int segment) const;
  RecordWriter& segment(int segment) { return segments_[static_cast<size_t>(segment)]; }
  // To the only segment.
  bool Add(const uint16_t* indices, float* values) { return segments_[0].Add(indices, values); }

  // After all chunks of all segments.
  void Finish();

 private:
  // Moves the segments' records together, behind the presence map. Returns where they end.
  std::byte* Compact(std::byte* body);

  PayloadFormat format_;
  PayloadPlace place_;
  std::string* out_ = nullptr;
  uint64_t segment_chunks_ = 0;
  std::vector<RecordWriter> segments_;
  std::vector<std::byte> compacted_;
};

// The payload of records that were written elsewhere (by a GPU, say): the record of the place's
// i-th chunk begins at bit i * RecordBits of `records` (payload_layout.h) and counts if bit i of
// `presence` is set. Both are 32-bit words, least significant bit first; CHECKs that they are long
// enough.
std::string AssemblePayload(const PayloadFormat& format, const PayloadPlace& place,
                            std::span<const uint32_t> records, std::span<const uint32_t> presence);

// A validated payload, read in place. Copyable; the bytes must outlive it. Thread-safe to read.
class PayloadView {
 public:
  // Chunks that Decode() takes at most.
  static constexpr int kBatch = IndexCoder::kBatch;

  PayloadView() = default;

  // Validates: magic, version, every field of `expected`, exactly `place`, the exact length, CRC,
  // presence counts, indices in range and order, finite values within 2^100, zero padding.
  // Allocates nothing.
  // Errors: DATA_LOSS for a wrong checksum; INVALID_ARGUMENT otherwise, naming the field, expected
  // and actual.
  static absl::StatusOr<PayloadView> Parse(std::span<const std::byte> payload,
                                           const PayloadFormat& expected,
                                           const PayloadPlace& place);

  // The same without reading the records, for payloads that this process has written or validated.
  static absl::StatusOr<PayloadView> ParseTrusted(std::span<const std::byte> payload,
                                                  const PayloadFormat& expected,
                                                  const PayloadPlace& place);

  // Where the payload says that it belongs, for who does not know; nothing is checked but that it
  // is long enough. Errors: INVALID_ARGUMENT.
  static absl::StatusOr<PayloadPlace> PeekPlace(std::span<const std::byte> payload);

  const PayloadFormat& format() const { return format_; }
  const PayloadPlace& place() const { return place_; }
  // The bytes behind what is read: the records of the present chunks, one after the other.
  std::span<const std::byte> records() const { return records_; }
  const PresenceMap& presence() const { return presence_; }

  // Decodes the present ones of `count` <= kBatch chunks from `first_chunk` on: the i-th writes
  // which chunk it is, counted from `first_chunk`, to chunks[i], its offsets to indices[i * k] (not
  // where all are sent) and its values to values[i * k], where 0 stands for nothing sent. Returns
  // how many. The chunks lie within the payload.
  int Decode(uint64_t first_chunk, int count, uint8_t* chunks, uint16_t* indices,
             float* values) const;

  // Adds `weight` times what the payload says of `count` chunks from `first_chunk` on to their
  // rows, [count, chunk_size]. Only of payloads with block scales.
  void AddBlocks(uint64_t first_chunk, int count, float weight, const TileKernels& kernels,
                 float* rows) const;

  // The same as masks, where a value is a magnitude per chunk and a sign (kOneBit, kSign; at most
  // 56 chosen values per chunk, in tiles): writes columns [0, count) of a SignTile
  // (common/kernels/tile_kernels.h). Columns of absent chunks are empty.
  bool has_sign_tiles() const { return has_sign_tiles_; }
  void DecodeSigns(uint64_t first_chunk, int count, const TileKernels& kernels, uint32_t* masks,
                   uint32_t* negative, float* magnitudes) const;

 private:
  absl::Status CheckRecords() const;
  absl::Status RecordError(uint64_t record, absl::string_view what) const;
  absl::Status CheckBlocks(uint64_t record) const;
  void DecodeValues(uint64_t bit, float* values) const;
  void DecodeBlocks(uint64_t bit, float* values) const;

  PayloadFormat format_;
  PayloadPlace place_;
  const IndexCoder* coder_ = nullptr;
  uint64_t record_bits_ = 0;
  bool has_sign_tiles_ = false;
  PresenceMap presence_;  // chunks are counted from the payload's first
  std::span<const std::byte> records_;
};

// What a payload says, or is to say, in plain vectors.
struct Selection {
  uint64_t first_chunk = 0;
  uint64_t chunk_count = 0;
  std::vector<uint16_t> indices;  // [chunk_count, k], ascending per chunk; empty if k = chunk_size
  std::vector<float> values;      // [chunk_count, k]; 0: not sent
};

// Encodes; `selection`'s values become what the payload says. CHECKs that the lengths fit.
std::string EncodePayload(const PayloadFormat& format, uint64_t round, Selection& selection);

// A payload of `place` that says nothing of any chunk. CHECKs a format without indices.
std::string EncodeNothing(const PayloadFormat& format, const PayloadPlace& place);

// Parse() and Decode() of all. Errors as Parse().
absl::StatusOr<Selection> DecodePayload(std::span<const std::byte> payload,
                                        const PayloadFormat& expected, const PayloadPlace& place);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_PAYLOAD_H_
