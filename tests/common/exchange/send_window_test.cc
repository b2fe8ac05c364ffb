#include "common/exchange/send_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace isthmus {
namespace {

constexpr uint64_t kHead = 40;  // of a frame

// A window at work over one direction of a link, in time that is counted, not waited for. The peer
// acknowledges as AckMeter does.
class Link {
 public:
  Link(double bits_per_second, absl::Duration one_way)
      : bytes_per_second_(bits_per_second / 8), one_way_(one_way) {}

  void SetRate(double bits_per_second) { bytes_per_second_ = bits_per_second / 8; }
  void Pause(absl::Duration time) {
    const absl::Time until = now_ + time;
    while (!events_.empty() && events_.begin()->first <= until) Next();
    now_ = until;
  }
  // Sends so much, as fast as the window lets, until the peer has it all; how long that takes.
  absl::Duration Send(uint64_t bytes) {
    const absl::Time began = now_;
    uint64_t left = bytes;
    while (true) {
      while (left > 0 && window_.Allows()) {
        const uint64_t size = std::min(left, window_.frame_bytes());
        Transmit(size + kHead);
        left -= size;
      }
      if (left > 0) window_.HeldBack();
      if (left == 0) idle_since_ = std::min(idle_since_, now_);
      if (left == 0 && arrived_ == sent_) return now_ - began;
      if (events_.empty()) {
        ADD_FAILURE() << "nothing will ever be sent again";
        return absl::InfiniteDuration();
      }
      Next();
    }
  }
  // Sends so much, if the window lets it, and waits for nothing.
  void Trickle(uint64_t bytes) {
    ASSERT_TRUE(window_.Allows());
    Transmit(bytes + kHead);
    idle_since_ = now_;
  }
  SendWindow& window() { return window_; }
  // The longest that a byte sent now would have waited.
  absl::Duration longest_queue() const { return longest_queue_; }
  void ForgetQueue() { longest_queue_ = absl::ZeroDuration(); }

 private:
  struct Event {
    bool frame = false;  // arrives at the peer; else an acknowledgement arrives here
    bool asked = false;
    uint64_t bytes = 0;
    absl::Duration elapsed;
  };

  void Transmit(uint64_t bytes) {
    const bool ask = window_.WantsAck();
    window_.Sent(bytes, ask, std::max(now_ - idle_since_, absl::ZeroDuration()), now_);
    idle_since_ = absl::InfiniteFuture();
    idle_at_ =
        std::max(idle_at_, now_) + absl::Seconds(static_cast<double>(bytes) / bytes_per_second_);
    longest_queue_ = std::max(longest_queue_, idle_at_ - now_);
    sent_ += bytes;
    events_.emplace(idle_at_ + one_way_, Event{true, ask, bytes, {}});
  }
  void Next() {
    const auto node = events_.extract(events_.begin());
    now_ = node.key();
    const Event event = node.mapped();
    if (!event.frame) return window_.Acked(event.bytes, event.elapsed, now_);
    arrived_ += event.bytes;
    unacked_ += event.bytes;
    if (!event.asked && ++frames_ < 8 && now_ - last_ack_ < absl::Milliseconds(100)) return;
    events_.emplace(now_ + one_way_, Event{false, false, unacked_, now_ - last_ack_});
    unacked_ = 0;
    frames_ = 0;
    last_ack_ = now_;
  }

  double bytes_per_second_;
  const absl::Duration one_way_;
  SendWindow window_;
  absl::Time now_ = absl::UnixEpoch();
  absl::Time idle_at_ = absl::UnixEpoch();
  absl::Time idle_since_ = absl::InfinitePast();  // that there is nothing to send
  std::multimap<absl::Time, Event> events_;
  uint64_t sent_ = 0, arrived_ = 0, unacked_ = 0, frames_ = 0;
  absl::Time last_ack_ = absl::UnixEpoch();
  absl::Duration longest_queue_;
};

TEST(SendWindowTest, P24_NeverMoreThanTwoSecondsOfAThinLinkAreUnderWay) {
  for (const double rate : {64e3, 150e3, 600e3, 1e6, 10e6}) {
    for (const absl::Duration delay : {absl::Milliseconds(1), absl::Milliseconds(300)}) {
      Link link(rate, delay);
      const auto bytes = static_cast<uint64_t>(rate * 4);  // 32 s
      const double seconds = absl::ToDoubleSeconds(link.Send(bytes));
      EXPECT_LE(link.longest_queue(), absl::Milliseconds(2100)) << rate << " " << delay;
      EXPECT_LE(seconds, 34) << rate << " " << delay;
    }
  }
}

TEST(SendWindowTest, P24_AFarFastLinkIsFilledAfterThreeRoundTrips) {
  for (const double rate : {20e6, 200e6, 330e6}) {
    Link link(rate, absl::Milliseconds(100));
    const auto bytes = static_cast<uint64_t>(rate / 4);  // 2 s
    EXPECT_LE(link.Send(bytes), absl::Milliseconds(2650)) << rate;
    // And from then on at once.
    EXPECT_LE(link.Send(bytes), absl::Milliseconds(2150)) << rate;
    link.Pause(absl::Minutes(1));
    EXPECT_LE(link.Send(bytes), absl::Milliseconds(2150)) << rate;
  }
}

TEST(SendWindowTest, P24_NineTenthsOfAnyRateAtAnyDelay) {
  for (const double rate : {64e3, 1e6, 30e6, 300e6}) {
    for (const absl::Duration delay :
         {absl::ZeroDuration(), absl::Milliseconds(5), absl::Milliseconds(100)}) {
      Link link(rate, delay);
      link.Send(static_cast<uint64_t>(rate / 8));
      const double seconds = absl::ToDoubleSeconds(link.Send(static_cast<uint64_t>(rate)) - delay);
      EXPECT_LE(seconds, 8 / 0.9) << rate << " " << delay;
    }
  }
}

TEST(SendWindowTest, ALinkThatGetsThinnerGetsASmallerWindow) {
  Link link(20e6, absl::Milliseconds(20));
  link.Send(20 << 20);
  EXPECT_GT(link.window().limit(), 1u << 20);
  link.SetRate(500e3);
  link.Send(1 << 20);
  link.ForgetQueue();
  link.Send(1 << 20);
  EXPECT_LE(link.longest_queue(), absl::Seconds(2));
  link.SetRate(20e6);
  link.Send(20 << 20);
  EXPECT_GT(link.window().limit(), 1u << 20);
}

// A contribution now and then: neither is it held up, nor does its pause look like a thin link.
TEST(SendWindowTest, WhoSendsLittleAndSeldomKeepsTheWindow) {
  Link link(20e6, absl::Milliseconds(40));
  link.Send(4 << 20);
  const uint64_t limit = link.window().limit();
  for (int round = 0; round < 50; ++round) {
    link.Pause(absl::Milliseconds(37 * (round % 7)));
    EXPECT_LE(link.Send(200 << 10), absl::Milliseconds(125));
  }
  EXPECT_GE(link.window().limit(), limit / 2);
}

// A round that is larger than the window is held back near its end. What is left of it then is less
// than the window judges by, and the pause behind it is none of the link's.
TEST(SendWindowTest, APauseBehindARoundThatWasHeldBackIsNotTheLinks) {
  for (const int pause : {60, 300, 2000}) {
    for (uint64_t bytes = 200 << 10; bytes < 1200 << 10; bytes += 50 << 10) {
      Link link(10e6, absl::Milliseconds(100));
      for (int round = 0; round < 40; ++round) {
        const absl::Duration ideal =
            absl::Seconds(static_cast<double>(bytes) / 1.25e6) + absl::Milliseconds(100);
        const absl::Duration took = link.Send(bytes);
        const bool learned = round > 5;
        EXPECT_LE(took, (learned ? 1.02 : 3.0) * ideal) << bytes << " bytes, round " << round;
        link.Pause(absl::Milliseconds(pause));
      }
    }
  }
}

// What is made slowly says nothing of the link.
TEST(SendWindowTest, WhoTricklesKeepsTheWindow) {
  Link link(100e6, absl::Milliseconds(100));
  link.Send(20 << 20);
  link.Pause(absl::Seconds(1));
  const uint64_t limit = link.window().limit();
  for (int i = 0; i < 200; ++i) {
    link.Trickle(20 << 10);
    link.Pause(absl::Milliseconds(40));
  }
  EXPECT_GE(link.window().limit(), limit / 2);
}

TEST(SendWindowTest, BelievesNoMoreThanWasSent) {
  SendWindow window;
  window.Sent(1000, true, absl::ZeroDuration(), absl::UnixEpoch());
  window.Acked(~uint64_t{0}, absl::ZeroDuration(), absl::UnixEpoch());
  EXPECT_EQ(window.under_way(), 0u);
  window.Sent(10, false, absl::ZeroDuration(), absl::UnixEpoch());
  EXPECT_EQ(window.under_way(), 10u);
  EXPECT_LE(window.limit(), SendWindow::kMost);
}

}  // namespace
}  // namespace isthmus
