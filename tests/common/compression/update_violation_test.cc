// One test per way in which an update can be wrong; see payload_violation_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/compression/payload_check.h"
#include "common/compression/update_payload.h"
#include "common/kernels/simd.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

constexpr size_t kCrcOffset = 28;
constexpr size_t kBody = 32;
const PayloadPlace kPlace{9, {2, 3}};

const UpdateFormat kSigns{{Transform::kNone, 16, 16, ValueFormat::kF32}, MergeRule::kMean, true};
const UpdateFormat kValues{{Transform::kNone, 16, 16, ValueFormat::kF32}, MergeRule::kMean, false};
// Of 8 known elements 2 are zero: ternary.
const UpdateFormat kTernary{
    {Transform::kNone, 16, 8, ValueFormat::kF32, Positions::kSlicing}, MergeRule::kMean, true};

class UpdateViolationTest : public testing::Test {
 protected:
  // Chunk 3 of 2, 3, 4 is absent. In chunk 4 element 5 is zero, and 13.
  void Make(const UpdateFormat& format) {
    format_ = format;
    std::vector<float> m(48);
    std::fill_n(m.begin(), 16, 1.0f);
    std::fill_n(m.begin() + 32, 16, -1.0f);
    m[32 + 5] = m[32 + 13] = 0.0f;
    if (format.contribution.k == 8) m[32] = m[32 + 8] = 0.0f;
    const std::string payload = PayloadOf(format.contribution, kPlace, m);
    const PayloadView view = ViewOf(payload, format.contribution, kPlace);
    const MergeInput input{1.0f, {&view, 1}};
    payload_ = EncodeUpdate(format, kPlace, {&input, 1});
  }
  void SetUp() override { Make(kSigns); }

  absl::Status Parse() const {
    return UpdateView::Parse(AsBytes(payload_), format_, kPlace).status();
  }
  absl::Status ParseResealed() {
    StorePayloadCrc(kCrcOffset, std::as_writable_bytes(std::span(payload_)));
    return Parse();
  }
  void ExpectRefused(const std::string& words) {
    const absl::Status status = ParseResealed();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("update " + words));
  }
  void StoreU32(size_t at, uint32_t value) {
    StoreLittleEndian<uint32_t>(value, std::as_writable_bytes(std::span(payload_)).data() + at);
  }

  UpdateFormat format_;
  std::string payload_;
};

TEST_F(UpdateViolationTest, TheUntouchedPayloadsAreFine) {
  EXPECT_EQ(UpdateView::Parse(AsBytes(payload_), format_, kPlace)->encoding(),
            UpdateEncoding::kSigns);
  Make(kValues);
  EXPECT_EQ(UpdateView::Parse(AsBytes(payload_), format_, kPlace)->encoding(),
            UpdateEncoding::kValues);
  Make(kTernary);
  EXPECT_EQ(UpdateView::Parse(AsBytes(payload_), format_, kPlace)->encoding(),
            UpdateEncoding::kTernary);
}

TEST_F(UpdateViolationTest, Fields) {
  const std::vector<std::pair<size_t, std::string>> fields = {
      {0, "magic: expected 21833, got"},
      {2, "version: expected 2, got 87"},
      {3, "encoding: expected 1 or 2, got 84"},
      {4, "flags: expected 2, got 86"},
      {5, "reserved: expected 0, got 85"},
      {6, "chunk_size: expected 16, got 91"},
      {8, "chunk_count: expected 3, got 86"},
      {12, "first_chunk: expected 2, got 87"},
      {19, "first_chunk: expected 2, got"},
      {20, "round: expected 9, got 92"},
      {27, "round: expected 9, got"}};
  for (const auto& [offset, words] : fields) {
    SetUp();
    payload_[offset] = static_cast<char>(payload_[offset] ^ 0x55);
    ExpectRefused(words);
  }
}

TEST_F(UpdateViolationTest, EncodingsThatTheFormatHasNot) {
  payload_[3] = 3;
  ExpectRefused("encoding: expected 1 or 2, got 3");
  payload_[3] = 4;  // has no such payload
  ExpectRefused("encoding: expected 1 or 2, got 4");
  Make(kValues);
  payload_[3] = 1;
  ExpectRefused("encoding: expected 2, got 1");
  Make(kTernary);
  payload_[3] = 0;
  ExpectRefused("encoding: expected 1, 2 or 3, got 0");
}

TEST_F(UpdateViolationTest, TooLongAndTooShort) {
  ASSERT_EQ(payload_.size(), kBody + 1 + 4 + 8);
  payload_.push_back('\0');
  ExpectRefused("signs length: expected 4 and a multiple of 4, got 13");
  payload_.resize(kBody + 1 + 3);
  ExpectRefused("signs length: expected 4 and a multiple of 4, got 3");
  payload_.resize(kBody);
  ExpectRefused("presence length: expected at least 1 bytes, got 0");
  payload_.resize(kBody - 1);
  EXPECT_THAT(std::string(Parse().message()), HasSubstr("length: expected at least 32 bytes"));
}

TEST_F(UpdateViolationTest, TooManyOrTooFewValues) {
  Make(kValues);
  payload_.resize(payload_.size() - 4);
  ExpectRefused("values length: expected 120, got 116");
  payload_.resize(kBody + 3);
  ExpectRefused("bitmaps length: expected 4, got 2");
}

TEST_F(UpdateViolationTest, TooManyOrTooFewDigits) {
  Make(kTernary);
  payload_.push_back('\0');
  ExpectRefused("digits length: expected 4, got 5");
  payload_.resize(payload_.size() - 2);
  ExpectRefused("digits length: expected 4, got 3");
}

TEST_F(UpdateViolationTest, DigitsBeyondTheThird) {
  Make(kTernary);
  payload_[kBody + 1] = static_cast<char>(243);
  ExpectRefused("digits 0: expected below 243, got 243");
  Make(kTernary);
  payload_[kBody + 4] = 3;  // 16 digits: one in the last byte
  ExpectRefused("digits 3: expected below 3, got 3");
}

TEST_F(UpdateViolationTest, PresencePadding) {
  payload_[kBody] = static_cast<char>(payload_[kBody] | 0x80);
  ExpectRefused("presence padding: expected 0, got 16");
}

TEST_F(UpdateViolationTest, APresenceMapOfPresentChunks) {
  payload_[kBody] = 7;
  ExpectRefused("presence: expected an absent chunk");
}

TEST_F(UpdateViolationTest, ZerosThatRepeatDescendExceedOrAreNegative) {
  const size_t first = kBody + 1 + 4;
  for (auto [a, b, words] : {std::tuple{21u, 21u, "zero 1: expected an element from 22"},
                             {29u, 21u, "zero 1: expected an element from 30"},
                             {21u, 32u,
                              "zero 1: expected an element from 22 to below 32 whose "
                              "bit is 0, got 32"},
                             {20u, 29u, "zero 0: expected an element from 0"}}) {
    SetUp();
    StoreU32(first, a);
    StoreU32(first + 4, b);
    ExpectRefused(words);
  }
}

TEST_F(UpdateViolationTest, ZeroAndNotFiniteValues) {
  for (uint32_t bits : {0u, 0x80000000u, 0x7f800000u, 0xffc00000u}) {
    Make(kValues);
    StoreU32(payload_.size() - 4, bits);
    ExpectRefused("value 29: expected a finite number other than zero");
  }
}

TEST_F(UpdateViolationTest, EveryFlippedBitIsDataLossOrAnUnknownFormat) {
  for (const UpdateFormat& format : {kSigns, kValues, kTernary}) {
    Make(format);
    for (size_t bit = 0; bit < 8 * payload_.size(); ++bit) {
      const std::string valid = payload_;
      payload_[bit / 8] = static_cast<char>(payload_[bit / 8] ^ (1 << bit % 8));
      EXPECT_EQ(Parse().code(),
                bit < 24 ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kDataLoss)
          << "bit " << bit;
      payload_ = valid;
    }
  }
}

TEST_F(UpdateViolationTest, TruncatedAnywhereIsRefused) {
  for (const UpdateFormat& format : {kSigns, kValues, kTernary}) {
    Make(format);
    const std::string valid = payload_;
    for (size_t n = 0; n < valid.size(); ++n) {
      payload_ = valid.substr(0, n);
      ASSERT_FALSE(Parse().ok()) << n;
      // A list of zeros that ends earlier is a list.
      const bool whole_zeros =
          format.sign && format.contribution.k == 16 && n >= kBody + 5 && (n - kBody - 5) % 4 == 0;
      if (n < kBody || whole_zeros) continue;
      ASSERT_EQ(ParseResealed().code(), absl::StatusCode::kInvalidArgument) << n;
    }
  }
}

TEST_F(UpdateViolationTest, RandomBytesNeverCrash) {
  Rng rng(19);
  std::vector<float> u(48);
  for (int trial = 0; trial < Repetitions(20000); ++trial) {
    const uint64_t which = rng.Below(3);
    Make(which == 0 ? kSigns : which == 1 ? kValues : kTernary);
    if (rng.Chance(0.3)) payload_.resize(kBody + rng.Below(payload_.size() - kBody));
    for (uint64_t i = 0; i <= rng.Below(4); ++i) {
      payload_[rng.Below(payload_.size())] = static_cast<char>(rng());
    }
    StorePayloadCrc(kCrcOffset, std::as_writable_bytes(std::span(payload_)));
    const auto view = UpdateView::Parse(AsBytes(payload_), format_, kPlace);
    if (!view.ok()) continue;
    DirectionScratch scratch(format_, ActiveKernels());
    view->Direction(2, u, nullptr, scratch);
  }
}

}  // namespace
}  // namespace isthmus
