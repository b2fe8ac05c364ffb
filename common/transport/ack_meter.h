// When a receiver of frames acknowledges them, and with what (docs/protocol.md, P24).
#ifndef ISTHMUS_COMMON_TRANSPORT_ACK_METER_H_
#define ISTHMUS_COMMON_TRANSPORT_ACK_METER_H_

#include <absl/time/time.h>

#include <cstdint>
#include <optional>

#include "isthmus/v1/exchange.pb.h"

namespace isthmus {

// Counts what arrives on one stream; for a frame that asks, every 8 frames, or with the first one
// after 100 ms, there is an Ack to send. Thread-compatible.
class AckMeter {
 public:
  explicit AckMeter(absl::Time now) : last_ack_(now) {}

  std::optional<v1::Ack> Add(uint64_t frame_bytes, bool asked, absl::Time now) {
    bytes_ += frame_bytes;
    ++frames_;
    if (!asked && frames_ < kFrames && now - last_ack_ < kInterval) return std::nullopt;
    v1::Ack ack;
    ack.set_bytes(bytes_);
    ack.set_frames(frames_);
    ack.set_elapsed_micros(static_cast<uint64_t>(absl::ToInt64Microseconds(now - last_ack_)));
    bytes_ = 0;
    frames_ = 0;
    last_ack_ = now;
    return ack;
  }

 private:
  static constexpr uint32_t kFrames = 8;
  static constexpr absl::Duration kInterval = absl::Milliseconds(100);
  absl::Time last_ack_;
  uint64_t bytes_ = 0;
  uint32_t frames_ = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_ACK_METER_H_
