#include "tests/net/relay_lane.h"

#include <gtest/gtest.h>

#include "cli/link/link_spec.h"

namespace isthmus::net {
namespace {

constexpr absl::Time kStart = absl::UnixEpoch();
const std::string kPacket(1500, 'x');

absl::Time At(int64_t ms) { return kStart + absl::Milliseconds(ms); }

TEST(RelayLaneTest, APacketArrivesAfterItsTimeOnTheWireAndTheDelay) {
  RelayLane lane({.bits_per_second = 1.2e6, .delay = absl::Milliseconds(40)});  // 10 ms a packet
  EXPECT_EQ(lane.NextDue(), absl::InfiniteFuture());
  lane.Offer("a" + kPacket.substr(1), kStart);
  lane.Offer("b" + kPacket.substr(1), kStart);
  EXPECT_EQ(lane.NextDue(), At(50));
  EXPECT_EQ(lane.Take(At(50) - absl::Nanoseconds(1)), std::nullopt);
  EXPECT_EQ(lane.Take(At(50)).value()[0], 'a');
  EXPECT_EQ(lane.NextDue(), At(60));
  EXPECT_EQ(lane.Take(At(70)).value()[0], 'b');
  EXPECT_EQ(lane.counters().bytes, 3000u);
  EXPECT_EQ(lane.counters().packets, 2u);
}

TEST(RelayLaneTest, WhatFindsTheQueueFullIsDroppedAndTheRestIsNotDelayedByIt) {
  RelayLane lane({.bits_per_second = 1.2e6, .queue_bytes = 6000});
  for (int i = 0; i < 10; ++i) lane.Offer(kPacket, kStart);
  EXPECT_EQ(lane.counters().dropped, 6u);
  lane.Offer(kPacket, At(10));  // one has left
  EXPECT_EQ(lane.counters().dropped, 6u);
  int arrived = 0;
  while (lane.Take(At(50))) ++arrived;
  EXPECT_EQ(arrived, 5);
  EXPECT_EQ(lane.NextDue(), absl::InfiniteFuture());
}

TEST(RelayLaneTest, TheRateIsKeptUnderAnyLoad) {
  RelayLane lane({.bits_per_second = 20e6, .delay = absl::Milliseconds(40)});
  // Twice what the link carries, for two seconds.
  for (int i = 0; i < 2000; ++i) {
    const absl::Time now = At(i);
    for (int n = 0; n < 3; ++n) lane.Offer(kPacket, now);
    lane.Offer(kPacket.substr(0, 500), now);
    while (lane.Take(now)) {
    }
  }
  EXPECT_NEAR(static_cast<double>(lane.counters().bytes), 20e6 / 8 * (2 - 0.04), 3000);
  EXPECT_GT(lane.counters().dropped, 0u);
}

TEST(RelayLaneTest, LostPacketsTookTheirTimeAndTheSameSeedLosesTheSame) {
  const RelayLane::Options options{.bits_per_second = 1.2e6, .queue_bytes = 1 << 30, .loss = 0.1};
  RelayLane one(options);
  RelayLane two(options);
  for (int i = 0; i < 10000; ++i) {
    one.Offer(kPacket, kStart);
    two.Offer(kPacket, kStart);
  }
  EXPECT_NEAR(static_cast<double>(one.counters().lost), 1000, 100);
  EXPECT_EQ(one.counters().lost, two.counters().lost);
  absl::Time last;
  while (one.NextDue() < absl::InfiniteFuture()) {
    last = one.NextDue();
    ASSERT_TRUE(one.Take(last));
  }
  EXPECT_GE(last, At(99'000));
}

TEST(RelayLaneTest, AnUnlimitedRateStillHasADelay) {
  RelayLane lane({.bits_per_second = kUnlimitedRate, .delay = absl::Milliseconds(5)});
  lane.Offer(kPacket, kStart);
  EXPECT_EQ(lane.NextDue(), At(5));
}

}  // namespace
}  // namespace isthmus::net
