#include "examples/lm/vector_math.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace isthmus::lm {
namespace {

TEST(VectorMathTest, ExpIsWithinAFewUlpOfTheLibrary) {
  for (float x = -86.9f; x < 87.9f; x += 0.00731f) {
    const double expected = std::exp(double{x});
    ASSERT_NEAR(Exp(x), expected, expected * 3e-7) << x;
  }
  EXPECT_EQ(Exp(0.0f), 1.0f);
}

TEST(VectorMathTest, ExpStaysFiniteFarOutAndKeepsNaN) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_GT(Exp(-kInfinity), 0.0f);
  EXPECT_LT(Exp(-kInfinity), 1e-37f);
  EXPECT_TRUE(std::isfinite(Exp(kInfinity)));
  EXPECT_TRUE(std::isnan(Exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST(VectorMathTest, LaneSumCoversEveryLength) {
  for (int64_t n = 0; n < 70; ++n) {
    EXPECT_EQ(LaneSum<double>(n, [](int64_t i) { return double(i + 1); }), n * (n + 1) / 2.0);
  }
}

TEST(VectorMathTest, SoftmaxSumsToOneAndShiftsFreely) {
  std::vector<float> row = {1000.0f, 1001.0f, 999.0f};
  const float log_sum = Softmax(row.data(), 3);
  EXPECT_NEAR(row[0] + row[1] + row[2], 1.0f, 1e-6f);
  EXPECT_NEAR(row[1] / row[0], std::exp(1.0f), 1e-5f);
  EXPECT_NEAR(log_sum, 1001.0f + std::log(1.0f + std::exp(-1.0f) + std::exp(-2.0f)), 1e-3f);
}

}  // namespace
}  // namespace isthmus::lm
