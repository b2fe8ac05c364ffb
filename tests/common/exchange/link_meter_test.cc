#include "common/exchange/link_meter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "common/base/rng.h"

namespace isthmus {
namespace {

constexpr double kMbit = 1e6 / 8;  // bytes per second

// A sender, one direction of a link that takes one frame after the other, and the meter at its end,
// in time that is counted.
class Link {
 public:
  explicit Link(double bytes_per_second) : rate_(bytes_per_second) {}

  void SetRate(double bytes_per_second) { rate_ = bytes_per_second; }
  // Nothing to send for so long.
  void Idle(absl::Duration time) {
    sender_ = std::max(sender_, free_) + time;
    idle_ += time;
  }
  // Makes a frame in `making`, then hands it over: at once, since the machine's buffers take it.
  void Compute(absl::Duration making) {
    sender_ += making;
    idle_ += making;
  }
  void Frame(uint64_t bytes) {
    free_ = std::max(free_, sender_) + absl::Seconds(static_cast<double>(bytes) / rate_);
    const absl::Time seen = std::max(free_ + kOneWay, busy_until_);
    meter_.Arrived({bytes, idle_, !noticed_ || seen > busy_until_}, seen);
    idle_ = absl::ZeroDuration();
  }
  // The receiver looks at nothing before so long.
  // `noticed`: since it had other things to do.
  void Stall(absl::Duration time, bool noticed = true) {
    busy_until_ = free_ + kOneWay + time;
    noticed_ = noticed;
  }
  void Frames(int count, uint64_t bytes) {
    for (int i = 0; i < count; ++i) Frame(bytes);
  }
  double mbit() const { return meter_.estimate().bytes_per_second / kMbit; }
  LinkEstimate estimate() const { return meter_.estimate(); }

 private:
  static constexpr absl::Duration kOneWay = absl::Milliseconds(40);
  double rate_;
  absl::Time sender_ = absl::UnixEpoch();
  absl::Time free_ = absl::UnixEpoch();  // the link
  absl::Time busy_until_ = absl::InfinitePast();
  bool noticed_ = true;
  absl::Duration idle_ = absl::Seconds(1);
  LinkMeter meter_;
};

// Of a million parameters: eight frames of 5 KB a round, made one by one.
void FlexDemoRounds(int rounds, Link* link) {
  for (int round = 0; round < rounds; ++round) {
    link->Idle(absl::Milliseconds(400));
    for (int bucket = 0; bucket < 8; ++bucket) {
      link->Compute(absl::Milliseconds(2));
      link->Frame(5500);
    }
  }
}

TEST(LinkMeterTest, P24a_NothingIsKnownBeforeTwoFrames) {
  Link link(10 * kMbit);
  EXPECT_EQ(link.estimate(), LinkEstimate());
  link.Frame(64 << 10);
  EXPECT_EQ(link.estimate(), LinkEstimate());
}

TEST(LinkMeterTest, P24a_AFullLinkIsKnownExactly) {
  for (const double mbit : {0.5, 1.0, 10.0, 100.0, 500.0, 2000.0}) {
    Link link(mbit * kMbit);
    for (int burst = 0; burst < 8; ++burst) {
      link.Idle(absl::Milliseconds(300));
      link.Frames(mbit > 500 ? 400 : 40, 64 << 10);
    }
    EXPECT_NEAR(link.mbit(), mbit, 1e-3 * mbit);
    EXPECT_FALSE(link.estimate().at_least);
    EXPECT_GE(link.estimate().samples, 1u);
  }
}

TEST(LinkMeterTest, P24a_AThinLinkIsKnownFromSmallFramesThatAreMadeOneByOne) {
  Link link(1 * kMbit);
  FlexDemoRounds(4, &link);
  EXPECT_NEAR(link.mbit(), 1, 1e-3);
  EXPECT_FALSE(link.estimate().at_least);
}

TEST(LinkMeterTest, P24a_ASenderThatIsSlowerThanTheLinkTellsTheLeast) {
  Link link(1000 * kMbit);
  FlexDemoRounds(4, &link);
  EXPECT_TRUE(link.estimate().at_least);
  EXPECT_GT(link.mbit(), 7 * 5500 / 0.021 / kMbit);  // what it did carry
  EXPECT_LT(link.mbit(), 1000);
}

// Updates are sent as contributions come in, over a link that is as thin.
TEST(LinkMeterTest, P24a_FramesThatComeAsTheyAreMadeAreNotTheLinksDoing) {
  Link link(20 * kMbit);
  for (int frame = 0; frame < 200; ++frame) {
    link.Compute(absl::Milliseconds(13));
    link.Frame(15500);
  }
  EXPECT_TRUE(link.estimate().at_least);
  EXPECT_NEAR(link.mbit(), 15500 / 0.013 / kMbit, 0.1);
}

TEST(LinkMeterTest, P24a_AnotherRateIsKnownAfterASecondOfIt) {
  Link link(10 * kMbit);
  link.Frames(200, 16 << 10);
  link.SetRate(50 * kMbit);
  link.Frames(460, 16 << 10);  // 1.2 seconds: a run may have begun before
  EXPECT_NEAR(link.mbit(), 50, 0.5);
  link.SetRate(5 * kMbit);
  link.Frames(46, 16 << 10);
  EXPECT_NEAR(link.mbit(), 5, 0.05);
}

// A lost packet: what comes behind it is given to nobody until it has come again.
TEST(LinkMeterTest, P24a_WhatALossHoldsUpDoesNotTakeTheLinkForFast) {
  Link link(10 * kMbit);
  for (int loss = 0; loss < 20; ++loss) {
    link.Stall(absl::Milliseconds(200), /*noticed=*/false);
    link.Frames(20, 64 << 10);
    EXPECT_NEAR(link.mbit(), 10, 2);
  }
}

TEST(LinkMeterTest, P24a_AReceiverThatWasHeldUpDoesNotTakeTheLinkForFast) {
  Link link(100 * kMbit);
  link.Frames(400, 64 << 10);
  for (int burst = 0; burst < 20; ++burst) {
    link.Idle(absl::Milliseconds(500));
    link.Stall(absl::Milliseconds(560));  // until some time after the first have come
    link.Frames(40, 64 << 10);
    EXPECT_NEAR(link.mbit(), 100, 1) << burst;
  }
}

TEST(LinkMeterTest, P24a_TheRateIsNeverBeyondTheLinks) {
  Rng rng(7);
  for (int run = 0; run < 200; ++run) {
    const double mbit = std::exp(rng.Uniform() * 7);
    Link link(mbit * kMbit);
    for (int step = 0; step < 300; ++step) {
      if (rng.Uniform() < 0.2) link.Idle(absl::Seconds(rng.Uniform()));
      link.Compute(absl::Seconds(rng.Uniform() * 0.01));
      link.Frame(1 + static_cast<uint64_t>(rng.Uniform() * 65536));
      ASSERT_LE(link.mbit(), mbit * 1.001);
    }
  }
}

TEST(LinkMeterTest, P24a_TimesThatCannotBeAreNone) {
  LinkMeter meter;
  const absl::Time now = absl::UnixEpoch();
  meter.Arrived({1000, -absl::Seconds(1)}, now);
  meter.Arrived({1000, absl::ZeroDuration()}, now - absl::Seconds(1));  // a clock that went back
  meter.Arrived({1000, absl::InfiniteDuration()}, now);
  EXPECT_GE(meter.estimate().bytes_per_second, 0);
  EXPECT_LE(meter.estimate().bytes_per_second, 1000 / 0.002);
}

}  // namespace
}  // namespace isthmus
