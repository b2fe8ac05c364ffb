// Which k elements of a chunk were sent, as bits: the rank of the subset among all k-subsets
// (enumerative coding), a whole number of bits per chunk and so randomly accessible; or the k
// offsets one after the other where that is smaller, or the rank would need over 128 bits or its
// tables over 2^20 entries.
//
// The rank is that of the combinatorial number system: with offsets c1 < ... < ck,
// binom(c1, 1) + binom(c2, 2) + ... + binom(ck, k).
//
// Source: Cover, "Enumerative source encoding", 1973. Measured selections carry no structure that a
// cleverer code could use (within 4 %).
#ifndef ISTHMUS_COMMON_COMPRESSION_INDEX_CODING_H_
#define ISTHMUS_COMMON_COMPRESSION_INDEX_CODING_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/compression/bit_stream.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus {

enum class IndexCoding : uint8_t { kNone = 0, kPacked = 1, kEnumerative = 2 };

// For one (chunk_size, k), 0 < k < chunk_size <= 65536. Immutable; thread-safe.
class IndexCoder {
 public:
  // Chunks that Decode() takes at once: their chains of table look-ups run side by side.
  static constexpr int kBatch = 16;

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

 private:
  __extension__ using Wide = unsigned __int128;

  template <typename Rank>
  struct Table {
    std::vector<Rank> binomials;  // [k, chunk_size + 1]: binom(c, i + 1), at most the largest Rank
    Rank subsets = 0;             // binom(chunk_size, k)
    const Rank* row(uint32_t i, uint32_t chunk_size) const {
      return binomials.data() + size_t{i} * (chunk_size + 1);
    }
  };
  template <typename Rank>
  Table<Rank> MakeTable() const;
  template <typename Rank>
  Rank LoadRank(std::span<const std::byte> bytes, uint64_t bit) const;
  template <typename Rank>
  void EncodeRank(const Table<Rank>& table, const uint16_t* indices, BitWriter& out) const;
  void MakeGuesses();
  void DecodeWide(Wide rank, uint16_t* indices) const;

  const uint32_t chunk_size_;
  const uint32_t k_;
  int index_bits_ = 0;  // of one packed offset
  IndexCoding coding_ = IndexCoding::kPacked;
  int bits_ = 0;
  Table<uint64_t> narrow_;         // ranks of up to 52 bits
  Table<Wide> wide_;               // ranks of 53 to 128 bits
  std::vector<uint16_t> guesses_;  // these two: narrow_'s UnrankTables
  std::vector<int> steps_;
  UnrankTables unrank_ = {};
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_INDEX_CODING_H_
