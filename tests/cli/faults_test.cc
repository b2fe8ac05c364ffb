#include "cli/rehearse/faults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace isthmus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const absl::Time kNow = absl::UnixEpoch();

TEST(FaultScheduleTest, AKillComesOnceWhenItsRoundIsOpenOrPast) {
  FaultSchedule faults({ParseFault("kill:2@10").value()});
  EXPECT_THAT(faults.Advance(9, kNow).kill, IsEmpty());
  EXPECT_TRUE(faults.pending());
  EXPECT_THAT(faults.Advance(12, kNow).kill, ElementsAre(2));
  EXPECT_FALSE(faults.pending());
  EXPECT_THAT(faults.Advance(13, kNow).kill, IsEmpty());
}

TEST(FaultScheduleTest, ACutHealsAfterItsOutage) {
  FaultSchedule faults({ParseFault("cut:1@3/5").value()});
  const FaultSchedule::Due due = faults.Advance(3, kNow);
  EXPECT_EQ(due.cut.size(), 1u);
  EXPECT_THAT(due.heal, IsEmpty());
  EXPECT_THAT(faults.Advance(3, kNow + absl::Seconds(4.9)).heal, IsEmpty());
  EXPECT_THAT(faults.Advance(3, kNow + absl::Seconds(5)).heal, ElementsAre(1));
  EXPECT_THAT(faults.Advance(3, kNow + absl::Seconds(6)).heal, IsEmpty());
}

TEST(FaultScheduleTest, AFlipIsToldOfOnceItsRoundIsOver) {
  FaultSchedule faults({ParseFault("flip:2@10").value()});
  EXPECT_THAT(faults.Advance(10, kNow).flip, IsEmpty());
  EXPECT_THAT(faults.Advance(11, kNow).flip, ElementsAre(2));
  EXPECT_FALSE(faults.pending());
  EXPECT_FALSE(faults.ExcuseWorker(2));
}

TEST(FaultScheduleTest, ExcusesOnlyTheDeathsItCaused) {
  FaultSchedule faults({ParseFault("kill:2@10").value()});
  EXPECT_FALSE(faults.ExcuseWorker(2));
  faults.Advance(10, kNow);
  EXPECT_FALSE(faults.ExcuseWorker(1));
  EXPECT_TRUE(faults.ExcuseWorker(2));
  EXPECT_FALSE(faults.ExcuseWorker(2));
  EXPECT_TRUE(faults.ExcuseJob(2, 0));
  EXPECT_TRUE(faults.ExcuseJob(2, 1));
  EXPECT_FALSE(faults.ExcuseJob(2, 0));
  EXPECT_FALSE(faults.ExcuseJob(1, 0));
}

}  // namespace
}  // namespace isthmus
