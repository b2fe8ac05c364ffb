// For how long a contribution and the updates that answer it are on the wire.
#ifndef ISTHMUS_WORKER_RPC_EXCHANGE_TIMES_H_
#define ISTHMUS_WORKER_RPC_EXCHANGE_TIMES_H_

#include <absl/time/time.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <vector>

#include "common/base/ids.h"

namespace isthmus {

// From handing the first frame of a contribution to the stream until the last update of its round
// has been read: what the link and the others take, and nothing of this worker's own work but what
// its buckets do meanwhile. Of one stream. Thread-compatible.
class ExchangeTimes {
 public:
  // A frame of a contribution to `round` is handed over.
  void Sent(Round round, absl::Time now) {
    if (open_ && round <= open_->round) return;
    End();
    open_ = {round, now, std::nullopt};
  }
  // An update of `round` has come whole.
  void Got(Round round, absl::Time now) {
    if (open_ && round == open_->round) open_->last = now;
  }
  // Of the last rounds, of which the next has begun; zero before the first of them is over.
  absl::Duration Median() const {
    if (took_.empty()) return absl::ZeroDuration();
    std::vector<absl::Duration> took(took_.begin(), took_.end());
    const auto middle = took.begin() + static_cast<std::ptrdiff_t>(took.size() / 2);
    std::nth_element(took.begin(), middle, took.end());
    return *middle;
  }

 private:
  static constexpr size_t kKept = 50;
  struct Open {
    Round round;
    absl::Time first;
    std::optional<absl::Time> last;
  };
  void End() {
    if (!open_ || !open_->last) return;
    took_.push_back(*open_->last - open_->first);
    if (took_.size() > kKept) took_.pop_front();
  }

  std::optional<Open> open_;
  std::deque<absl::Duration> took_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_RPC_EXCHANGE_TIMES_H_
