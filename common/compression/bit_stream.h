// Runs of bits in bytes, least significant bit first, and little-endian integers.
#ifndef ISTHMUS_COMMON_COMPRESSION_BIT_STREAM_H_
#define ISTHMUS_COMMON_COMPRESSION_BIT_STREAM_H_

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace isthmus {

template <std::unsigned_integral T>
void AppendLittleEndian(T value, std::string& out) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    out.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i) & 0xff));
  }
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

// Appends to a string. Call Finish() last: it writes the zero-padded end.
class BitWriter {
 public:
  explicit BitWriter(std::string& out) : out_(out) {}
  // `width` <= 32; `value` < 2^width.
  void Put(uint32_t value, int width) {
    pending_ |= static_cast<uint64_t>(value) << count_;
    count_ += width;
    for (; count_ >= 8; count_ -= 8, pending_ >>= 8) {
      out_.push_back(static_cast<char>(pending_ & 0xff));
    }
  }
  void Finish() {
    if (count_ > 0) out_.push_back(static_cast<char>(pending_ & 0xff));
    pending_ = 0;
    count_ = 0;
  }

 private:
  std::string& out_;
  uint64_t pending_ = 0;
  int count_ = 0;  // bits in pending_, below 8 between calls
};

// Reads what BitWriter wrote. The caller has checked that the bytes are there.
class BitReader {
 public:
  explicit BitReader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  // `width` <= 32.
  uint32_t Get(int width) {
    for (; count_ < width; count_ += 8) {
      pending_ |= std::to_integer<uint64_t>(bytes_[next_++]) << count_;
    }
    const uint64_t value = pending_ & ((uint64_t{1} << width) - 1);
    pending_ >>= width;
    count_ -= width;
    return static_cast<uint32_t>(value);
  }
  // What is left of the byte last read: zero, if the padding is.
  uint64_t padding() const { return pending_; }

 private:
  std::span<const std::byte> bytes_;
  size_t next_ = 0;
  uint64_t pending_ = 0;
  int count_ = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_BIT_STREAM_H_
