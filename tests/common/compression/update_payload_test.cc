#include "common/compression/update_payload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "common/kernels/simd.h"
#include "tests/common/compression/reference_merge.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

// Elements as they are: a bucket's coefficients are what one group sends.
UpdateFormat PlainFormat(bool sign) {
  return {{Transform::kNone, 16, 16, ValueFormat::kF32}, MergeRule::kMean, sign};
}

// The update of one group that sends `coefficients` from chunk `first_chunk` on.
struct OneGroup {
  OneGroup(const UpdateFormat& update_format, uint64_t first_chunk,
           const std::vector<float>& coefficients)
      : format(update_format),
        place{7, first_chunk, coefficients.size() / format.contribution.chunk_size},
        payload(PayloadOf(format.contribution, place, coefficients)),
        view(ViewOf(payload, format.contribution, place)) {
    const MergeInput input{1.0f, {&view, 1}};
    update = EncodeUpdate(format, place, {&input, 1});
  }
  OneGroup(const OneGroup&) = delete;
  absl::StatusOr<UpdateView> Parse() const {
    return UpdateView::Parse(AsBytes(update), format, place);
  }
  std::vector<float> Direction() const {
    std::vector<float> u(place.chunks.count * format.contribution.chunk_size, 99.0f);
    DirectionScratch scratch(format, ActiveKernels());
    Parse()->Direction(place.chunks.first, u, nullptr, scratch);
    return u;
  }
  const UpdateFormat format;
  const PayloadPlace place;
  const std::string payload;
  const PayloadView view;
  std::string update;
};

TEST(UpdatePayloadTest, P21_AnyRunOfChunksGivesTheSameBits) {
  Rng rng(17);
  const PayloadFormat contributions[] = {
      DctFormat(32, 8, ValueFormat::kF32),
      {Transform::kNone, 32, 8, ValueFormat::kF32, Positions::kRandom, 1},
      {Transform::kNone, 32, 32, ValueFormat::kBf16}};
  for (const PayloadFormat& contribution : contributions) {
    for (bool sign : {false, true}) {
      const UpdateFormat format{contribution, MergeRule::kSenderMean, sign};
      const OneGroup group(format, 12, AdversarialVector(rng, 32, 50));
      const auto view = group.Parse();
      ASSERT_TRUE(view.ok()) << view.status();
      const std::vector<float> whole = group.Direction();
      DirectionScratch scratch(format, ActiveKernels());
      for (uint64_t first = 0; first < 50; ++first) {
        const uint64_t count = rng.Below(50 - first + 1);
        std::vector<float> u(count * 32);
        view->Direction(12 + first, u, nullptr, scratch);
        EXPECT_EQ(Bits(u), Bits(std::span(whole).subspan(first * 32, count * 32)));
      }
    }
  }
}

TEST(UpdatePayloadTest, P20_TheSmallestEncodingWins) {
  const auto encoding = [](const std::vector<float>& coefficients) {
    const OneGroup group(PlainFormat(true), 0, coefficients);
    EXPECT_EQ(
        group.Direction(),
        ReferenceDirection(group.format, {0, coefficients.size() / 16, coefficients, {1, 1}}));
    return group.Parse()->encoding();
  };
  std::vector<float> coefficients(32, -1.0f);
  EXPECT_EQ(encoding(coefficients), UpdateEncoding::kSigns);
  coefficients[20] = 0.0f;  // 4 bytes say so
  EXPECT_EQ(encoding(coefficients), UpdateEncoding::kSigns);
  std::fill_n(coefficients.begin(), 16, 0.0f);  // one chunk absent
  EXPECT_EQ(encoding(coefficients), UpdateEncoding::kSigns);
  std::fill_n(coefficients.begin() + 16, 8, 0.0f);  // 8 zeros, 8 numbers
  EXPECT_EQ(encoding(coefficients), UpdateEncoding::kSigns);
  coefficients[24] = 0.0f;  // 9 zeros, 7 numbers
  EXPECT_EQ(encoding(coefficients), UpdateEncoding::kValues);
}

TEST(UpdatePayloadTest, P20_TernaryWhereManyKnownElementsAreZero) {
  const UpdateFormat format{
      {Transform::kNone, 64, 16, ValueFormat::kF32, Positions::kStriding}, MergeRule::kMean, true};
  std::vector<float> coefficients(64 * 20, 1.5f);
  const OneGroup all(format, 0, coefficients);
  EXPECT_EQ(all.Parse()->encoding(), UpdateEncoding::kSigns);
  EXPECT_EQ(all.update.size(), 32u + 20 * 16 / 8);
  for (size_t i = 0; i < coefficients.size(); i += 3) coefficients[i] = 0.0f;
  const OneGroup some(format, 0, coefficients);
  EXPECT_EQ(some.Parse()->encoding(), UpdateEncoding::kTernary);
  EXPECT_EQ(some.update.size(), 32u + 20 * 16 / 5);
}

TEST(UpdatePayloadTest, P20_AtTheMeasuredSettingUpdatesTakeThis) {
  constexpr uint64_t kChunks = 16384;
  constexpr double kParameters = 64 * kChunks;
  Rng rng(18);
  const UpdateFormat format{DctFormat(64, 4, ValueFormat::kOneBit), MergeRule::kSenderMean, true};
  const PayloadPlace place{0, {0, kChunks}};
  const std::string a = PayloadOf(format.contribution, place, RandomVector(rng, 64 * kChunks));
  const std::string b = PayloadOf(format.contribution, place, RandomVector(rng, 64 * kChunks));
  EXPECT_LE(static_cast<double>(b.size()), 0.065 * kParameters);  // one other's contribution
  const PayloadView views[] = {ViewOf(a, format.contribution, place),
                               ViewOf(b, format.contribution, place)};
  const MergeInput inputs[] = {{1.0f, {&views[0], 1}}, {1.0f, {&views[1], 1}}};
  const std::string update = EncodeUpdate(format, place, inputs);
  EXPECT_EQ(UpdateView::Parse(AsBytes(update), format, place)->encoding(), UpdateEncoding::kSigns);
  EXPECT_LE(static_cast<double>(update.size()), 0.13 * kParameters);
  EXPECT_LE(SmallestUpdateBytes(format, kChunks), update.size());
}

TEST(UpdatePayloadTest, HugeCoefficientsHaveADirection) {
  for (bool sign : {false, true}) {
    const UpdateFormat format{DctFormat(4096, 4095, ValueFormat::kF32), MergeRule::kSum, sign};
    const OneGroup group(format, 0, std::vector<float>(4096, 3e38f));
    for (float value : group.Direction()) EXPECT_TRUE(std::isfinite(value));
  }
}

TEST(UpdatePayloadTest, ContributionsMustCoverTheBucketOnce) {
  const UpdateFormat format = PlainFormat(false);
  std::vector<std::string> payloads;
  std::vector<EncodedContribution> contributions(1);
  const auto status_of = [&](const std::vector<std::pair<uint64_t, uint64_t>>& parts) {
    payloads.clear();
    contributions[0].parts.clear();
    for (const auto& [first, count] : parts) {
      payloads.push_back(
          PayloadOf(format.contribution, {7, first, count}, std::vector<float>(count * 16, 1.0f)));
    }
    for (const std::string& payload : payloads) contributions[0].parts.push_back(AsBytes(payload));
    return UpdateView::FromContributions(contributions, UpdateView::kNotHere, format, {7, 10, 20})
        .status();
  };
  EXPECT_TRUE(status_of({{10, 20}}).ok());
  EXPECT_TRUE(status_of({{17, 13}, {10, 7}}).ok());
  for (const auto& parts :
       std::vector<std::vector<std::pair<uint64_t, uint64_t>>>{{},
                                                               {{10, 19}},
                                                               {{11, 19}},
                                                               {{10, 21}},
                                                               {{9, 21}},
                                                               {{10, 8}, {17, 13}},
                                                               {{10, 6}, {17, 13}},
                                                               {{10, 20}, {10, 20}}}) {
    const absl::Status status = status_of(parts);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  }
  payloads[0][33] = static_cast<char>(payloads[0][33] ^ 1);
  EXPECT_EQ(UpdateView::FromContributions(contributions, UpdateView::kNotHere, format, {7, 10, 20})
                .status()
                .code(),
            absl::StatusCode::kDataLoss);
}

// The bytes are a contract with peers of other builds: written out by hand, once.
TEST(UpdatePayloadTest, LayoutIsPinned) {
  std::vector<float> coefficients(48);
  coefficients[16 + 9] = -2.0f;
  const std::string update = OneGroup(PlainFormat(false), 5, coefficients).update;
  const std::vector<uint8_t> before_crc = {0x49, 0x55, 2, 2, 1, 0, 15, 0, 3, 0, 0, 0,  // magic ...
                                           5,    0,    0, 0, 0, 0, 0,  0,   // first_chunk
                                           7,    0,    0, 0, 0, 0, 0,  0};  // round
  const std::vector<uint8_t> body = {0x02, 0x00, 0x02, 0x00, 0x00, 0x00, 0xc0};
  ASSERT_EQ(update.size(), 32 + body.size());
  EXPECT_EQ(std::vector<uint8_t>(update.begin(), update.begin() + 28), before_crc);
  EXPECT_EQ(std::vector<uint8_t>(update.begin() + 32, update.end()), body);
}

TEST(UpdatePayloadTest, SignAndTernaryLayoutsArePinned) {
  std::vector<float> coefficients(16, 1.0f);
  coefficients[3] = -1.0f;
  coefficients[10] = 0.0f;
  const std::string signs = OneGroup(PlainFormat(true), 5, coefficients).update;
  EXPECT_EQ(std::vector<uint8_t>(signs.begin() + 3, signs.begin() + 6),
            (std::vector<uint8_t>{1, 2, 0}));
  EXPECT_EQ(std::vector<uint8_t>(signs.begin() + 32, signs.end()),
            (std::vector<uint8_t>{0x08, 0x00, 10, 0, 0, 0}));
  const UpdateFormat format{
      {Transform::kNone, 16, 8, ValueFormat::kF32, Positions::kSlicing}, MergeRule::kMean, true};
  // Round 7, chunk 5: (7 + 5) mod 2 = 0, the first slice: + + + - + + + +.
  coefficients[0] = coefficients[1] = 0.0f;
  const std::string ternary = OneGroup(format, 5, coefficients).update;
  EXPECT_EQ(std::vector<uint8_t>(ternary.begin() + 3, ternary.begin() + 6),
            (std::vector<uint8_t>{3, 2, 0}));
  EXPECT_EQ(std::vector<uint8_t>(ternary.begin() + 32, ternary.end()),
            (std::vector<uint8_t>{9 + 2 * 27 + 81, 1 + 3 + 9}));
}

}  // namespace
}  // namespace isthmus
