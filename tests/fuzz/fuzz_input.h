// What every fuzz target shares: how it reads its input, the bound on its memory, and what it says
// when something decodes.
#ifndef ISTHMUS_TESTS_FUZZ_FUZZ_INPUT_H_
#define ISTHMUS_TESTS_FUZZ_FUZZ_INPUT_H_

#include <absl/status/status.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>

#include "common/base/check.h"

namespace isthmus::fuzz {

// Reads what Output writes, and makes something of any other bytes: zeros once they are used up.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : left_(data, size) {}

  bool empty() const { return left_.empty(); }
  size_t size() const { return left_.size(); }

  uint8_t Byte() {
    if (left_.empty()) return 0;
    const uint8_t byte = left_.front();
    left_ = left_.subspan(1);
    return byte;
  }
  // number := byte < 250 | 250 u16 | 251 u32 | 252 u64 | 253 (2^63) | 254 (2^64 - 1) | 255 (2^32)
  uint64_t Number() {
    switch (const uint8_t tag = Byte()) {
      case 250:
        return LittleEndian(2);
      case 251:
        return LittleEndian(4);
      case 252:
        return LittleEndian(8);
      case 253:
        return uint64_t{1} << 63;
      case 254:
        return std::numeric_limits<uint64_t>::max();
      case 255:
        return uint64_t{1} << 32;
      default:
        return tag;
    }
  }
  // The next `size` bytes, or what there is.
  std::string Bytes(uint64_t size) {
    const auto taken = left_.first(static_cast<size_t>(std::min<uint64_t>(size, left_.size())));
    left_ = left_.subspan(taken.size());
    return std::string(reinterpret_cast<const char*>(taken.data()), taken.size());
  }

 private:
  uint64_t LittleEndian(int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= uint64_t{Byte()} << (8 * i);
    return value;
  }

  std::span<const uint8_t> left_;
};

// Writes seeds.
class Output {
 public:
  Output& Byte(uint8_t byte) {
    bytes_.push_back(static_cast<char>(byte));
    return *this;
  }
  Output& Number(uint64_t value) {
    if (value < 250) return Byte(static_cast<uint8_t>(value));
    const int size = value <= 0xffff ? 2 : value <= 0xffffffff ? 4 : 8;
    Byte(size == 2 ? 250 : size == 4 ? 251 : 252);
    for (int i = 0; i < size; ++i) Byte(static_cast<uint8_t>(value >> (8 * i)));
    return *this;
  }
  Output& Bytes(const std::string& bytes) {
    bytes_ += bytes;
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// While it lives, this thread may hold at most so many bytes more than when it was made; one byte
// more ends the process. Counts operator new, which is all that our code and protobuf use. Only one
// at a time.
class MemoryBound {
 public:
  explicit MemoryBound(uint64_t bytes);
  ~MemoryBound();
  MemoryBound(const MemoryBound&) = delete;
  MemoryBound& operator=(const MemoryBound&) = delete;
  // Raises the bound, for input that has arrived since.
  void Allow(uint64_t bytes);
  // Lowers it again; no more than that may be held now.
  void Disallow(uint64_t bytes);
};

// Says that something was decoded, so that a seed which is no longer valid is found out.
void CountAccepted();
uint64_t Accepted();

// A refusal says why, in words short enough for gRPC's trailers.
inline void CheckRefusal(const absl::Status& status) {
  ISTHMUS_CHECK(!status.ok());
  ISTHMUS_CHECK(!status.message().empty());
  ISTHMUS_CHECK(status.message().size() <= 2048);
}

}  // namespace isthmus::fuzz

// What libFuzzer and the replay call: returns 0.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

#endif  // ISTHMUS_TESTS_FUZZ_FUZZ_INPUT_H_
