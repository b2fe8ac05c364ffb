#include "common/compression/state_hash.h"

#include <gtest/gtest.h>

#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

TEST(StateHashTest, P22_IsTheSumOfMixedElements) {
  const std::vector<float> p = {1.0f, -2.5f};
  const uint64_t expected = Mix64(Mix64(10) ^ 0x3f800000u) + Mix64(Mix64(11) ^ 0xc0200000u);
  EXPECT_EQ(StateHash(10, p), expected);
}

TEST(StateHashTest, P22_PartsAddUpToTheWhole) {
  Rng rng(5);
  const std::vector<float> p = RandomVector(rng, 1000);
  const std::span<const float> all(p);
  EXPECT_EQ(StateHash(0, all.first(300)) + StateHash(300, all.subspan(300)), StateHash(0, all));
}

TEST(StateHashTest, P22_SeesEveryBitAndEveryPlace) {
  std::vector<float> p = {0.0f, 1.0f};
  const uint64_t before = StateHash(0, p);
  p[0] = -0.0f;
  EXPECT_NE(StateHash(0, p), before);
  EXPECT_NE(StateHash(0, std::vector<float>{1.0f, 0.0f}), before);
}

TEST(StateHashTest, TextIsSixteenHexDigits) {
  EXPECT_EQ(StateHashText(0xabc), "0000000000000abc");
  EXPECT_EQ(StateHashText(~uint64_t{0}), "ffffffffffffffff");
}

}  // namespace
}  // namespace isthmus
