// Payloads of whole chunks with a scale for every 64 elements.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "common/base/mix64.h"
#include "common/compression/payload.h"
#include "common/compression/payload_check.h"
#include "common/kernels/naive_block.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

using ::testing::HasSubstr;

PayloadFormat BlockFormat(uint32_t chunk_size, ValueFormat values) {
  return {Transform::kNone, chunk_size, chunk_size, values, Positions::kChosen, 0, true};
}

class BlockPayloadTest : public testing::TestWithParam<std::tuple<uint32_t, ValueFormat>> {
 protected:
  const PayloadFormat format_ = BlockFormat(std::get<0>(GetParam()), std::get<1>(GetParam()));
  const uint32_t size_ = format_.chunk_size;
  const int bits_ = ValueBits(format_.values);
  Rng rng_{size_ + static_cast<uint64_t>(bits_)};
};

// What the payload says and what is left are what the naive block says and leaves.
TEST_P(BlockPayloadTest, P19_IsTheNaiveBlocksOneAfterTheOther) {
  for (const uint64_t chunks : {0, 1, 7, 40}) {
    const PayloadPlace place{3, {50, chunks}};
    std::vector<float> momentum = AdversarialVector(rng_, size_, chunks);
    std::vector<float> left = momentum, said(momentum.size());
    for (size_t at = 0; at < left.size(); at += kBlock) {
      uint64_t codes[4];
      const int scale = naive::TakeBlock(bits_, left.data() + at, codes);
      if (scale > 0) naive::SayBlock(bits_, scale, codes, said.data() + at);
    }
    std::string payload;
    Extract(format_, place, 1.0f, momentum, &payload);
    EXPECT_EQ(Bits(momentum), Bits(left));
    const auto received = DecodePayload(AsBytes(payload), format_, place);
    ASSERT_TRUE(received.ok()) << received.status();
    EXPECT_EQ(Bits(received->values), Bits(said));
    EXPECT_LE(payload.size(), LargestPayloadBytes(format_, chunks));
  }
}

// Whatever the length, and with a writer that has written something else.
TEST_P(BlockPayloadTest, P17_P21_OnePassIsTheMomentumUpdateAndThenTheExtraction) {
  PayloadWriter writer;
  for (const uint64_t chunks : {40, 0, 1, 7, 64, 65, 150}) {
    for (const auto& [decay, scale] : {std::pair{1.0f, 1.0f}, {0.9f, 1.0f}, {0.999f, 0.3f}}) {
      const PayloadPlace place{3, {50, chunks}};
      const std::vector<float> gradient = AdversarialVector(rng_, size_, chunks);
      std::vector<float> momentum = AdversarialVector(rng_, size_, chunks);
      std::vector<float> expected = momentum;
      for (size_t i = 0; i < expected.size(); ++i) {
        expected[i] = decay * expected[i] + scale * gradient[i];
      }
      std::string payload, expected_payload;
      Extract(format_, place, 1.0f, expected, &expected_payload);
      AccumulateAndExtract(format_, place, decay, scale, gradient, momentum, writer, &payload);
      ASSERT_EQ(Bits(momentum), Bits(expected)) << chunks << " " << decay;
      ASSERT_EQ(payload, expected_payload) << chunks << " " << decay;
    }
  }
}

TEST_P(BlockPayloadTest, ABlockTakesAScaleAndItsBits) {
  std::vector<float> momentum(20 * size_, 1.0f);
  std::string payload;
  Extract(format_, {0, {0, 20}}, 1.0f, momentum, &payload);
  const uint64_t blocks = 20 * size_ / kBlock;
  EXPECT_EQ(payload.size(), 34 + blocks * (1 + 8 * static_cast<uint64_t>(bits_)));
}

TEST_P(BlockPayloadTest, AChunkOfZerosIsAbsentAndABlockOfThemSaysNothing) {
  std::vector<float> momentum(3 * size_);
  momentum[size_] = 1.0f;  // the first block of the second chunk
  const PayloadPlace place{0, {0, 3}};
  std::string payload;
  Extract(format_, place, 1.0f, momentum, &payload);
  EXPECT_EQ(payload.size(), 34 + 1 + size_ / kBlock * (1 + 8 * static_cast<uint64_t>(bits_)));
  const std::vector<float> said = DecodePayload(AsBytes(payload), format_, place)->values;
  for (size_t i = 0; i < said.size(); ++i) {
    if (i / kBlock == size_ / kBlock) continue;
    ASSERT_EQ(said[i], 0.0f) << i;
  }
  EXPECT_GT(said[size_], 0.0f);
}

TEST_P(BlockPayloadTest, WhatIsEncodedAgainSaysTheSame) {
  const PayloadPlace place{9, {8, 12}};
  Selection selection{8, 12, {}, RandomVector(rng_, 12 * size_)};
  const std::string payload = EncodePayload(format_, 9, selection);
  EXPECT_EQ(Bits(DecodePayload(AsBytes(payload), format_, place)->values), Bits(selection.values));
}

INSTANTIATE_TEST_SUITE_P(All, BlockPayloadTest,
                         testing::Combine(testing::Values(64u, 256u, 4096u),
                                          testing::Values(ValueFormat::kOneBit,
                                                          ValueFormat::kTwoBit,
                                                          ValueFormat::kInt4)));

// The bytes never change: recorded from the naive blocks.
TEST(BlockPayloadVectorTest, P19_RecordedBytes) {
  const auto digest = [](ValueFormat values) {
    std::vector<float> momentum(2 * 128);
    for (size_t i = 0; i < momentum.size(); ++i) {
      const auto word = static_cast<int32_t>(Mix64(i) >> 33) - (1 << 30);
      momentum[i] = static_cast<float>(word) * 0x1p-34f;
    }
    std::string payload;
    Extract(BlockFormat(128, values), {5, {6, 2}}, 1.0f, momentum, &payload);
    uint64_t hash = payload.size();
    for (const char c : payload) hash = Mix64(hash ^ static_cast<uint8_t>(c));
    for (const float left : momentum) hash = Mix64(hash ^ std::bit_cast<uint32_t>(left));
    return hash;
  };
  EXPECT_EQ(digest(ValueFormat::kOneBit), 16190293648949480965u);
  EXPECT_EQ(digest(ValueFormat::kTwoBit), 13182416650099445278u);
  EXPECT_EQ(digest(ValueFormat::kInt4), 7775469264684598318u);
}

// --- what is refused -----------------------------------------------------------------------------

class BlockViolationTest : public testing::Test {
 protected:
  static constexpr size_t kFirstBlock = 34;
  void Refuse(ValueFormat values, size_t at, char byte, const std::string& words) {
    const PayloadFormat format = BlockFormat(128, values);
    std::vector<float> momentum(128);
    std::fill_n(momentum.begin(), 64, 1.0f);
    std::string payload;
    Extract(format, place_, 1.0f, momentum, &payload);
    payload[at] = byte;
    // The checksum is not what is tried: ParseTrusted does not read it, so it is sealed again.
    StorePayloadCrc(30, std::as_writable_bytes(std::span(payload)));
    const auto parsed = PayloadView::Parse(AsBytes(payload), format, place_);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(words));
  }
  const PayloadPlace place_{1, {4, 1}};
};

TEST_F(BlockViolationTest, ValuesWithoutAScale) {
  Refuse(ValueFormat::kTwoBit, kFirstBlock + 17 + 3, 1,
         "block 1: expected no values without a scale");
}
TEST_F(BlockViolationTest, MinusZero) {
  Refuse(ValueFormat::kInt4, kFirstBlock + 1, static_cast<char>(0x87), "block 0: expected no -0");
}
TEST_F(BlockViolationTest, NothingInAnyBlock) {
  PayloadFormat format = BlockFormat(64, ValueFormat::kTwoBit);
  std::vector<float> momentum(64, 1.0f);
  std::string payload;
  Extract(format, place_, 1.0f, momentum, &payload);
  std::fill(payload.begin() + kFirstBlock, payload.end(), '\0');
  StorePayloadCrc(30, std::as_writable_bytes(std::span(payload)));
  const auto parsed = PayloadView::Parse(AsBytes(payload), format, place_);
  EXPECT_THAT(std::string(parsed.status().message()),
              HasSubstr("expected a block that says something"));
}
TEST_F(BlockViolationTest, AScalePerChunkInItsPlace) {
  PayloadFormat format = BlockFormat(64, ValueFormat::kTwoBit);
  std::vector<float> momentum(64, 1.0f);
  std::string payload;
  Extract(format, place_, 1.0f, momentum, &payload);
  format.block_scales = false;
  const auto parsed = PayloadView::Parse(AsBytes(payload), format, place_);
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("block scales: expected 0, got 1"));
}

}  // namespace
}  // namespace isthmus
