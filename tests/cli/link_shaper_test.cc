#include "cli/link/link_shaper.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "cli/link/link_spec.h"

namespace isthmus {
namespace {

constexpr double kMbit = 1e6;
const absl::Time kStart = absl::UnixEpoch();

TEST(LinkShaperTest, APacketTakesItsSerialisationTimeAndTheDelay) {
  LinkShaper shaper(10 * kMbit, absl::Milliseconds(40));
  // 1250 bytes at 10 Mbit/s are 1 ms.
  EXPECT_EQ(shaper.Send(1250, kStart), kStart + absl::Milliseconds(41));
}

TEST(LinkShaperTest, PacketsQueueBehindEachOther) {
  LinkShaper shaper(10 * kMbit, absl::Milliseconds(40));
  shaper.Send(1250, kStart);
  EXPECT_EQ(shaper.Send(1250, kStart), kStart + absl::Milliseconds(42));
  EXPECT_EQ(shaper.Backlog(kStart), 2500);
  EXPECT_EQ(shaper.Backlog(kStart + absl::Milliseconds(1)), 1250);
  EXPECT_EQ(shaper.Backlog(kStart + absl::Milliseconds(3)), 0);
}

TEST(LinkShaperTest, IdleTimeEarnsNoCredit) {
  LinkShaper shaper(10 * kMbit, absl::ZeroDuration());
  shaper.Send(1250, kStart);
  const absl::Time later = kStart + absl::Seconds(10);
  EXPECT_EQ(shaper.Send(1250, later), later + absl::Milliseconds(1));
}

TEST(LinkShaperTest, AnEndOfStreamTravelsBehindTheBytes) {
  LinkShaper shaper(10 * kMbit, absl::Milliseconds(40));
  const absl::Time arrival = shaper.Send(1250, kStart);
  EXPECT_EQ(shaper.Send(0, kStart), arrival);
}

TEST(LinkShaperTest, PacketsAreTwoMillisecondsWithinBounds) {
  EXPECT_EQ(LinkShaper(0.5 * kMbit, absl::ZeroDuration()).packet_bytes(), 1500);
  EXPECT_EQ(LinkShaper(10 * kMbit, absl::ZeroDuration()).packet_bytes(), 2500);
  EXPECT_EQ(LinkShaper(1000 * kMbit, absl::ZeroDuration()).packet_bytes(), 64 * 1024);
  EXPECT_EQ(LinkShaper(kUnlimitedRate, absl::ZeroDuration()).packet_bytes(), 64 * 1024);
}

TEST(LinkShaperTest, TheDefaultQueueIsTwoBandwidthDelayProducts) {
  EXPECT_EQ(LinkShaper(10 * kMbit, absl::Milliseconds(40)).queue_bytes(), 100'000);
  EXPECT_EQ(LinkShaper(1 * kMbit, absl::Milliseconds(40)).queue_bytes(), 64 * 1024);
  EXPECT_EQ(LinkShaper(1000 * kMbit, absl::ZeroDuration()).queue_bytes(), 1'250'000);
}

TEST(LinkShaperTest, AnUnlimitedLinkOnlyDelays) {
  LinkShaper shaper(kUnlimitedRate, absl::Milliseconds(5));
  EXPECT_EQ(shaper.Send(1 << 30, kStart), kStart + absl::Milliseconds(5));
  EXPECT_EQ(shaper.Backlog(kStart), 0);
  EXPECT_EQ(shaper.WhenRoom(kStart), kStart);
}

TEST(LinkShaperTest, ResetForgetsTheBacklog) {
  LinkShaper shaper(10 * kMbit, absl::ZeroDuration());
  shaper.Send(1'000'000, kStart);
  shaper.Reset();
  EXPECT_EQ(shaper.Backlog(kStart), 0);
}

TEST(LinkShaperTest, WhatWaitsLeavesAtTheNewRateAndNothingOvertakes) {
  LinkShaper shaper(8 * kMbit, absl::Milliseconds(100));
  // A tenth of a second of it; half has left when the link becomes ten times as fast, and near.
  const absl::Time before = shaper.Send(100'000, kStart);
  EXPECT_EQ(before, kStart + absl::Milliseconds(200));
  const absl::Time changed = kStart + absl::Milliseconds(50);
  shaper.Become(80 * kMbit, absl::Milliseconds(1), changed);
  EXPECT_EQ(shaper.Backlog(changed), 50'000);
  EXPECT_EQ(shaper.Backlog(changed + absl::Milliseconds(5)), 0);
  EXPECT_EQ(shaper.Send(10'000, changed), before) << "not before what was sent before";
  const absl::Time later = kStart + absl::Seconds(1);
  EXPECT_EQ(shaper.Send(10'000, later), later + absl::Milliseconds(2));
  // From no limit to one, and back.
  shaper.Become(kUnlimitedRate, absl::ZeroDuration(), later);
  EXPECT_EQ(shaper.Send(1 << 20, later + absl::Seconds(1)), later + absl::Seconds(1));
  shaper.Become(8 * kMbit, absl::ZeroDuration(), later + absl::Seconds(2));
  EXPECT_EQ(shaper.Backlog(later + absl::Seconds(2)), 0);
}

// A greedy sender, woken at irregular times as a busy machine would.
TEST(LinkShaperTest, AGreedySenderGetsTheRateAndTheQueueStaysBounded) {
  std::mt19937 rng(7);
  std::uniform_int_distribution<int> late_micros(0, 3000);
  LinkShaper shaper(20 * kMbit, absl::Milliseconds(10), 32 * 1024);
  absl::Time now = kStart;
  absl::Time last_arrival = kStart;
  int64_t sent = 0;
  while (sent < 5'000'000) {
    now = shaper.WhenRoom(now) + absl::Microseconds(late_micros(rng));
    const absl::Time arrival = shaper.Send(shaper.packet_bytes(), now);
    EXPECT_GT(arrival, last_arrival);
    last_arrival = arrival;
    sent += shaper.packet_bytes();
    EXPECT_LE(shaper.Backlog(now), shaper.queue_bytes());
  }
  const double seconds = absl::ToDoubleSeconds(last_arrival - absl::Milliseconds(10) - kStart);
  EXPECT_NEAR(static_cast<double>(sent) * 8 / seconds, 20 * kMbit, 0.01 * 20 * kMbit);
}

}  // namespace
}  // namespace isthmus
