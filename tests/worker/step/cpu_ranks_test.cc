#include "worker/step/cpu_ranks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace isthmus {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(AllUsableTest, P18_NaNInfinityAndTheHugeFail) {
  std::vector<float> gradient(1000, 1.0f);
  gradient[3] = kMaxGradient;
  gradient[4] = -kMaxGradient;
  EXPECT_TRUE(AllUsable(gradient));
  EXPECT_TRUE(AllUsable({}));
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInf, -kInf,
                          std::nextafter(kMaxGradient, kInf), -2e30f}) {
    for (const size_t i : {0u, 500u, 999u}) {
      std::vector<float> hit = gradient;
      hit[i] = bad;
      EXPECT_FALSE(AllUsable(hit)) << bad << " at " << i;
    }
  }
}

}  // namespace
}  // namespace isthmus
