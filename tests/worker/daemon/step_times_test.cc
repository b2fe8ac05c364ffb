#include "worker/daemon/step_times.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

double Step(const StepTime& time) { return time.step; }

TEST(StepTimesTest, P26_LinkWaitIsWhatIsLeftOfTheTimeBlocked) {
  const StepTime time{.step = 10, .blocked = 6, .local = 2, .peer_wait = 1};
  EXPECT_DOUBLE_EQ(time.link_wait(), 3);
  EXPECT_DOUBLE_EQ(time.compute(), 6);  // 4 outside the step call, 2 of local work in it
  // Peer wait is measured elsewhere and may come out longer than this group was blocked.
  EXPECT_DOUBLE_EQ((StepTime{.step = 10, .blocked = 6, .local = 2, .peer_wait = 9}).link_wait(), 0);
}

TEST(StepTimesTest, P26_RatioIsLinkWaitOverStepTime) {
  StepTimes times;
  times.Add({.step = 10, .blocked = 6, .local = 2, .peer_wait = 1});  // waits 3
  times.Add({.step = 30, .blocked = 2, .local = 1, .peer_wait = 0});  // waits 1
  EXPECT_DOUBLE_EQ(times.Ratio(), 0.1);
}

TEST(StepTimesTest, WithoutStepsEverythingIsZero) {
  StepTimes times;
  EXPECT_TRUE(times.empty());
  EXPECT_EQ(times.Median(Step), 0);
  EXPECT_EQ(times.Ratio(), 0);
  times.Add({});
  EXPECT_FALSE(times.empty());
  EXPECT_EQ(times.Ratio(), 0);
}

TEST(StepTimesTest, MedianIsUnmovedByOneLongStep) {
  StepTimes times;
  for (double step : {3.0, 1.0, 1000.0, 2.0, 4.0}) times.Add({.step = step});
  EXPECT_EQ(times.Median(Step), 3);
}

TEST(StepTimesTest, RemembersTheLastFifty) {
  StepTimes times;
  for (int i = 0; i < 60; ++i) times.Add({.step = 1});
  EXPECT_EQ(times.Median(Step), 1);
  for (int i = 0; i < 50; ++i) times.Add({.step = 2, .blocked = 1});
  EXPECT_EQ(times.Median(Step), 2);
  EXPECT_DOUBLE_EQ(times.Ratio(), 0.5);
}

}  // namespace
}  // namespace isthmus
