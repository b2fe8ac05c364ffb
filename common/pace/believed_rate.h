// How fast one direction of a link is taken to be, from what its receiver says of it time and
// again.
#ifndef ISTHMUS_COMMON_PACE_BELIEVED_RATE_H_
#define ISTHMUS_COMMON_PACE_BELIEVED_RATE_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>

#include "common/run/link_estimate.h"

namespace isthmus {

// What filled the link says its rate; what did not says the least that it is, and takes nothing
// back: a plan that sends little would else make its own link look thin. A link that nothing has
// ever filled is no limit to what is sent. Not thread-safe.
class BelievedRate {
 public:
  void Saw(const LinkEstimate& estimate) {
    if (!(estimate.bytes_per_second > 0)) return;
    if (!estimate.at_least) {
      rate_ = estimate.bytes_per_second;
    } else if (rate_) {
      rate_ = std::max(*rate_, estimate.bytes_per_second);
    } else {
      ++unfilled_;
    }
  }

  // None before enough is known.
  std::optional<double> bytes_per_second() const {
    if (!rate_ && unfilled_ >= kEnough) return std::numeric_limits<double>::infinity();
    return rate_;
  }

 private:
  static constexpr uint32_t kEnough = 8;  // estimates, as heartbeats bring them: one a second

  std::optional<double> rate_;
  uint32_t unfilled_ = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_PACE_BELIEVED_RATE_H_
