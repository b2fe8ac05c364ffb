// What contributions cost.
#include <gtest/gtest.h>

#include <cmath>

#include "common/compression/payload.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

constexpr uint64_t kHeaderBytes = 34;

uint64_t BitsOfValue(ValueFormat values) {
  switch (values) {
    case ValueFormat::kF32:
      return 32;
    case ValueFormat::kBf16:
      return 16;
    case ValueFormat::kInt4:
      return 4;
    case ValueFormat::kTwoBit:
      return 2;
    default:
      return 1;
  }
}

uint64_t ScaleBits(ValueFormat values) {
  return values == ValueFormat::kInt4 || values == ValueFormat::kTwoBit ||
                 values == ValueFormat::kOneBit
             ? 8
             : 0;
}

TEST(PayloadSizeTest, IsHeaderPresenceAndRecordsWithoutGaps) {
  Rng rng(18);
  for (ValueFormat values : kValueFormats) {
    for (uint32_t k : {1u, 4u, 8u, 64u}) {
      const PayloadFormat format = DctFormat(64, k, values);
      const uint64_t index_bits =
          k == 64 ? 0 : static_cast<uint64_t>(IndexCoder::For(64, k).bits());
      const uint64_t record = index_bits + ScaleBits(values) + k * BitsOfValue(values);
      for (uint64_t chunks : {0, 1, 7, 64, 333}) {
        EXPECT_EQ(PayloadBytes(format, chunks), kHeaderBytes + BytesForBits(chunks * record));
        for (double presence : {1.0, 0.99, 0.5, 0.0}) {
          std::vector<float> m = RandomVector(rng, 64 * chunks);
          uint64_t present = 0;
          for (size_t chunk = 0; chunk < chunks; ++chunk) {
            const bool there = rng.Chance(presence);
            present += there ? 1 : 0;
            for (size_t i = 0; i < 64 && !there; ++i) m[chunk * 64 + i] = 0.0f;
          }
          const uint64_t size = PayloadOf(format, {0, 0, chunks}, m).size();
          const uint64_t map = present < chunks ? BytesForBits(chunks) : 0;
          EXPECT_EQ(size, kHeaderBytes + map + BytesForBits(present * record));
          EXPECT_LE(size, LargestPayloadBytes(format, chunks));
        }
      }
    }
  }
}

TEST(PayloadSizeTest, AnAbsentChunkCostsAtMostOneBit) {
  for (ValueFormat values : kValueFormats) {
    const PayloadFormat format = DctFormat(64, 8, values);
    EXPECT_LE(PayloadOf(format, {0, 0, 8000}, std::vector<float>(8000 * 64)).size(),
              kHeaderBytes + 1000);
  }
}

TEST(PayloadSizeTest, P19_OneBitIsWithinThreePercentOfItsInformation) {
  constexpr uint64_t kChunks = 16384;
  Rng rng(19);
  const PayloadFormat format = DctFormat(64, 8, ValueFormat::kOneBit);
  const std::string payload = PayloadOf(format, {0, 0, kChunks}, RandomVector(rng, 64 * kChunks));
  const double binomial =
      (std::lgamma(65.0) - std::lgamma(9.0) - std::lgamma(57.0)) / std::log(2.0);
  const double information = (binomial + 8 + 8) / 8 * kChunks;
  EXPECT_LE(static_cast<double>(payload.size()), 1.03 * information);
  EXPECT_LE(static_cast<double>(payload.size()), 0.80 * 8 * kChunks);
}

TEST(PayloadSizeTest, P19_RandomSignsOfAnEighthTakeAnEighthOfABit) {
  constexpr uint64_t kChunks = 16384;
  Rng rng(20);
  for (uint32_t chunk_size : {64u, 512u}) {
    const PayloadFormat format{Transform::kNone,   chunk_size,         chunk_size / 8,
                               ValueFormat::kSign, Positions::kRandom, 5};
    const uint64_t chunks = kChunks * 64 / chunk_size;
    const std::string payload = PayloadOf(format, {0, 0, chunks}, RandomVector(rng, 64 * kChunks));
    EXPECT_LE(static_cast<double>(payload.size()), 0.016 * 64 * kChunks);
  }
}

}  // namespace
}  // namespace isthmus
