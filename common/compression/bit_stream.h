// Runs of bits in bytes, least significant bit first, and little-endian integers.
#ifndef ISTHMUS_COMMON_COMPRESSION_BIT_STREAM_H_
#define ISTHMUS_COMMON_COMPRESSION_BIT_STREAM_H_

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

namespace isthmus {

// Returns where the integer ends.
template <std::unsigned_integral T>
std::byte* StoreLittleEndian(T value, std::byte* to) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    *to++ = static_cast<std::byte>(static_cast<uint64_t>(value) >> (8 * i) & 0xff);
  }
  return to;
}

// `at` must have sizeof(T) bytes. (Compilers make one load or store of each of these loops.)
template <std::unsigned_integral T>
T LoadLittleEndian(const std::byte* at) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<uint64_t>(at[i]) << (8 * i);
  return static_cast<T>(value);
}

inline uint64_t BytesForBits(uint64_t bits) { return bits / 8 + (bits % 8 != 0 ? 1 : 0); }

inline bool GetBit(std::span<const std::byte> bytes, uint64_t bit) {
  return (std::to_integer<unsigned>(bytes[bit / 8]) >> (bit % 8) & 1u) != 0;
}

inline constexpr int kMaxBitsAtOnce = 56;  // with up to 7 before them they lie in one word

// Writes runs of bits into memory that is large enough for them and that ends at `end`. Nothing is
// allocated, and nothing written beyond `end`.
class BitWriter {
 public:
  BitWriter(std::byte* begin, std::byte* end) : at_(begin), end_(end) {}
  // `width` <= kMaxBitsAtOnce; `value` < 2^width.
  void Put(uint64_t value, int width) {
    pending_ |= value << count_;
    count_ += width;
    if (end_ - at_ >= 8) {
      StoreLittleEndian(pending_, at_);
      at_ += count_ >> 3;
      pending_ >>= count_ & ~7;  // never by 64: at most 56 + 7 bits are pending
      count_ &= 7;
      return;
    }
    for (; count_ >= 8; count_ -= 8, pending_ >>= 8) {
      *at_++ = static_cast<std::byte>(pending_ & 0xff);
    }
  }
  // 64 bits, where what is written so far is whole bytes.
  void PutWord(uint64_t word) { at_ = StoreLittleEndian(word, at_); }
  // Zero-pads to a whole byte and returns where it ends.
  std::byte* Finish() {
    if (count_ > 0) *at_++ = static_cast<std::byte>(pending_ & 0xff);
    pending_ = 0;
    count_ = 0;
    return at_;
  }

 private:
  std::byte* at_;
  std::byte* end_;
  uint64_t pending_ = 0;
  int count_ = 0;  // bits in pending_, below 8 between calls
};

// The `width` <= kMaxBitsAtOnce bits from bit `bit` on. The caller has checked that they are there.
inline uint64_t LoadBits(std::span<const std::byte> bytes, uint64_t bit, int width) {
  const size_t at = bit / 8;
  uint64_t word;
  if (at + 8 <= bytes.size()) {
    word = LoadLittleEndian<uint64_t>(bytes.data() + at);
  } else {
    word = 0;
    for (size_t i = at; i < bytes.size(); ++i) {
      word |= std::to_integer<uint64_t>(bytes[i]) << (8 * (i - at));
    }
  }
  return word >> (bit % 8) & ((uint64_t{1} << width) - 1);
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_BIT_STREAM_H_
