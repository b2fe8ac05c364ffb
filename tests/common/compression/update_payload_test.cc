#include "common/compression/update_payload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "common/compression/dct.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

// The definition of an update's effect, without any encoding.
std::vector<float> DirectionOf(const UpdateFormat& format, const MergedBucket& merged) {
  const size_t size = format.chunk_size;
  std::vector<float> u = merged.coefficients;
  for (size_t chunk = 0; chunk < merged.chunk_count; ++chunk) {
    const std::span<float> part = std::span(u).subspan(chunk * size, size);
    if (merged.present[chunk] == 0) continue;
    if (format.transform == Transform::kDct) InverseDct(static_cast<int>(size), part, part);
    for (float& value : part) {
      if (format.sign) value = value > 0 ? 1.0f : value < 0 ? -1.0f : 0.0f;
    }
  }
  return u;
}

// A bucket in which a chunk is present with probability `presence`.
MergedBucket RandomBucket(Rng& rng, uint32_t chunk_size, uint64_t chunk_count, double presence,
                          double density) {
  MergedBucket merged;
  merged.first_chunk = 12;
  merged.chunk_count = chunk_count;
  merged.coefficients = RandomVector(rng, chunk_count * chunk_size);
  for (uint64_t chunk = 0; chunk < chunk_count; ++chunk) {
    merged.present.push_back(rng.Chance(presence) ? 1 : 0);
    for (size_t i = chunk * chunk_size; i < (chunk + 1) * chunk_size; ++i) {
      if (merged.present.back() == 0 || !rng.Chance(density)) merged.coefficients[i] = 0.0f;
    }
  }
  return merged;
}

absl::StatusOr<UpdateView> ParseOf(const std::string& update, const UpdateFormat& format,
                                   const MergedBucket& merged) {
  return UpdateView::Parse(AsBytes(update), format, merged.first_chunk, merged.chunk_count);
}

TEST(UpdatePayloadTest, P20_EncodingNeverChangesABitOfTheDirection) {
  Rng rng(16);
  int signs = 0;
  int values = 0;
  for (int trial = 0; trial < 600; ++trial) {
    const UpdateFormat format{rng.Chance(0.5) ? Transform::kDct : Transform::kNone,
                              uint32_t{16} << rng.Below(5), rng.Chance(0.7)};
    const MergedBucket merged =
        RandomBucket(rng, format.chunk_size, rng.Below(40), rng.Chance(0.5) ? 1.0 : 0.6,
                     rng.Chance(0.3) ? 1.0 : rng.Uniform());
    const std::string update = EncodeUpdate(format, merged);
    const auto view = ParseOf(update, format, merged);
    ASSERT_TRUE(view.ok()) << view.status();
    (view->encoding() == UpdateEncoding::kSigns ? signs : values) += 1;
    std::vector<float> u(merged.coefficients.size(), 99.0f);
    view->Direction(merged.first_chunk, u);
    ASSERT_EQ(Bits(u), Bits(DirectionOf(format, merged))) << "trial " << trial;
  }
  EXPECT_GT(signs, 100);
  EXPECT_GT(values, 100);
}

TEST(UpdatePayloadTest, P21_AnyRunOfChunksGivesTheSameBits) {
  Rng rng(17);
  for (bool sign : {false, true}) {
    const UpdateFormat format{Transform::kDct, 32, sign};
    const MergedBucket merged = RandomBucket(rng, 32, 30, 0.7, 0.3);
    const std::string update = EncodeUpdate(format, merged);
    const auto view = ParseOf(update, format, merged);
    ASSERT_TRUE(view.ok());
    const std::vector<float> whole = DirectionOf(format, merged);
    for (uint64_t first = 0; first < 30; ++first) {
      const uint64_t count = rng.Below(30 - first + 1);
      std::vector<float> u(count * 32);
      view->Direction(merged.first_chunk + first, u);
      EXPECT_EQ(Bits(u), Bits(std::span(whole).subspan(first * 32, count * 32)));
    }
  }
}

TEST(UpdatePayloadTest, P20_SignsOnlyWithoutAnExactZero) {
  const UpdateFormat format{Transform::kNone, 16, true};
  MergedBucket merged{0, 2, std::vector<float>(32, -1.0f), {1, 1}};
  const auto encoding = [&] {
    const std::string update = EncodeUpdate(format, merged);
    return ParseOf(update, format, merged)->encoding();
  };
  EXPECT_EQ(encoding(), UpdateEncoding::kSigns);
  merged.coefficients[20] = 0.0f;
  EXPECT_EQ(encoding(), UpdateEncoding::kValues);
  merged.coefficients[20] = -0.0f;
  EXPECT_EQ(encoding(), UpdateEncoding::kValues);
  std::fill_n(merged.coefficients.begin() + 16, 16, 0.0f);
  merged.present[1] = 0;  // absent chunks do not count
  EXPECT_EQ(encoding(), UpdateEncoding::kSigns);
}

TEST(UpdatePayloadTest, P20_SignsTakeOneBitPerParameter) {
  Rng rng(18);
  const UpdateFormat format{Transform::kDct, 64, true};
  const MergedBucket merged = RandomBucket(rng, 64, 1000, 1.0, 0.9);
  EXPECT_EQ(EncodeUpdate(format, merged).size(), 40u + 1000 / 8 + 64000 / 8);
}

TEST(UpdatePayloadTest, HugeCoefficientsHaveADirection) {
  const float huge = std::numeric_limits<float>::max();
  const UpdateFormat format{Transform::kDct, 16, true};
  const MergedBucket merged{0, 1, std::vector<float>(16, huge), {1}};
  const std::string update = EncodeUpdate(format, merged);
  const auto view = ParseOf(update, format, merged);
  ASSERT_TRUE(view.ok());
  std::vector<float> u(16);
  view->Direction(0, u);
  EXPECT_EQ(Bits(u), Bits(DirectionOf(format, merged)));
  for (float value : u) EXPECT_TRUE(std::isfinite(value));
}

// The bytes are a contract with peers of other builds: written out by hand, once.
TEST(UpdatePayloadTest, LayoutIsPinned) {
  MergedBucket merged{5, 3, std::vector<float>(48), {0, 1, 0}};
  merged.coefficients[16 + 9] = -2.0f;
  const std::string update = EncodeUpdate({Transform::kNone, 16, false}, merged);
  const std::vector<uint8_t> before_crc = {0x49, 0x55, 1, 2, 0, 0, 0, 0, 16, 0, 0, 0,  //
                                           5,    0,    0, 0, 0, 0, 0, 0,               //
                                           3,    0,    0, 0, 0, 0, 0, 0,               //
                                           7,    0,    0, 0, 0, 0, 0, 0};
  const std::vector<uint8_t> body = {0x02, 0x00, 0x02, 0x00, 0x00, 0x00, 0xc0};
  ASSERT_EQ(update.size(), 47u);
  EXPECT_EQ(std::vector<uint8_t>(update.begin(), update.begin() + 36), before_crc);
  EXPECT_EQ(std::vector<uint8_t>(update.begin() + 40, update.end()), body);
}

}  // namespace
}  // namespace isthmus
