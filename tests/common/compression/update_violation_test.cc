// One test per way in which an update can be wrong; see payload_violation_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/compression/payload_check.h"
#include "common/compression/update_payload.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

constexpr size_t kCrcOffset = 36;
constexpr size_t kBody = 40;
constexpr uint64_t kFirst = 2;
constexpr uint64_t kCount = 3;

class UpdateViolationTest : public testing::Test {
 protected:
  static std::string Encode(bool sign) {
    MergedBucket merged{kFirst, kCount, std::vector<float>(48), {1, 0, 1}};
    std::fill_n(merged.coefficients.begin(), 16, 1.0f);
    std::fill_n(merged.coefficients.begin() + 32, 16, -1.0f);
    return EncodeUpdate({Transform::kNone, 16, sign}, merged);
  }
  absl::Status Parse(bool sign) const {
    const UpdateFormat format{Transform::kNone, 16, sign};
    return UpdateView::Parse(AsBytes(payload_), format, kFirst, kCount).status();
  }
  void ExpectRefused(bool sign, const std::string& words) {
    StorePayloadCrc(kCrcOffset, payload_);
    const absl::Status status = Parse(sign);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }
  // As if the header knew of the change of length.
  void StoreBodyBytes() { payload_[28] = static_cast<char>(payload_.size() - kBody); }

  std::string payload_ = Encode(true);
};

TEST_F(UpdateViolationTest, TheUntouchedPayloadsAreFine) {
  EXPECT_TRUE(Parse(true).ok());
  payload_ = Encode(false);
  EXPECT_TRUE(Parse(false).ok());
}

TEST_F(UpdateViolationTest, Fields) {
  const std::vector<std::pair<size_t, std::string>> fields = {
      {0, "magic: expected"},           {2, "version: expected 1"},
      {3, "encoding: expected 1 or 2"}, {4, "transform: expected 0"},
      {5, "sign: expected 1"},          {6, "reserved: expected 0"},
      {8, "chunk_size: expected 16"},   {12, "first_chunk: expected 2"},
      {20, "chunk_count: expected 3"},  {28, "body_bytes: expected 5"}};
  for (const auto& [offset, words] : fields) {
    payload_ = Encode(true);
    payload_[offset] = static_cast<char>(payload_[offset] ^ 0x55);
    ExpectRefused(true, words);
  }
}

TEST_F(UpdateViolationTest, SignsOutsideSignMode) {
  payload_[5] = 0;
  ExpectRefused(false, "encoding: expected 2, got 1");
}

TEST_F(UpdateViolationTest, TooLongAndTooShort) {
  payload_.push_back('\0');
  StoreBodyBytes();
  ExpectRefused(true, "signs length: expected 4, got 5");
  payload_.resize(payload_.size() - 2);
  StoreBodyBytes();
  ExpectRefused(true, "signs length: expected 4, got 3");
  payload_.resize(kBody);
  StoreBodyBytes();
  ExpectRefused(true, "body_bytes: expected at least 1, got 0");
}

TEST_F(UpdateViolationTest, TooManyOrTooFewValues) {
  payload_ = Encode(false);
  payload_.resize(payload_.size() - 4);
  StoreBodyBytes();
  ExpectRefused(false, "values length: expected 128, got 124");
  payload_.resize(kBody + 3);
  StoreBodyBytes();
  ExpectRefused(false, "bitmaps length: expected 4, got 2");
}

TEST_F(UpdateViolationTest, NonZeroPadding) {
  payload_[kBody] = static_cast<char>(payload_[kBody] | 0x80);
  ExpectRefused(true, "padding: expected 0, got 1");
}

TEST_F(UpdateViolationTest, ZeroAndNotFiniteValues) {
  for (uint32_t bits : {0u, 0x80000000u, 0x7f800000u, 0xffc00000u}) {
    payload_ = Encode(false);
    std::string text;
    AppendLittleEndian<uint32_t>(bits, text);
    payload_.replace(payload_.size() - 4, 4, text);
    ExpectRefused(false, "value 31: expected a finite number other than zero");
  }
}

TEST_F(UpdateViolationTest, EveryFlippedBitIsDataLossOrAnUnknownFormat) {
  for (bool sign : {false, true}) {
    payload_ = Encode(sign);
    for (size_t bit = 0; bit < 8 * payload_.size(); ++bit) {
      const std::string valid = payload_;
      payload_[bit / 8] = static_cast<char>(payload_[bit / 8] ^ (1 << bit % 8));
      EXPECT_EQ(Parse(sign).code(),
                bit < 24 ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kDataLoss)
          << "bit " << bit;
      payload_ = valid;
    }
  }
}

TEST_F(UpdateViolationTest, TruncatedOrRandomBytesNeverCrash) {
  Rng rng(19);
  for (int trial = 0; trial < 20000; ++trial) {
    const bool sign = rng.Chance(0.5);
    payload_ = Encode(sign);
    if (rng.Chance(0.3)) payload_.resize(kBody + rng.Below(payload_.size() - kBody));
    for (uint64_t i = 0; i <= rng.Below(4); ++i) {
      payload_[rng.Below(payload_.size())] = static_cast<char>(rng());
    }
    StorePayloadCrc(kCrcOffset, payload_);
    (void)Parse(sign);
  }
  for (size_t n = 0; n < kBody; ++n) {
    payload_ = Encode(true).substr(0, n);
    EXPECT_FALSE(Parse(true).ok());
  }
}

}  // namespace
}  // namespace isthmus
