#include "cli/probe/path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace isthmus {
namespace {

using testing::Each;
using testing::SizeIs;

// Calls over a path whose time is counted, not waited for.
struct FakePath {
  double up = 1e6;  // bits per second
  double down = 1e6;
  absl::Duration round_trip = absl::Milliseconds(40);
  absl::Duration first = absl::Seconds(1);  // of the first call, which connects
  std::vector<ProbeSize> calls;
  absl::Duration spent;

  absl::StatusOr<absl::Duration> operator()(const ProbeSize& size) {
    absl::Duration took = round_trip + absl::Seconds(8 * static_cast<double>(size.up) / up) +
                          absl::Seconds(8 * static_cast<double>(size.down) / down);
    if (calls.empty()) took += first;
    calls.push_back(size);
    spent += took;
    return took;
  }
};

TEST(PathTest, FindsRatesOfAnyOrder) {
  for (const double up : {64e3, 1e6, 10e6, 1e9}) {
    for (const double down : {256e3, 20e6, 10e9}) {
      FakePath fake{.up = up, .down = down};
      const auto path = MeasurePath(std::ref(fake));
      ASSERT_TRUE(path.ok());
      EXPECT_NEAR(path->up / up, 1, 0.01) << up;
      EXPECT_NEAR(path->down / down, 1, 0.01) << down;
      EXPECT_LE(fake.spent, absl::Seconds(20)) << up << " " << down;
    }
  }
}

TEST(PathTest, ConnectingIsNoRoundTrip) {
  FakePath fake;
  const auto path = MeasurePath(std::ref(fake));
  ASSERT_TRUE(path.ok());
  EXPECT_THAT(path->round_trips, SizeIs(11));
  EXPECT_THAT(path->round_trips, Each(absl::Milliseconds(40)));
}

TEST(PathTest, AsksForNoMoreThanItMay) {
  FakePath fake{.up = 1e12, .down = 1e12};
  ASSERT_TRUE(MeasurePath(std::ref(fake)).ok());
  for (const ProbeSize& size : fake.calls) EXPECT_LE(std::max(size.up, size.down), kLargestProbe);
}

TEST(PathTest, AThinPathIsNotAskedTwice) {
  FakePath fake{.up = 30e3, .down = 1e9};
  ASSERT_TRUE(MeasurePath(std::ref(fake)).ok());
  EXPECT_EQ(std::ranges::count_if(fake.calls, [](const ProbeSize& s) { return s.up > 0; }), 1);
}

TEST(PathTest, EndsWithTheFirstErrorOfACall) {
  int calls = 0;
  const auto path = MeasurePath([&](const ProbeSize& size) -> absl::StatusOr<absl::Duration> {
    ++calls;
    if (size.up > 16 << 10) return absl::UnavailableError("cut");
    return absl::Milliseconds(1);
  });
  EXPECT_EQ(path.status(), absl::UnavailableError("cut"));
  EXPECT_EQ(calls, 14);  // twelve empty ones, one small, and that
}

TEST(PathTest, IsALinkAsPlanTakesIt) {
  const PathFigures path{{absl::Milliseconds(41), absl::Milliseconds(44)}, 9.41e6, 1.5e9};
  EXPECT_EQ(path.Link(), "9410kbit:1500000kbit/20.500ms");
  EXPECT_EQ((PathFigures{{absl::Microseconds(90)}, 1e15, 2}).Link(), "100000000kbit:1kbit/0.045ms");
}

}  // namespace
}  // namespace isthmus
