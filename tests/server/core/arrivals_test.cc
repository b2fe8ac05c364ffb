#include "server/core/arrivals.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

constexpr absl::Duration kMost = absl::Seconds(60);
const std::set<GroupId> kBoth = {GroupId(1), GroupId(2)};

// Rounds of a second, in which the second of two is so far behind.
void See(Arrivals& arrivals, int rounds, absl::Duration lag,
         absl::Duration took = absl::Seconds(1)) {
  for (int round = 0; round < rounds; ++round) {
    arrivals.RoundOver(took, {{GroupId(1), absl::ZeroDuration()}, {GroupId(2), lag}});
  }
}

TEST(ArrivalsTest, P9_AllThatWasAskedForUntilEverybodyHasBeenSeen) {
  Arrivals arrivals;
  EXPECT_EQ(arrivals.Deadline(kBoth, kMost), kMost);
  See(arrivals, Arrivals::kEnough - 1, absl::ZeroDuration());
  EXPECT_EQ(arrivals.Deadline(kBoth, kMost), kMost);
  See(arrivals, 1, absl::ZeroDuration());
  EXPECT_EQ(arrivals.Deadline(kBoth, kMost), Arrivals::kSlack);
  EXPECT_EQ(arrivals.Deadline({GroupId(1), GroupId(3)}, kMost), kMost) << "a newcomer";
  arrivals.Forget();
  EXPECT_EQ(arrivals.Deadline(kBoth, kMost), kMost);
}

TEST(ArrivalsTest, P9_WhoCameBeforeIsWaitedForAgain) {
  Arrivals arrivals;
  See(arrivals, 20, absl::Milliseconds(100));
  See(arrivals, 1, absl::Seconds(7));
  See(arrivals, 20, absl::Milliseconds(100));
  EXPECT_EQ(arrivals.Deadline(kBoth, kMost), absl::Seconds(14) + Arrivals::kSlack);
  See(arrivals, Arrivals::kRounds, absl::Milliseconds(100));
  EXPECT_EQ(arrivals.Deadline(kBoth, kMost), absl::Milliseconds(200) + Arrivals::kSlack)
      << "not for ever";
}

TEST(ArrivalsTest, P9_APauseIsAsLongAsRoundsAre) {
  Arrivals arrivals;
  See(arrivals, 20, absl::Seconds(1), absl::Seconds(10));
  EXPECT_EQ(arrivals.Deadline(kBoth, kMost), absl::Seconds(2 + 20));
  See(arrivals, 9, absl::Seconds(1), absl::Hours(1));
  EXPECT_EQ(arrivals.Deadline(kBoth, kMost), absl::Seconds(2 + 20)) << "one long pause is no rule";
}

TEST(ArrivalsTest, P9_WhoWasAwayIsToBeSeenAnew) {
  Arrivals arrivals;
  See(arrivals, 20, absl::ZeroDuration());
  arrivals.Forget(GroupId(2));
  EXPECT_EQ(arrivals.Deadline(kBoth, kMost), kMost);
  EXPECT_EQ(arrivals.Deadline({GroupId(1)}, kMost), Arrivals::kSlack);
  See(arrivals, Arrivals::kEnough, absl::ZeroDuration());
  EXPECT_EQ(arrivals.Deadline(kBoth, kMost), Arrivals::kSlack);
}

TEST(ArrivalsTest, P9_NeverLongerThanAskedFor) {
  Arrivals arrivals;
  See(arrivals, 20, absl::Seconds(50));
  EXPECT_EQ(arrivals.Deadline(kBoth, kMost), kMost);
  EXPECT_EQ(arrivals.Deadline(kBoth, absl::Seconds(1)), absl::Seconds(1));
  EXPECT_EQ(arrivals.Deadline(kBoth, absl::InfiniteDuration()), absl::InfiniteDuration());
}

}  // namespace
}  // namespace isthmus
