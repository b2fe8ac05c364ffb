// Numbers as a job holds them: float32, or the upper halves of float32 (bfloat16).
#ifndef ISTHMUS_COMMON_TENSOR_ELEMENTS_H_
#define ISTHMUS_COMMON_TENSOR_ELEMENTS_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/check.h"

namespace isthmus {

// What a tensor's elements are in the job. Masters are float32 whatever the job holds.
enum class DType : uint8_t { kFloat32 = 0, kBFloat16 = 1 };

inline constexpr size_t SizeOf(DType type) { return type == DType::kFloat32 ? 4 : 2; }
inline constexpr const char* DTypeName(DType type) {
  return type == DType::kFloat32 ? "float32" : "bfloat16";
}

// A run of such numbers, wherever they are: of the host, or of a device. A view.
class Elements {
 public:
  Elements() = default;
  Elements(DType type, void* data, uint64_t size) : type_(type), data_(data), size_(size) {}
  // NOLINTNEXTLINE(google-explicit-constructor): floats are elements
  Elements(std::span<float> floats) : Elements(DType::kFloat32, floats.data(), floats.size()) {}

  DType type() const { return type_; }
  void* data() const { return data_; }
  uint64_t size() const { return size_; }
  uint64_t size_bytes() const { return size_ * SizeOf(type_); }

  Elements subspan(uint64_t begin, uint64_t size) const {
    ISTHMUS_CHECK(begin <= size_ && size <= size_ - begin);
    return {type_, static_cast<std::byte*>(data_) + begin * SizeOf(type_), size};
  }
  // CHECKs the type.
  std::span<float> floats() const {
    ISTHMUS_CHECK(type_ == DType::kFloat32);
    return {static_cast<float*>(data_), static_cast<size_t>(size_)};
  }
  std::span<uint16_t> halves() const {
    ISTHMUS_CHECK(type_ == DType::kBFloat16);
    return {static_cast<uint16_t*>(data_), static_cast<size_t>(size_)};
  }

 private:
  DType type_ = DType::kFloat32;
  void* data_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TENSOR_ELEMENTS_H_
