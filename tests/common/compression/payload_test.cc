#include "common/compression/payload.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

TEST(PayloadTest, RoundTripsManyShapes) {
  Rng rng(13);
  for (uint32_t chunk_size : {1u, 2u, 16u, 50u, 64u, 127u, 960u, 4096u}) {
    for (uint32_t k : {1u, 2u, 3u, 8u, chunk_size / 2, chunk_size - 1, chunk_size}) {
      if (k < 1 || k > chunk_size) continue;
      for (ValueFormat values : {ValueFormat::kF32, ValueFormat::kBf16}) {
        for (uint64_t chunk_count : {0, 1, 3, 9}) {
          const PayloadFormat format{Transform::kDct, chunk_size, k, values};
          const Selection sent = RandomSelection(rng, format, 1000, chunk_count);
          const std::string payload = EncodePayload(format, sent);
          ASSERT_EQ(payload.size(), PayloadBytes(format, chunk_count));
          const auto received = DecodePayload(AsBytes(payload), format, 1000, chunk_count);
          ASSERT_TRUE(received.ok()) << received.status();
          EXPECT_EQ(received->first_chunk, 1000u);
          EXPECT_EQ(received->chunk_count, chunk_count);
          EXPECT_EQ(received->indices, sent.indices);
          EXPECT_EQ(Bits(received->values), Bits(sent.values));
        }
      }
    }
  }
}

TEST(PayloadTest, TakesSixBitsAndTwoBytesPerCoefficientOf64) {
  const PayloadFormat format{Transform::kDct, 64, 4, ValueFormat::kBf16};
  EXPECT_EQ(PayloadBytes(format, 1000), 44u + 1000 * 4 * 6 / 8 + 1000 * 4 * 2);
}

// The bytes are a contract with peers of other builds: written out by hand, once.
TEST(PayloadTest, LayoutIsPinned) {
  const PayloadFormat format{Transform::kDct, 16, 2, ValueFormat::kBf16};
  const Selection selection{5, 1, {3, 10}, {1.0f, -2.0f}};
  const std::string payload = EncodePayload(format, selection);
  const std::vector<uint8_t> before_crc = {0x49, 0x43, 1, 1, 1, 1, 0, 0,   // magic ...
                                           16,   0,    0, 0, 2, 0, 0, 0,   // chunk_size, k
                                           5,    0,    0, 0, 0, 0, 0, 0,   // first_chunk
                                           1,    0,    0, 0, 0, 0, 0, 0,   // chunk_count
                                           5,    0,    0, 0, 0, 0, 0, 0};  // body_bytes
  const std::vector<uint8_t> body = {0xa3, 0x80, 0x3f, 0x00, 0xc0};
  ASSERT_EQ(payload.size(), 49u);
  EXPECT_EQ(std::vector<uint8_t>(payload.begin(), payload.begin() + 40), before_crc);
  EXPECT_EQ(std::vector<uint8_t>(payload.begin() + 44, payload.end()), body);
}

TEST(QuantizeTest, F32IsItself) {
  EXPECT_EQ(QuantizeValue(ValueFormat::kF32, 1.2345678f), 1.2345678f);
}

TEST(QuantizeTest, Bf16RoundsToNearestTiesToEven) {
  const auto quantized = [](uint32_t bits) {
    return std::bit_cast<uint32_t>(QuantizeValue(ValueFormat::kBf16, std::bit_cast<float>(bits)));
  };
  EXPECT_EQ(quantized(0x3f807fff), 0x3f800000u);
  EXPECT_EQ(quantized(0x3f808000), 0x3f800000u);  // tie, even stays
  EXPECT_EQ(quantized(0x3f818000), 0x3f820000u);  // tie, odd goes up
  EXPECT_EQ(quantized(0x3f808001), 0x3f810000u);
  EXPECT_EQ(quantized(0xbf808001), 0xbf810000u);
  EXPECT_EQ(quantized(0x3fffffff), 0x40000000u);  // the carry reaches the exponent
  EXPECT_EQ(quantized(0x80000000), 0x80000000u);
  EXPECT_EQ(quantized(0x00000001), 0x00000000u);  // a denormal
}

TEST(QuantizeTest, Bf16NeverRoundsUpToInfinity) {
  const float huge = std::numeric_limits<float>::max();
  EXPECT_EQ(std::bit_cast<uint32_t>(QuantizeValue(ValueFormat::kBf16, huge)), 0x7f7f0000u);
  EXPECT_EQ(std::bit_cast<uint32_t>(QuantizeValue(ValueFormat::kBf16, -huge)), 0xff7f0000u);
}

TEST(QuantizeTest, Bf16ErrorIsAtMostHalfAUnit) {
  Rng rng(14);
  for (float x : RandomVector(rng, 10000)) {
    const float q = QuantizeValue(ValueFormat::kBf16, x);
    EXPECT_LE(std::abs(q - x), std::abs(x) * 0x1.0p-8f);
    EXPECT_EQ(QuantizeValue(ValueFormat::kBf16, q), q);
  }
}

}  // namespace
}  // namespace isthmus
