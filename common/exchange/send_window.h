// How much may be under way to a peer at a time: what keeps a far, fast link busy, and never much
// more than a thin one carries in two seconds, so that what is short or urgent (a keepalive's
// answer, above all) does not wait behind it for long (docs/protocol.md, P24).
#ifndef ISTHMUS_COMMON_EXCHANGE_SEND_WINDOW_H_
#define ISTHMUS_COMMON_EXCHANGE_SEND_WINDOW_H_

#include <absl/time/time.h>

#include <cstdint>
#include <deque>
#include <optional>

#include "common/run/update.h"

namespace isthmus {

// Learns delay and rate of one direction of a stream from the peer's acknowledgements, which tell
// bytes and how long they took by the peer's own clock. The window grows once per flight, if
// somebody wanted to send more: who sends little learns little, and needs no more. It shrinks with
// what arrives more slowly than it was made for.
//
// The first flight is 16 KiB in four frames: two seconds of 64 kbit/s. How far apart they arrive
// tells the rate at once, so that a fast link is filled after two or three round trips.
// Thread-compatible.
class SendWindow {
 public:
  static constexpr uint64_t kLeast = 16 << 10;
  static constexpr uint64_t kMost = 16 << 20;

  // Payload bytes that the next frame may have: with its head a quarter of the window, but at most
  // kFrameBytes.
  uint64_t frame_bytes() const;
  // There is room for such a frame.
  bool Allows() const { return under_way() == 0 || under_way() + frame_bytes() <= limit_; }
  // There was none, and something to send.
  void HeldBack() { wanted_more_ = true; }
  // The frame to come should ask for an acknowledgement of its own. Peers acknowledge seldom
  // otherwise, and who waits for room must not wait for that.
  bool WantsAck() const { return unasked_ + 2 * frame_bytes() > limit_ / 4; }

  // A frame is being sent, `bytes` of it; `asked`: for an acknowledgement; `idle`: for how long
  // there had been nothing to send.
  void Sent(uint64_t bytes, bool asked, absl::Duration idle, absl::Time now);
  // The peer has had `bytes` more, in `elapsed`. What was never sent is not believed.
  void Acked(uint64_t bytes, absl::Duration elapsed, absl::Time now);

  // The shortest from sending a frame to its acknowledgement; unset before the first.
  std::optional<absl::Duration> round_trip() const {
    return delay_ == absl::InfiniteDuration() ? std::nullopt : std::optional(delay_);
  }
  uint64_t limit() const { return limit_; }
  uint64_t under_way() const { return sent_ - acked_; }

 private:
  void EndFlight();

  struct Asked {
    uint64_t end = 0;  // of the frame, in all bytes sent
    absl::Time sent;
  };

  uint64_t limit_ = kLeast;
  uint64_t sent_ = 0;     // in all
  uint64_t acked_ = 0;    // in all
  uint64_t unasked_ = 0;  // sent since the last frame that asked
  std::deque<Asked> asked_;
  absl::Duration delay_ = absl::InfiniteDuration();  // the shortest from sending to acknowledgement

  bool wanted_more_ = false;  // since the window changed, or there was nothing to send
  // What arrived without a pause, and in which time. It counts from `burst_from_` on, the end of
  // the frame that was sent first: the time until that had come tells of the pause.
  bool new_burst_ = true;  // with the next frame
  uint64_t burst_from_ = 0;
  uint64_t burst_bytes_ = 0;
  absl::Duration burst_elapsed_;
  absl::Duration burst_idle_;  // of the sender, in pauses too short to end it
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_EXCHANGE_SEND_WINDOW_H_
