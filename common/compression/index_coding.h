// Which k elements of a chunk were sent, as bits: the rank of the subset among all k-subsets
// (enumerative coding), a whole number of bits per chunk and so randomly accessible; or the k
// offsets one after the other where that is not larger, or the rank would need over 128 bits.
//
// The rank is that of tile_kernels.h, naively common/kernels/naive_subset.h; of more than half of
// the elements, it is that of those left out.
//
// Source: Cover, "Enumerative source encoding", 1973. Measured selections carry no structure that a
// cleverer code could use (within 4 %).
#ifndef ISTHMUS_COMMON_COMPRESSION_INDEX_CODING_H_
#define ISTHMUS_COMMON_COMPRESSION_INDEX_CODING_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "common/compression/bit_stream.h"
#include "common/compression/subset_ranks.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus {

enum class IndexCoding : uint8_t { kNone = 0, kPacked = 1, kEnumerative = 2 };

// For one (chunk_size, k), 0 < k < chunk_size <= 65536. Immutable; thread-safe.
class IndexCoder {
 public:
  // Chunks that Decode() takes at once.
  static constexpr int kBatch = kTileChunks;

  // Lives as long as the program; made at the first call. Thread-safe. CHECKs the range.
  static const IndexCoder& For(uint32_t chunk_size, uint32_t k);
  IndexCoder(uint32_t chunk_size, uint32_t k);

  IndexCoding coding() const { return coding_; }
  int bits() const { return bits_; }  // of one chunk

  // Writes the bits() bits of one chunk. `indices`, [k], ascend.
  void Encode(const uint16_t* indices, BitWriter& out) const;

  // Reads `count` <= kBatch chunks, the i-th at `first_bit` + i * `stride_bits`, into `indices`,
  // [count, k]. The bits are there and Valid().
  void Decode(std::span<const std::byte> bytes, uint64_t first_bit, uint64_t stride_bits, int count,
              uint16_t* indices) const;

  // True if the bits at `bit` are those of some subset.
  bool Valid(std::span<const std::byte> bytes, uint64_t bit) const;

  // How many of `count` chunks, at bits 0, stride_bits, ..., are Valid() before the first that is
  // not.
  uint64_t CountValid(std::span<const std::byte> bytes, uint64_t stride_bits, uint64_t count) const;

  // How kernels rank a tile's masks, where chunk_size is that of tiles and ranks are below
  // 2^kRankBits; otherwise null.
  const SubsetTables* tables() const { return tables_ ? &tables_->tables() : nullptr; }

 private:
  WideRank LoadWideRank(std::span<const std::byte> bytes, uint64_t bit) const;
  void DecodeByTables(std::span<const std::byte> bytes, uint64_t first_bit, uint64_t stride_bits,
                      int count, uint16_t* indices) const;
  // The chunk's elements that are not among `indices`.
  void Complement(std::span<const uint16_t> indices, uint16_t* others) const;

  const uint32_t chunk_size_;
  const uint32_t k_;
  int index_bits_ = 0;  // of one packed offset
  IndexCoding coding_ = IndexCoding::kPacked;
  int bits_ = 0;
  std::optional<SubsetRanks> ranks_;  // kEnumerative
  std::optional<SubsetTableSet> tables_;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_INDEX_CODING_H_
