// What a frame of a stream says beside what it carries (docs/protocol.md, P24).
#ifndef ISTHMUS_COMMON_TRANSPORT_FRAME_ORDER_H_
#define ISTHMUS_COMMON_TRANSPORT_FRAME_ORDER_H_

#include <absl/time/time.h>

#include <algorithm>
#include <cstdint>

#include "common/exchange/pump.h"

namespace isthmus {

// Longer than any run of a LinkMeter, and short on the wire.
inline constexpr absl::Duration kLongestIdle = absl::Seconds(1);

template <typename Frame>
void Fill(const FrameOrder& order, Frame* frame) {
  frame->set_ack(order.ask);
  frame->set_idle_micros(
      static_cast<uint32_t>(absl::ToInt64Microseconds(std::min(order.idle, kLongestIdle))));
}

template <typename Frame>
absl::Duration IdleBefore(const Frame& frame) {
  return absl::Microseconds(frame.idle_micros());
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_FRAME_ORDER_H_
