// One test per way in which a contribution can be wrong. A violation is made in a valid payload and
// then given a right checksum, so that it meets its own check.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/compression/payload.h"
#include "common/compression/payload_check.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

constexpr size_t kCrcOffset = 40;
constexpr size_t kBody = 44;
constexpr uint64_t kFirst = 3;
constexpr uint64_t kCount = 3;

// 3 chunks of 3 indices of 4 bits: 36 bits, so four bits of padding.
const PayloadFormat kFormat{Transform::kDct, 16, 3, ValueFormat::kF32};
constexpr size_t kIndicesBytes = 5;

class PayloadViolationTest : public testing::Test {
 protected:
  absl::Status Decode() const {
    return DecodePayload(AsBytes(payload_), kFormat, kFirst, kCount).status();
  }
  absl::Status DecodeResealed() {
    StorePayloadCrc(kCrcOffset, payload_);
    return Decode();
  }
  // Expects the refusal of payload_ to name `words`.
  void ExpectRefused(const std::string& words) {
    const absl::Status status = DecodeResealed();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }
  void StoreFloatBits(uint32_t bits) {
    std::string text;
    AppendLittleEndian<uint32_t>(bits, text);
    payload_.replace(kBody + kIndicesBytes + 8, 4, text);
  }

  std::string payload_ = EncodePayload(
      kFormat, {kFirst, kCount, {0, 5, 15, 1, 2, 3, 0, 1, 15}, {1, 2, 3, 4, 5, 6, 7, 8, 9}});
};

TEST_F(PayloadViolationTest, TheUntouchedPayloadIsFine) { EXPECT_TRUE(DecodeResealed().ok()); }

TEST_F(PayloadViolationTest, Magic) {
  payload_[0] = 'X';
  ExpectRefused("magic: expected 17225");
}

TEST_F(PayloadViolationTest, Version) {
  payload_[2] = 2;
  ExpectRefused("version: expected 1, got 2");
}

TEST_F(PayloadViolationTest, Fields) {
  const std::vector<std::pair<size_t, std::string>> fields = {
      {3, "transform: expected 1"},    {4, "values: expected 0"},
      {5, "index_coding: expected 1"}, {6, "reserved: expected 0"},
      {7, "reserved: expected 0"},     {8, "chunk_size: expected 16"},
      {12, "k: expected 3"},           {16, "first_chunk: expected 3"},
      {24, "chunk_count: expected 3"}, {31, "chunk_count: expected 3"},
      {32, "body_bytes: expected 41"}};
  const std::string valid = payload_;
  for (const auto& [offset, words] : fields) {
    payload_ = valid;
    payload_[offset] = static_cast<char>(payload_[offset] ^ 0x55);
    ExpectRefused(words);
  }
}

TEST_F(PayloadViolationTest, TooLongAndTooShort) {
  payload_.push_back('\0');
  ExpectRefused("length: expected 85, got 86");
  payload_.resize(payload_.size() - 2);
  ExpectRefused("length: expected 85, got 84");
}

TEST_F(PayloadViolationTest, TruncatedAnywhereIsRefused) {
  const std::string valid = payload_;
  for (size_t n = 0; n < valid.size(); ++n) {
    payload_ = valid.substr(0, n);
    EXPECT_FALSE(Decode().ok()) << n;
    if (n < kBody) continue;
    EXPECT_FALSE(DecodeResealed().ok()) << n;
  }
}

TEST_F(PayloadViolationTest, EveryFlippedBitIsDataLossOrAnUnknownFormat) {
  for (size_t bit = 0; bit < 8 * payload_.size(); ++bit) {
    const auto flip = [&] {
      payload_[bit / 8] = static_cast<char>(payload_[bit / 8] ^ (1 << bit % 8));
    };
    flip();
    const bool in_magic_or_version = bit < 24;
    EXPECT_EQ(Decode().code(), in_magic_or_version ? absl::StatusCode::kInvalidArgument
                                                   : absl::StatusCode::kDataLoss)
        << "bit " << bit;
    flip();
  }
}

TEST_F(PayloadViolationTest, RepeatedIndex) {
  payload_[kBody] = 0x00;  // 0, 0 instead of 0, 5
  ExpectRefused("index 1 of chunk 3: expected 1 to 15, got 0");
}

TEST_F(PayloadViolationTest, DescendingIndex) {
  payload_[kBody + 1] = 0x14;  // 0, 5, 4
  ExpectRefused("index 2 of chunk 3: expected 6 to 15, got 4");
}

TEST_F(PayloadViolationTest, IndexBeyondTheChunk) {
  const PayloadFormat format{Transform::kDct, 50, 1, ValueFormat::kF32};
  payload_ = EncodePayload(format, {0, 1, {49}, {1.0f}});
  payload_[kBody] = 50;
  StorePayloadCrc(kCrcOffset, payload_);
  const auto status = DecodePayload(AsBytes(payload_), format, 0, 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("expected 0 to 49, got 50"));
}

TEST_F(PayloadViolationTest, NonZeroPadding) {
  payload_[kBody + 4] = static_cast<char>(payload_[kBody + 4] | 0x80);
  ExpectRefused("padding: expected 0, got 8");
}

TEST_F(PayloadViolationTest, Infinity) {
  StoreFloatBits(0xff800000);
  ExpectRefused("value 2: expected a finite number, got bits ff800000");
}

TEST_F(PayloadViolationTest, NotANumber) {
  StoreFloatBits(0x7fc00001);
  ExpectRefused("value 2: expected a finite number, got bits 7fc00001");
}

TEST_F(PayloadViolationTest, RandomBytesNeverCrash) {
  Rng rng(15);
  for (int trial = 0; trial < 20000; ++trial) {
    const std::string valid = payload_;
    for (uint64_t i = 0; i <= rng.Below(4); ++i) {
      payload_[rng.Below(payload_.size())] = static_cast<char>(rng());
    }
    (void)DecodeResealed();
    payload_ = valid;
  }
}

}  // namespace
}  // namespace isthmus
