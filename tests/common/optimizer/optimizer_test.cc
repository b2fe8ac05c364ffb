#include "common/optimizer/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "common/base/rng.h"

namespace isthmus {
namespace {

constexpr size_t kLength = 100;
constexpr double kLr = 0.01;
constexpr double kWeightDecay = 0.1;

std::vector<float> RandomVector(Rng& rng) {
  std::vector<float> x(kLength);
  for (float& value : x) value = static_cast<float>(2.0 * rng.Uniform() - 1.0);
  return x;
}

OptimizerScalars Scalars(const OptimizerSpec& spec, int step) {
  OptimizerScalars scalars;
  scalars.lr = static_cast<float>(kLr);
  scalars.decay = static_cast<float>(1.0 - kLr * kWeightDecay);
  scalars.bias1 = static_cast<float>(1.0 - std::pow(static_cast<double>(spec.beta1), step));
  scalars.bias2_sqrt =
      static_cast<float>(std::sqrt(1.0 - std::pow(static_cast<double>(spec.beta2), step)));
  scalars.first = step == 1;
  return scalars;
}

// The textbook's formulas in double, one element.
struct Reference {
  double p = 0.0;
  double state1 = 0.0;
  double state2 = 0.0;

  void Apply(const OptimizerSpec& spec, int step, double u) {
    p *= 1.0 - kLr * kWeightDecay;
    const double momentum = static_cast<double>(spec.momentum);
    if (spec.kind == OptimizerKind::kSgd) {
      state1 = step == 1 ? u : momentum * state1 + u;
      p -= kLr * (spec.momentum > 0.0f ? state1 : u);
      return;
    }
    if (spec.kind == OptimizerKind::kNesterov) {
      state1 = step == 1 ? u : momentum * state1 + u;
      p -= kLr * (u + momentum * state1);
      return;
    }
    const double beta1 = static_cast<double>(spec.beta1);
    const double beta2 = static_cast<double>(spec.beta2);
    state1 = beta1 * state1 + (1.0 - beta1) * u;
    state2 = beta2 * state2 + (1.0 - beta2) * u * u;
    const double m = state1 / (1.0 - std::pow(beta1, step));
    const double v = state2 / (1.0 - std::pow(beta2, step));
    p -= kLr * m / (std::sqrt(v) + static_cast<double>(spec.epsilon));
  }
};

void ExpectFollowsReference(const OptimizerSpec& spec) {
  Rng rng(1);
  std::vector<float> p = RandomVector(rng);
  const auto vectors = static_cast<size_t>(OptimizerStateVectors(spec));
  std::vector<float> state1(vectors >= 1 ? kLength : 0);
  std::vector<float> state2(vectors >= 2 ? kLength : 0);
  std::vector<Reference> reference(kLength);
  for (size_t i = 0; i < kLength; ++i) reference[i].p = static_cast<double>(p[i]);
  for (int step = 1; step <= 50; ++step) {
    const std::vector<float> u = RandomVector(rng);
    ApplyDirection(spec, Scalars(spec, step), u, p, state1, state2);
    for (size_t i = 0; i < kLength; ++i) {
      reference[i].Apply(spec, step, static_cast<double>(u[i]));
      ASSERT_NEAR(p[i], reference[i].p, 3e-6) << "step " << step;
      if (vectors >= 1) {
        ASSERT_NEAR(state1[i], reference[i].state1, 3e-6);
      }
      if (vectors >= 2) {
        ASSERT_NEAR(state2[i], reference[i].state2, 3e-7);
      }
    }
  }
}

TEST(OptimizerTest, SgdFollowsTheReference) { ExpectFollowsReference({}); }

TEST(OptimizerTest, SgdMomentumFollowsTheReference) {
  ExpectFollowsReference({OptimizerKind::kSgd, 0.9f});
}

TEST(OptimizerTest, NesterovFollowsTheReference) {
  ExpectFollowsReference({OptimizerKind::kNesterov, 0.9f});
  ExpectFollowsReference({OptimizerKind::kNesterov, 0.0f});
}

TEST(OptimizerTest, AdamWFollowsTheReference) { ExpectFollowsReference({OptimizerKind::kAdamW}); }

TEST(OptimizerTest, CountsItsStateVectors) {
  EXPECT_EQ(OptimizerStateVectors({}), 0);
  EXPECT_EQ(OptimizerStateVectors({OptimizerKind::kSgd, 0.5f}), 1);
  EXPECT_EQ(OptimizerStateVectors({OptimizerKind::kNesterov, 0.0f}), 0);
  EXPECT_EQ(OptimizerStateVectors({OptimizerKind::kNesterov, 0.5f}), 1);
  EXPECT_EQ(OptimizerStateVectors({OptimizerKind::kAdamW}), 2);
}

TEST(OptimizerTest, P20_NoDirectionOnlyDecays) {
  std::vector<float> p = {1.5f, -3.0f};
  ApplyDirection({}, {0.1f, 0.75f}, std::vector<float>(2), p, {}, {});
  EXPECT_EQ(p, (std::vector<float>{1.125f, -2.25f}));
}

TEST(OptimizerTest, TheFirstDirectionReplacesWhateverTheBufferHeld) {
  std::vector<float> p = {1.0f};
  std::vector<float> buffer = {1e30f};
  OptimizerScalars scalars;
  scalars.lr = 0.5f;
  scalars.first = true;
  ApplyDirection({OptimizerKind::kSgd, 0.9f}, scalars, std::vector<float>{1.0f}, p, buffer, {});
  EXPECT_EQ(buffer[0], 1.0f);
  EXPECT_EQ(p[0], 0.5f);
}

// By hand: the buffer is 2, then 0.5 * 2 - 1 = 0; the steps are 0.5 * 2 + 2 = 3 and 0.5 * 0 - 1.
TEST(OptimizerTest, NesterovLooksAheadOfItsBuffer) {
  const OptimizerSpec spec{OptimizerKind::kNesterov, 0.5f};
  std::vector<float> p = {8.0f};
  std::vector<float> buffer = {1e30f};
  OptimizerScalars scalars;
  scalars.lr = 0.25f;
  scalars.decay = 0.5f;
  scalars.first = true;
  ApplyDirection(spec, scalars, std::vector<float>{2.0f}, p, buffer, {});
  EXPECT_EQ(buffer[0], 2.0f);
  EXPECT_EQ(p[0], 3.25f);
  scalars.first = false;
  scalars.decay = 1.0f;
  ApplyDirection(spec, scalars, std::vector<float>{-1.0f}, p, buffer, {});
  EXPECT_EQ(buffer[0], 0.0f);
  EXPECT_EQ(p[0], 3.5f);
}

TEST(OptimizerTest, NesterovWithoutMomentumIsSgd) {
  Rng rng(3);
  std::vector<float> p = RandomVector(rng);
  std::vector<float> sgd = p;
  for (int step = 1; step <= 5; ++step) {
    const std::vector<float> u = RandomVector(rng);
    ApplyDirection({OptimizerKind::kNesterov, 0.0f}, Scalars({}, step), u, p, {}, {});
    ApplyDirection({}, Scalars({}, step), u, sgd, {}, {});
  }
  EXPECT_EQ(p, sgd);
}

// Every length and alignment meets the same operations, whatever the compiler vectorised.
TEST(OptimizerTest, P21_ElementsAreIndependent) {
  Rng rng(2);
  const OptimizerSpec spec{OptimizerKind::kAdamW};
  const std::vector<float> u = RandomVector(rng);
  std::vector<float> p = RandomVector(rng);
  std::vector<float> m = RandomVector(rng);
  std::vector<float> v = RandomVector(rng);
  for (float& value : v) value = std::abs(value);
  std::vector<float> p1 = p;
  std::vector<float> m1 = m;
  std::vector<float> v1 = v;
  ApplyDirection(spec, Scalars(spec, 3), u, p, m, v);
  for (size_t i = 0; i < kLength; ++i) {
    ApplyDirection(spec, Scalars(spec, 3), {&u[i], 1}, {&p1[i], 1}, {&m1[i], 1}, {&v1[i], 1});
  }
  EXPECT_EQ(p, p1);
  EXPECT_EQ(m, m1);
  EXPECT_EQ(v, v1);
}

}  // namespace
}  // namespace isthmus
