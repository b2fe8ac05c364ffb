// Frames that fill a link and carry nothing, behind everything else that a stream has to send
// (docs/protocol.md, P24b).
#ifndef ISTHMUS_COMMON_TRANSPORT_PROBE_LANE_H_
#define ISTHMUS_COMMON_TRANSPORT_PROBE_LANE_H_

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <atomic>
#include <string>

#include "common/base/clock.h"
#include "common/exchange/link_probe.h"
#include "common/exchange/pump.h"
#include "common/run/update.h"
#include "common/transport/frame_order.h"

namespace isthmus {

// What of them a receiver takes. Ask() may be called by another thread than Take().
class ProbeBounds {
 public:
  void Ask() { left_ = LinkProbe::kMostBytes; }
  // A frame of so much has come. INVALID_ARGUMENT for more than a frame holds, or than was asked
  // for.
  absl::Status Take(uint64_t bytes) {
    const uint64_t most = std::min<uint64_t>(kFrameBytes, left_);
    if (bytes > most) {
      return absl::InvalidArgumentError(
          absl::StrCat("probe: expected at most ", most, " bytes, got ", bytes));
    }
    left_ -= bytes;
    return absl::OkStatus();
  }

 private:
  std::atomic<uint64_t> left_ = 0;
};

// Of the pump, under its lock: the last of its lanes. `Message` has a ProbeFrame.
template <typename Message>
class ProbeLane : public FrameLane<Message> {
 public:
  explicit ProbeLane(const Clock& clock = Clock::Real()) : clock_(clock) {}

  void Begin() { probe_.Begin(clock_.Now()); }

  absl::StatusOr<bool> Next(const FrameOrder& order, Message* message) override {
    const uint64_t bytes = probe_.Take(order.most_bytes, clock_.Now());
    if (bytes == 0) return false;
    message->mutable_probe()->set_data(std::string(bytes, '\0'));
    Fill(order, message->mutable_probe());
    return true;
  }
  absl::StatusOr<bool> Wait() override { return probe_.active(clock_.Now()); }

 private:
  const Clock& clock_;
  LinkProbe probe_;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_PROBE_LANE_H_
