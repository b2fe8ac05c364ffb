#include "common/kernels/value_codes.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "common/kernels/bfloat16.h"
#include "common/kernels/naive_codes.h"
#include "tests/common/kernels/kernel_data.h"

namespace isthmus {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(ScaleCodeTest, P19_StandsForQuarterStepsOfPowersOfTwo) {
  for (int code = 0; code < 256; ++code) {
    const float scale = ScaleOf(static_cast<uint32_t>(code));
    ASSERT_EQ(static_cast<double>(scale), naive::ScaleOf(code));
    ASSERT_EQ(ScaleCode(scale), code);
  }
}

// A walk through all floats, and beside every code and every midpoint of two.
TEST(ScaleCodeTest, P19_IsTheNaiveOne) {
  Rng rng(14);
  std::vector<uint32_t> scales;
  for (uint32_t bits = 0; bits <= 0x7f800000; bits += 1 + rng.Below(0x20000)) {
    scales.push_back(bits);
  }
  for (uint32_t code = 0; code < 256; ++code) {
    for (uint32_t middle : {0u, 1u << 20}) {
      const uint32_t bits = FloatBits(ScaleOf(code)) + middle;
      scales.insert(scales.end(), {bits - 1, bits, bits + 1});
    }
  }
  for (uint32_t bits : scales) {
    ASSERT_EQ(ScaleCode(FloatOf(bits)), naive::ScaleCode(FloatOf(bits))) << FloatOf(bits);
    ASSERT_EQ(Int4ScaleCode(FloatOf(bits)), naive::ScaleCode(FloatOf(bits) / 7.0f));
  }
}

TEST(ScaleCodeTest, P19_TiesGoUpAndUnderflowIsNothing) {
  EXPECT_EQ(ScaleCode(1.125f), ScaleCode(1.25f));
  EXPECT_EQ(ScaleCode(std::nextafter(1.125f, 0.0f)), ScaleCode(1.0f));
  EXPECT_EQ(ScaleCode(1.875f), ScaleCode(2.0f));
  // Half a step, an eighth of a power of two smaller, below the smallest.
  EXPECT_EQ(ScaleCode(0x1.ep-45f), 0);
  EXPECT_EQ(ScaleCode(std::nextafter(0x1.ep-45f, 0.0f)), kNoScale);
  for (float nothing : {0.0f, 1e-45f, 1e-38f, 1e-30f}) EXPECT_EQ(ScaleCode(nothing), kNoScale);
  for (float huge : {1e30f, std::numeric_limits<float>::max(), kInfinity}) {
    EXPECT_EQ(ScaleCode(huge), 255);
  }
}

TEST(Int4Test, P19_SaysEveryStepExactlyAndKeepsIt) {
  for (uint32_t code = 0; code < 256; ++code) {
    const float scale = ScaleOf(code);
    for (uint32_t steps = 0; steps <= 7; ++steps) {
      for (float sign : {1.0f, -1.0f}) {
        const float value = sign * static_cast<float>(steps) * scale;
        const uint32_t said = Int4Code(value, scale);
        ASSERT_EQ(said, steps == 0 ? 0 : steps | (sign < 0 ? 8u : 0u));
        ASSERT_EQ(Int4Value(said, scale), value);
        ASSERT_TRUE(steps != 0 || FloatBits(Int4Value(said, scale)) == 0);
      }
    }
  }
}

TEST(Int4Test, P19_IsTheNaiveOne) {
  Rng rng(10);
  for (int trial = 0; trial < Repetitions(100000); ++trial) {
    const float scale = ScaleOf(static_cast<uint32_t>(rng.Below(256)));
    float value = static_cast<float>((rng.Uniform() - 0.5) * 20.0) * scale;
    if (rng.Chance(0.3)) value = static_cast<float>(rng.Below(40)) * 0.25f * scale;  // ties
    if (rng.Chance(0.2)) value = AdversarialNumber(rng, rng.Below(kCharacters));
    if (rng.Chance(0.1)) value = ExtremeNumber(rng);
    const uint32_t code = Int4Code(value, scale);
    ASSERT_EQ(code, naive::Int4Code(value, scale)) << value << " " << scale;
    ASSERT_EQ(Int4Value(code, scale), naive::Int4Value(code, scale));
  }
}

TEST(Int4Test, P19_TheScaleOfTheLargestCoversIt) {
  Rng rng(11);
  for (int trial = 0; trial < 100000; ++trial) {
    const float most = std::abs(AdversarialNumber(rng, 1));
    const int code = Int4ScaleCode(most);
    if (code == kNoScale || code == 255) continue;
    const float said = Int4Value(Int4Code(most, ScaleOf(static_cast<uint32_t>(code))),
                                 ScaleOf(static_cast<uint32_t>(code)));
    ASSERT_NEAR(said, most, most * 0.13);  // a scale is off by an eighth at most
  }
  EXPECT_LE(FloatBits(7.0f * ScaleOf(255)), kMaxValueBits);
}

// Any floats, ties among them; no NaN.
float AnyFloat(Rng& rng) {
  uint32_t bits = static_cast<uint32_t>(rng());
  if (rng.Chance(0.2)) bits = (bits & 0xffff0000) | 0x8000;
  if (rng.Chance(0.1)) bits = FloatBits(ExtremeNumber(rng));
  return std::isnan(FloatOf(bits)) ? kInfinity : FloatOf(bits);
}

TEST(Bf16Test, P19_RoundsToNearestTiesToEvenWithinTheBound) {
  Rng rng(12);
  for (int trial = 0; trial < Repetitions(1000000); ++trial) {
    const float x = AnyFloat(rng);
    if (std::isinf(x)) continue;
    const auto expected = static_cast<float>(naive::Clamped(naive::NearestBfloat16(x)));
    ASSERT_EQ(RoundToBf16(FloatBits(x)), FloatBits(expected)) << x;
    ASSERT_EQ(ClampToMaxValue(FloatBits(x)), FloatBits(static_cast<float>(naive::Clamped(x))));
  }
}

TEST(Bf16Test, P19_RoundsTheseAsWrittenHere) {
  EXPECT_EQ(RoundToBf16(0x3f807fff), 0x3f800000u);
  EXPECT_EQ(RoundToBf16(0x3f808000), 0x3f800000u);  // tie, even stays
  EXPECT_EQ(RoundToBf16(0x3f818000), 0x3f820000u);  // tie, odd goes up
  EXPECT_EQ(RoundToBf16(0x3f808001), 0x3f810000u);
  EXPECT_EQ(RoundToBf16(0xbf808001), 0xbf810000u);
  EXPECT_EQ(RoundToBf16(0x3fffffff), 0x40000000u);  // the carry reaches the exponent
  EXPECT_EQ(RoundToBf16(0x80000000), 0x80000000u);
  EXPECT_EQ(RoundToBf16(0x00000001), 0x00000000u);  // a denormal
}

TEST(Bfloat16Test, OfAJobIsTheNaiveOneAndComesBack) {
  Rng rng(15);
  for (int trial = 0; trial < Repetitions(100000); ++trial) {
    const float x = AnyFloat(rng);
    ASSERT_EQ(FloatBits(FromBfloat16(ToBfloat16(x))), FloatBits(naive::JobBfloat16(x))) << x;
  }
  for (uint32_t nan : {0x7f800001u, 0xff800001u, 0x7fffffffu}) {
    EXPECT_TRUE(std::isnan(FromBfloat16(ToBfloat16(FloatOf(nan)))));
  }
}

TEST(BoundTest, P19_NothingExceedsTwoToTheHundred) {
  const float most = std::numeric_limits<float>::max();
  for (float x : {most, 1.5e30f, 0x1.000002p100f}) {
    EXPECT_EQ(FloatOf(ClampToMaxValue(FloatBits(x))), 0x1p100f);
    EXPECT_EQ(FloatOf(ClampToMaxValue(FloatBits(-x))), -0x1p100f);
    EXPECT_EQ(FloatOf(RoundToBf16(FloatBits(x))), 0x1p100f);
    EXPECT_EQ(FloatOf(RoundToBf16(FloatBits(-x))), -0x1p100f);
  }
  for (float x : {0.0f, 1.0f, -1e-45f, 0x1p100f, -1e30f}) {
    EXPECT_EQ(ClampToMaxValue(FloatBits(x)), FloatBits(x));
  }
}

TEST(OneBitTest, P19_IsTheMagnitudeWithASign) {
  EXPECT_EQ(OneBitValue(0, 1.5f), 1.5f);
  EXPECT_EQ(OneBitValue(1, 1.5f), -1.5f);
}

}  // namespace
}  // namespace isthmus
