// Seeded inputs for the codec's tests.
#ifndef ISTHMUS_TESTS_COMMON_COMPRESSION_TEST_DATA_H_
#define ISTHMUS_TESTS_COMMON_COMPRESSION_TEST_DATA_H_

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "common/compression/demo_codec.h"
#include "common/compression/payload.h"
#include "tests/common/kernels/repetitions.h"

namespace isthmus {

inline constexpr ValueFormat kValueFormats[] = {ValueFormat::kF32,    ValueFormat::kBf16,
                                                ValueFormat::kInt4,   ValueFormat::kTwoBit,
                                                ValueFormat::kOneBit, ValueFormat::kSign};

// Roughly normal, of unit variance: the sum of twelve uniforms.
inline std::vector<float> RandomVector(Rng& rng, size_t n) {
  std::vector<float> x(n);
  for (float& value : x) {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i) sum += rng.Uniform();
    value = static_cast<float>(sum);
  }
  return x;
}

// Whole chunks, each of another character: plain; of all magnitudes up to 1e30; ties; zeros of both
// signs; denormals; few non-zeros; small enough to underflow a scale.
inline std::vector<float> AdversarialVector(Rng& rng, size_t chunk_size, size_t chunks) {
  std::vector<float> x = RandomVector(rng, chunk_size * chunks);
  for (size_t chunk = 0; chunk < chunks; ++chunk) {
    const uint64_t character = rng.Below(7);
    const uint64_t non_zeros = 1 + rng.Below(6);
    for (size_t i = 0; i < chunk_size; ++i) {
      float& value = x[chunk * chunk_size + i];
      const float sign = value < 0 ? -1.0f : 1.0f;
      if (character == 1) {
        const int exponent = static_cast<int>(rng.Below(248)) - 149;
        value = sign * static_cast<float>(std::ldexp(1.0 + rng.Uniform(), exponent));
      } else if (character == 2) {
        value = sign * 0.5f * static_cast<float>(rng.Below(3));
      } else if (character == 3 || (character == 5 && rng.Below(chunk_size) >= non_zeros)) {
        value = sign * 0.0f;
      } else if (character == 4) {
        value = std::bit_cast<float>(static_cast<uint32_t>(rng() & 0x807fffff));
      } else if (character == 6) {
        value *= 0x1p-44f;
      }
    }
  }
  return x;
}

inline std::vector<uint32_t> Bits(std::span<const float> x) {
  std::vector<uint32_t> bits;
  bits.reserve(x.size());
  for (float value : x) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

inline std::span<const std::byte> AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// What a group sends of `coefficients`, which lie in rows.
inline std::string PayloadOf(const PayloadFormat& format, const PayloadPlace& place,
                             std::vector<float> coefficients) {
  std::string payload;
  Extract(format, place, 1.0f, coefficients, &payload);
  return payload;
}

// A payload that is valid.
inline PayloadView ViewOf(const std::string& payload, const PayloadFormat& format,
                          const PayloadPlace& place) {
  return PayloadView::Parse(AsBytes(payload), format, place).value();
}

// A format for `values` whose k of chunk_size are chosen by the sender.
inline PayloadFormat DctFormat(uint32_t chunk_size, uint32_t k, ValueFormat values) {
  return {Transform::kDct, chunk_size, k, values, Positions::kChosen, 0};
}

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_COMMON_COMPRESSION_TEST_DATA_H_
