#include "common/exchange/send_window.h"

#include <algorithm>

namespace isthmus {
namespace {

constexpr uint64_t kHead = 64;  // of a frame, beside its payload
// A longer one ends a burst: the link was idle, so that time says nothing of its rate.
constexpr absl::Duration kPause = absl::Milliseconds(50);
// Of the rate, beyond what the link's own delay holds: rides out an acknowledgement that is late.
constexpr absl::Duration kQueue = absl::Milliseconds(500);
// A delay may be measured behind what others have queued; more than this is not the link's.
constexpr absl::Duration kLongestDelay = absl::Milliseconds(1500);
// How much more one flight may lead to. Few frames that arrive together say "fast", not how fast:
// 64 times 16 KiB is what 1 Mbit/s carries in the time that a keepalive allows.
constexpr double kFastest = 64;

}  // namespace

uint64_t SendWindow::frame_bytes() const { return std::min(limit_ / 4 - kHead, kFrameBytes); }

void SendWindow::Sent(uint64_t bytes, bool asked, absl::Duration idle, absl::Time now) {
  sent_ += bytes;
  unasked_ = asked ? 0 : unasked_ + bytes;
  // What was held back before a pause and has gone since tells nothing of the time of the pause.
  if (idle > kPause) wanted_more_ = false;
  if (new_burst_ || idle > kPause) {
    new_burst_ = false;
    burst_from_ = sent_;
    burst_bytes_ = 0;
    burst_elapsed_ = absl::ZeroDuration();
    burst_idle_ = absl::ZeroDuration();
  } else {
    burst_idle_ += idle;
  }
  if (asked) asked_.push_back({sent_, now});
}

void SendWindow::Acked(uint64_t bytes, absl::Duration elapsed, absl::Time now) {
  if (acked_ >= burst_from_) {
    burst_bytes_ += bytes;
    burst_elapsed_ += elapsed;
  }
  acked_ = std::min(sent_, acked_ + bytes);
  for (; !asked_.empty() && asked_.front().end <= acked_; asked_.pop_front()) {
    delay_ = std::min(delay_, now - asked_.front().sent);
  }
  // Half a window tells, if more was wanted; or so long a time, of which little was pauses, that it
  // may have to be shrunk before it has all arrived.
  if ((wanted_more_ && burst_bytes_ >= limit_ / 2) ||
      (burst_elapsed_ >= kQueue && burst_idle_ <= burst_elapsed_ / 8)) {
    EndFlight();
  }
}

void SendWindow::EndFlight() {
  const double seconds = absl::ToDoubleSeconds(std::max(burst_elapsed_, absl::Microseconds(1)));
  const double rate = static_cast<double>(burst_bytes_) / seconds;
  const double horizon = absl::ToDoubleSeconds(std::min(delay_, kLongestDelay) + kQueue);
  const double wanted = std::min(rate * horizon, kFastest * static_cast<double>(limit_));
  limit_ = static_cast<uint64_t>(
      std::clamp(wanted, static_cast<double>(kLeast), static_cast<double>(kMost)));
  wanted_more_ = false;
  // What the old window held back made a gap in what arrives.
  new_burst_ = true;
}

}  // namespace isthmus
