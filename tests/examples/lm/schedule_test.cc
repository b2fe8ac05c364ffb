#include "examples/lm/schedule.h"

#include "gtest/gtest.h"

namespace isthmus::lm {
namespace {

constexpr Schedule kSchedule = {.peak = 1.0, .warmup = 10, .final_fraction = 0.1, .rounds = 101};

TEST(ScheduleTest, WarmsUpLinearlyFromTheFirstRound) {
  EXPECT_FLOAT_EQ(LearningRate(kSchedule, 0), 0.1f);
  EXPECT_FLOAT_EQ(LearningRate(kSchedule, 4), 0.5f);
  EXPECT_FLOAT_EQ(LearningRate(kSchedule, 9), 1.0f);
}

TEST(ScheduleTest, FallsAlongACosineToItsFinalFractionInTheLastRound) {
  EXPECT_FLOAT_EQ(LearningRate(kSchedule, 10), 1.0f);
  EXPECT_FLOAT_EQ(LearningRate(kSchedule, 55), 0.55f);
  EXPECT_FLOAT_EQ(LearningRate(kSchedule, 100), 0.1f);
  for (uint64_t round = 11; round <= 100; ++round) {
    EXPECT_LT(LearningRate(kSchedule, round), LearningRate(kSchedule, round - 1)) << round;
  }
}

TEST(ScheduleTest, StaysThereBeyondTheLastRound) {
  EXPECT_FLOAT_EQ(LearningRate(kSchedule, 5000), 0.1f);
}

TEST(ScheduleTest, DoesNotDecayInARunWithoutEnd) {
  EXPECT_FLOAT_EQ(LearningRate({.peak = 2.0, .warmup = 0, .rounds = 0}, 123456), 2.0f);
}

TEST(ScheduleTest, BearsAWarmUpAsLongAsTheRun) {
  EXPECT_FLOAT_EQ(LearningRate({.peak = 1.0, .warmup = 4, .rounds = 4}, 3), 1.0f);
  EXPECT_FLOAT_EQ(LearningRate({.peak = 1.0, .warmup = 3, .rounds = 4}, 3), 1.0f);
}

}  // namespace
}  // namespace isthmus::lm
