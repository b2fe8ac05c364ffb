#include "common/kernels/value_codes.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tests/common/kernels/kernel_data.h"

namespace isthmus {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(ScaleCodeTest, P19_StandsForQuarterStepsOfPowersOfTwo) {
  for (uint32_t code = 0; code < 256; ++code) {
    const double expected = std::ldexp(1.0 + code % 4 * 0.25, static_cast<int>(code / 4) - 44);
    ASSERT_EQ(static_cast<double>(ScaleOf(code)), expected);
    ASSERT_EQ(ScaleCode(ScaleOf(code)), static_cast<int>(code));
  }
}

TEST(ScaleCodeTest, P19_IsTheNearestAndNeverDecreases) {
  int previous = kNoScale;
  // A walk through all floats, in steps of a few thousandths.
  for (uint32_t bits = 0; bits <= 0x7f800000; bits += 0x2345) {
    const float scale = FloatOf(bits);
    const int code = ScaleCode(scale);
    ASSERT_GE(code, previous);
    ASSERT_LE(code, 255);
    previous = code;
    if (code == kNoScale || code == 255) continue;
    const auto distance = [&](int other) {
      return std::abs(static_cast<double>(ScaleOf(static_cast<uint32_t>(other))) -
                      static_cast<double>(scale));
    };
    ASSERT_TRUE(code == 0 || distance(code) <= distance(code - 1)) << scale;
    ASSERT_LE(distance(code), distance(code + 1)) << scale;
  }
  EXPECT_EQ(previous, 255);
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

TEST(Int4Test, P19_RoundsToTheNearestStepAndStopsAtSeven) {
  Rng rng(10);
  for (int trial = 0; trial < 100000; ++trial) {
    const float scale = ScaleOf(static_cast<uint32_t>(rng.Below(256)));
    const float value = static_cast<float>((rng.Uniform() - 0.5) * 20.0) * scale;
    const uint32_t code = Int4Code(value, scale);
    ASSERT_LT(code, 16u);
    ASSERT_NE(code, 8u);  // -0
    const double ratio = std::abs(static_cast<double>(value) / static_cast<double>(scale));
    const double error = std::abs(ratio - (code & 7));
    if (ratio < 7.0) {
      ASSERT_LE(error, 0.5 + 1e-6);
    } else {
      ASSERT_EQ(code & 7, 7u);
    }
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

// The reference: the two neighbours among bfloat16s, in double.
float NearestBf16(float x) {
  const float magnitude = std::abs(x);
  const float below = FloatOf(FloatBits(magnitude) & 0xffff0000);
  const float above = FloatOf((FloatBits(magnitude) & 0xffff0000) + 0x10000);
  const double down = static_cast<double>(magnitude) - static_cast<double>(below);
  const double up = static_cast<double>(above) - static_cast<double>(magnitude);
  const bool even = (FloatBits(below) >> 16 & 1) == 0;
  const float nearest = down < up || (down == up && even) ? below : above;
  return std::copysign(std::min(nearest, 0x1p100f), x);
}

TEST(Bf16Test, P19_RoundsToNearestTiesToEvenWithinTheBound) {
  Rng rng(12);
  for (int trial = 0; trial < 1000000; ++trial) {
    uint32_t bits = static_cast<uint32_t>(rng());
    if (rng.Chance(0.2)) bits = (bits & 0xffff0000) | 0x8000;  // ties
    const float x = FloatOf(bits);
    if (!std::isfinite(x) || std::abs(x) > 1e38f) continue;
    ASSERT_EQ(RoundToBf16(bits), FloatBits(NearestBf16(x))) << x;
    ASSERT_EQ(RoundToBf16(RoundToBf16(bits)), RoundToBf16(bits));
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
