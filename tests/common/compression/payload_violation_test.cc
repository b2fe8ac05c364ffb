// One test per way in which a contribution can be wrong. A violation is made in a valid payload and
// then given a right checksum, so that it meets its own check.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/compression/payload.h"
#include "common/compression/payload_check.h"
#include "common/kernels/value_codes.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

constexpr size_t kCrcOffset = 30;
constexpr size_t kBody = 34;
const PayloadPlace kPlace{9, {3, 3}};

class PayloadViolationTest : public testing::Test {
 protected:
  // Chunk 4 of 3, 4, 5 is absent.
  void Make(const PayloadFormat& format) {
    format_ = format;
    std::vector<float> m(3 * format.chunk_size);
    for (uint32_t i = 0; i < format.chunk_size; ++i) {
      m[i] = static_cast<float>(i) + 1;
      m[2 * format.chunk_size + i] = -1.0f / static_cast<float>(i + 1);
    }
    payload_ = PayloadOf(format, kPlace, m);
  }
  void SetUp() override { Make(DctFormat(16, 3, ValueFormat::kF32)); }

  absl::Status Parse() const {
    return PayloadView::Parse(AsBytes(payload_), format_, kPlace).status();
  }
  absl::Status ParseResealed() {
    StorePayloadCrc(kCrcOffset, std::as_writable_bytes(std::span(payload_)));
    return Parse();
  }
  // Expects the refusal of payload_ to name `words`.
  void ExpectRefused(const std::string& words) {
    const absl::Status status = ParseResealed();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }
  // Writes `width` bits at `bit` of the body.
  void StoreBits(size_t bit, int width, uint64_t value) {
    for (int i = 0; i < width; ++i, ++bit) {
      char& byte = payload_[kBody + bit / 8];
      byte = static_cast<char>((byte & ~(1 << bit % 8)) | (value >> i & 1) << bit % 8);
    }
  }

  PayloadFormat format_;
  std::string payload_;
};

// Everything that differs in where and how: 5 formats, indices of both kinds and none.
std::vector<PayloadFormat> Formats() {
  std::vector<PayloadFormat> formats;
  for (ValueFormat values : kValueFormats) {
    formats.push_back(DctFormat(16, 3, values));
    formats.push_back(DctFormat(50, 1, values));  // packed
    formats.push_back(DctFormat(16, 16, values));
    formats.push_back({Transform::kNone, 16, 4, values, Positions::kRandom, 3});
  }
  return formats;
}

TEST_F(PayloadViolationTest, TheUntouchedPayloadsAreFine) {
  for (const PayloadFormat& format : Formats()) {
    Make(format);
    EXPECT_TRUE(ParseResealed().ok());
  }
}

TEST_F(PayloadViolationTest, Fields) {
  const std::vector<std::pair<size_t, std::string>> fields = {
      {0, "magic: expected 17225, got"},
      {2, "version: expected 3, got 86"},
      {4, "values: expected 0, got 85"},
      {5, "index_coding: expected 2, got 87"},
      {6, "chunk_size: expected 16, got 91"},
      {7, "chunk_size: expected 16, got 21776"},
      {8, "k: expected 3, got 88"},
      {9, "k: expected 3, got 21763"},
      {10, "chunk_count: expected 3, got 86"},
      {13, "chunk_count: expected 3, got 1426063363"},
      {14, "first_chunk: expected 3, got 86"},
      {21, "first_chunk: expected 3, got"},
      {22, "round: expected 9, got 92"},
      {29, "round: expected 9, got"}};
  for (const auto& [offset, words] : fields) {
    SetUp();
    payload_[offset] = static_cast<char>(payload_[offset] ^ 0x55);
    ExpectRefused("contribution " + words);
  }
}

TEST_F(PayloadViolationTest, Flags) {
  const std::vector<std::pair<int, std::string>> flags = {
      {1, "transform: expected 1, got 0"},    {2, "transform: expected 1, got 3"},
      {3, "positions: expected 0, got 1"},    {5, "positions: expected 0, got 4"},
      {6, "block scales: expected 0, got 1"}, {7, "reserved flags: expected 0, got 1"}};
  for (const auto& [bit, words] : flags) {
    SetUp();
    payload_[3] = static_cast<char>(payload_[3] ^ (1 << bit));
    ExpectRefused(words);
  }
  SetUp();
  payload_[3] = static_cast<char>(payload_[3] ^ 1);  // as if all chunks were there
  ExpectRefused("length: expected 74, got 62");
}

TEST_F(PayloadViolationTest, TooLongAndTooShort) {
  ASSERT_EQ(payload_.size(), 62u);
  payload_.push_back('\0');
  ExpectRefused("length: expected 62, got 63");
  payload_.resize(payload_.size() - 2);
  ExpectRefused("length: expected 62, got 61");
  payload_.resize(kBody);
  ExpectRefused("presence length: expected at least 1 bytes, got 0");
  payload_.resize(kBody - 1);
  EXPECT_THAT(std::string(Parse().message()), HasSubstr("length: expected at least 34 bytes"));
}

TEST_F(PayloadViolationTest, TruncatedAnywhereIsRefused) {
  for (const PayloadFormat& format : Formats()) {
    Make(format);
    const std::string valid = payload_;
    for (size_t n = 0; n < valid.size(); ++n) {
      payload_ = valid.substr(0, n);
      ASSERT_FALSE(Parse().ok()) << n;
      if (n < kBody) continue;
      ASSERT_EQ(ParseResealed().code(), absl::StatusCode::kInvalidArgument) << n;
    }
  }
}

TEST_F(PayloadViolationTest, EveryFlippedBitIsDataLossOrAnUnknownFormat) {
  for (const PayloadFormat& format : Formats()) {
    Make(format);
    for (size_t bit = 0; bit < 8 * payload_.size(); ++bit) {
      const auto flip = [&] {
        payload_[bit / 8] = static_cast<char>(payload_[bit / 8] ^ (1 << bit % 8));
      };
      flip();
      const bool in_magic_or_version = bit < 24;
      ASSERT_EQ(Parse().code(), in_magic_or_version ? absl::StatusCode::kInvalidArgument
                                                    : absl::StatusCode::kDataLoss)
          << "bit " << bit;
      flip();
    }
    EXPECT_TRUE(Parse().ok());
  }
}

// With a right checksum a flipped bit may be another valid payload; never a malformed one.
TEST_F(PayloadViolationTest, WhatIsAcceptedIsWellFormed) {
  int accepted = 0;
  for (const PayloadFormat& format : Formats()) {
    Make(format);
    const std::string valid = payload_;
    for (size_t bit = 0; bit < 8 * valid.size(); ++bit) {
      payload_ = valid;
      payload_[bit / 8] = static_cast<char>(payload_[bit / 8] ^ (1 << bit % 8));
      if (bit / 8 >= kCrcOffset && bit / 8 < kBody) continue;
      if (!ParseResealed().ok()) continue;
      ++accepted;
      ASSERT_GE(bit / 8, kBody);
      const Selection said = *DecodePayload(AsBytes(payload_), format, kPlace);
      for (float value : said.values) {
        ASSERT_LE(std::abs(value), 0x1p100f);
        ASSERT_TRUE(value != 0 || !std::signbit(value));
      }
      for (size_t i = 0; i < said.indices.size(); ++i) {
        ASSERT_LT(said.indices[i], format.chunk_size);
        ASSERT_TRUE(i % format.k == 0 || said.indices[i] > said.indices[i - 1]);
      }
    }
  }
  EXPECT_GT(accepted, 1000);
}

TEST_F(PayloadViolationTest, RankBeyondTheSubsets) {
  StoreBits(8, 10, 560);  // binom(16, 3)
  ExpectRefused("record 0 of the run from chunk 3: expected the indices of a k-subset");
}

TEST_F(PayloadViolationTest, IndexBeyondTheChunk) {
  Make(DctFormat(50, 1, ValueFormat::kF32));
  StoreBits(8 + 38, 6, 50);
  ExpectRefused("record 1 of the run from chunk 3: expected the indices of a k-subset");
}

TEST_F(PayloadViolationTest, ValuesThatAreNoNumbersOrTooLarge) {
  for (auto [bits, text] : {std::pair{0xff800000u, "ff800000"},
                            {0x7fc00001u, "7fc00001"},
                            {0x71800001u, "71800001"},
                            {0x80000000u, "80000000"}}) {
    SetUp();
    StoreBits(8 + 10 + 32, 32, bits);
    ExpectRefused(std::string("value 1: expected a number up to 2^100 and no -0, got bits ") +
                  text);
    Make(DctFormat(16, 3, ValueFormat::kBf16));
    if ((bits & 0xffff) != 0) bits = (bits & 0xffff0000) + 0x10000;
    StoreBits(8 + 10 + 16, 16, bits >> 16);
    ExpectRefused("value 1: expected a number up to 2^100 and no -0");
  }
  SetUp();
  StoreBits(8 + 10 + 32, 32, kMaxValueBits);
  EXPECT_TRUE(ParseResealed().ok());
}

TEST_F(PayloadViolationTest, AChunkThatSaysNothing) {
  for (ValueFormat values : {ValueFormat::kF32, ValueFormat::kBf16}) {
    Make(DctFormat(16, 3, values));
    const int width = values == ValueFormat::kF32 ? 32 : 16;
    for (size_t i = 0; i < 3; ++i) StoreBits(8 + 10 + i * static_cast<size_t>(width), width, 0);
    ExpectRefused("record 0 of the run from chunk 3: expected a value other than zero");
  }
}

TEST_F(PayloadViolationTest, MinusZeroOfFourBits) {
  Make(DctFormat(16, 3, ValueFormat::kInt4));
  StoreBits(8 + 10 + 8 + 4, 4, 8);
  ExpectRefused("record 0 of the run from chunk 3: expected no -0");
}

TEST_F(PayloadViolationTest, NonZeroPadding) {
  payload_.back() = static_cast<char>(payload_.back() | 0x80);
  ExpectRefused("contribution padding: expected 0, got 8");
}

TEST_F(PayloadViolationTest, PresencePadding) {
  StoreBits(7, 1, 1);
  ExpectRefused("contribution presence padding: expected 0, got 16");
}

TEST_F(PayloadViolationTest, APresenceMapOfPresentChunks) {
  StoreBits(1, 1, 1);
  ExpectRefused("contribution presence: expected an absent chunk, got a map of present ones");
}

TEST_F(PayloadViolationTest, MoreOrFewerChunksPresentThanThere) {
  StoreBits(0, 1, 0);
  ExpectRefused("length: expected 49, got 62");
}

TEST_F(PayloadViolationTest, RandomBytesNeverCrash) {
  Rng rng(15);
  const std::vector<PayloadFormat> formats = Formats();
  for (int trial = 0; trial < Repetitions(20000); ++trial) {
    Make(formats[rng.Below(formats.size())]);
    for (uint64_t i = 0; i <= rng.Below(4); ++i) {
      payload_[rng.Below(payload_.size())] = static_cast<char>(rng());
    }
    if (ParseResealed().ok()) (void)DecodePayload(AsBytes(payload_), format_, kPlace);
  }
}

}  // namespace
}  // namespace isthmus
