#include "common/base/rng.h"

#include <gtest/gtest.h>

#include <array>

namespace isthmus {
namespace {

// The reference implementation's first outputs (Vigna, splitmix64.c).
TEST(RngTest, KnownAnswers) {
  Rng zero(0);
  EXPECT_EQ(zero(), 0xe220a8397b1dcdafu);
  EXPECT_EQ(zero(), 0x6e789e6aa1b965f4u);
  EXPECT_EQ(zero(), 0x06c45d188009454fu);
  Rng seeded(1234567);
  EXPECT_EQ(seeded(), 6457827717110365317u);
  EXPECT_EQ(seeded(), 3203168211198807973u);
  EXPECT_EQ(seeded(), 9817491932198370423u);
  EXPECT_EQ(seeded(), 4593380528125082431u);
  EXPECT_EQ(seeded(), 16408922859458223821u);
}

TEST(RngTest, Mix64IsTheFinalizer) {
  EXPECT_EQ(Mix64(0), 0u);
  EXPECT_EQ(Mix64(0x9e3779b97f4a7c15u), 0xe220a8397b1dcdafu);
}

TEST(RngTest, BelowIsWithinBoundsAndReachesAll) {
  Rng rng(3);
  std::array<int, 7> counts{};
  for (int i = 0; i < 7000; ++i) ++counts.at(rng.Below(7));
  for (int count : counts) EXPECT_NEAR(count, 1000, 150);
  EXPECT_EQ(rng.Below(1), 0u);
}

TEST(RngTest, UniformIsInTheUnitInterval) {
  Rng rng(4);
  double sum = 0.0;
  for (int i = 0; i < 10000; ++i) {
    const double x = rng.Uniform();
    ASSERT_GE(x, 0.0);
    ASSERT_LT(x, 1.0);
    sum += x;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.02);
}

TEST(RngTest, ChanceOfZeroAndOne) {
  Rng rng(5);
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(rng.Chance(0.0));
    EXPECT_TRUE(rng.Chance(1.0));
  }
}

}  // namespace
}  // namespace isthmus
