#include "examples/lm/step_record.h"

#include <limits>

#include "gtest/gtest.h"

namespace isthmus::lm {
namespace {

std::vector<StepRecord> Steps(int n) {
  std::vector<StepRecord> steps(n);
  for (int i = 0; i < n; ++i) {
    steps[i].round = i + 1;
    steps[i].loss = static_cast<float>(i);
    steps[i].seconds = i < 3 ? 100 : 4;
    steps[i].blocked_seconds = 3;
    steps[i].local_seconds = 1;
    steps[i].link_wait_seconds = 1;
  }
  return steps;
}

TEST(StepRecordTest, LeavesTheFirstStepsOutOfTimesWhereThereAreEnough) {
  EXPECT_EQ(Summarise(Steps(10)).step_mean, 4);
  EXPECT_EQ(Summarise(Steps(10)).communication_ratio, 0.25);
  EXPECT_EQ(Summarise(Steps(10)).compute, 2);
  EXPECT_EQ(Summarise(Steps(6)).step_mean, 52);
}

TEST(StepRecordTest, TrainLossIsTheMeanOfTheLastTwentyFiniteOnes) {
  std::vector<StepRecord> steps = Steps(30);
  EXPECT_EQ(Summarise(steps).train_loss, 19.5);
  steps[29].loss = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Summarise(steps).train_loss, 19.0);
}

TEST(StepRecordTest, NoStepsGiveZeros) { EXPECT_EQ(Summarise({}).step, 0); }

TEST(StepRecordTest, CurveHasALinePerStep) {
  std::vector<StepRecord> steps = Steps(2);
  steps[1].validation_loss = 2.5f;
  EXPECT_EQ(CurveCsv(steps),
            "step,loss,seconds,blocked,validation_loss\n"
            "1,0.000000,100.000000,3.000000,\n"
            "2,1.000000,100.000000,3.000000,2.500000\n");
}

}  // namespace
}  // namespace isthmus::lm
