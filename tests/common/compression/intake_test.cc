// What is taken in of a bucket, and whether it is usable.
#include "common/compression/intake.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "common/base/rng.h"
#include "common/kernels/bfloat16.h"

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

// A buffer of bfloat16 is given rounded masters: that rounding is no way of the job's.
TEST(TakeProgressTest, P29_IsMeasuredAsTheJobHoldsIt) {
  Rng rng(6);
  std::vector<float> given(1000), progress(1000, 1.0f);
  std::vector<uint16_t> now(1000);
  for (size_t i = 0; i < given.size(); ++i) {
    given[i] = static_cast<float>(rng.Uniform() - 0.5);
    now[i] = ToBfloat16(given[i]);
  }
  const Elements buffer(DType::kBFloat16, now.data(), now.size());
  EXPECT_TRUE(TakeProgress(given, buffer, 1.5f, progress));
  for (const float p : progress) ASSERT_EQ(p, 0.0f);
  now[3] = ToBfloat16(2.0f);
  EXPECT_TRUE(TakeProgress(given, buffer, 0.5f, progress));
  EXPECT_EQ(progress[3], 0.5f * (FromBfloat16(ToBfloat16(given[3])) - 2.0f));
  EXPECT_EQ(progress[4], 0.0f);
}

TEST(TakeProgressTest, P18_SaysWhetherItIsUsable) {
  std::vector<float> given(1000, 1.0f), now(1000), progress(1000);
  std::vector<uint16_t> halves(1000);
  const Elements buffers[] = {std::span(now), {DType::kBFloat16, halves.data(), halves.size()}};
  for (const Elements& buffer : buffers) {
    EXPECT_TRUE(TakeProgress(given, buffer, 1.0f, progress));
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInf, -kInf, -2e30f}) {
      for (const size_t i : {0u, 500u, 999u}) {
        now[i] = bad;
        halves[i] = ToBfloat16(bad);
        EXPECT_FALSE(TakeProgress(given, buffer, 1.0f, progress)) << bad << " at " << i;
        now[i] = 0.0f;
        halves[i] = 0;
      }
    }
    // It is what is said that counts, not what the job holds.
    now[7] = -2e30f;
    halves[7] = ToBfloat16(-2e30f);
    EXPECT_TRUE(TakeProgress(given, buffer, 0.25f, progress));
    now[7] = 0.0f;
    halves[7] = 0;
  }
}

}  // namespace
}  // namespace isthmus
