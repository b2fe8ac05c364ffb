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

namespace isthmus {

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

inline std::vector<uint32_t> Bits(std::span<const float> x) {
  std::vector<uint32_t> bits;
  for (float value : x) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

inline std::span<const std::byte> AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// What a group would send of random coefficients.
inline Selection RandomSelection(Rng& rng, const PayloadFormat& format, uint64_t first_chunk,
                                 uint64_t chunk_count) {
  std::vector<float> coefficients = RandomVector(rng, chunk_count * format.chunk_size);
  return ExtractTopK(format, first_chunk, coefficients);
}

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_COMMON_COMPRESSION_TEST_DATA_H_
