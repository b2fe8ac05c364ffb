// How much to send merely to fill a link, so that both ends know what it carries before that
// matters (docs/protocol.md, P24b).
#ifndef ISTHMUS_COMMON_EXCHANGE_LINK_PROBE_H_
#define ISTHMUS_COMMON_EXCHANGE_LINK_PROBE_H_

#include <absl/time/time.h>

#include <algorithm>
#include <cstdint>

namespace isthmus {

// For two seconds, and 4 MiB at most. A link that is filled for so long has its rate in its receiver's
// LinkMeter, and its congestion control past its first phase, in which BBR sends bursts that thin
// links' queues do not hold. Thread-compatible.
class LinkProbe {
 public:
  static constexpr absl::Duration kFor = absl::Seconds(2);
  static constexpr uint64_t kMostBytes = 4 << 20;

  void Begin(absl::Time now) {
    until_ = now + kFor;
    left_ = kMostBytes;
  }
  bool active(absl::Time now) const { return left_ > 0 && now < until_; }
  // Bytes of the next frame, `most` at most; 0: no more.
  uint64_t Take(uint64_t most, absl::Time now) {
    if (!active(now)) return 0;
    const uint64_t bytes = std::min(most, left_);
    left_ -= bytes;
    return bytes;
  }

 private:
  absl::Time until_ = absl::InfinitePast();
  uint64_t left_ = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_EXCHANGE_LINK_PROBE_H_
