#include "worker/rpc/exchange_times.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

const absl::Time kStart = absl::UnixEpoch() + absl::Hours(1);
absl::Time After(int64_t milliseconds) { return kStart + absl::Milliseconds(milliseconds); }

TEST(ExchangeTimesTest, FromTheFirstFrameToTheLastUpdate) {
  ExchangeTimes times;
  times.Sent(Round(1), After(0));
  times.Sent(Round(1), After(50));
  times.Got(Round(1), After(70));
  times.Got(Round(1), After(90));
  EXPECT_EQ(times.Median(), absl::ZeroDuration()) << "there may be more of it";
  times.Sent(Round(2), After(200));
  EXPECT_EQ(times.Median(), absl::Milliseconds(90));
  times.Got(Round(1), After(230));  // sent again, after a reconnect
  times.Sent(Round(1), After(240));
  times.Got(Round(2), After(500));
  times.Sent(Round(3), After(600));
  EXPECT_EQ(times.Median(), absl::Milliseconds(300));
}

TEST(ExchangeTimesTest, ARoundWithoutAnAnswerCountsForNothing) {
  ExchangeTimes times;
  times.Got(Round(1), After(0));
  times.Sent(Round(2), After(10));
  times.Sent(Round(3), After(20));
  times.Got(Round(3), After(30));
  times.Sent(Round(4), After(40));
  EXPECT_EQ(times.Median(), absl::Milliseconds(10));
}

}  // namespace
}  // namespace isthmus
