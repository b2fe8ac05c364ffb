// Where a step's time goes (docs/protocol.md, P26): medians over the last steps, for status.
#ifndef ISTHMUS_WORKER_DAEMON_STEP_TIMES_H_
#define ISTHMUS_WORKER_DAEMON_STEP_TIMES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace isthmus {

// One step, or the steps of a job up to an exchange, in seconds.
struct StepTime {
  uint64_t round = 0;  // that was exchanged
  double steps = 1;    // so many
  double step = 0;     // from the end of the step before to the end of this one
  double blocked = 0;  // from begin to end: the job waits
  double local = 0;    // of that: reduce-scatter, compress, apply, all-gather
  double peer_wait = 0;
  double link_wait() const { return std::max(0.0, blocked - local - peer_wait); }
  double compute() const { return step - blocked + local; }
};

// Thread-compatible.
class StepTimes {
 public:
  void Add(StepTime time) {
    times_.push_back(time);
    if (times_.size() > kKept) times_.pop_front();
  }
  bool empty() const { return times_.empty(); }
  template <typename F>
  double Median(F of) const {
    if (times_.empty()) return 0;
    std::vector<double> values;
    for (const StepTime& time : times_) values.push_back(of(time));
    std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
    return values[values.size() / 2];
  }
  // Of the last few exchanges: how long the job waited for the link, their median, and the first of
  // them. 0 before there are so many.
  struct Waited {
    double seconds = 0;
    uint64_t since = 0;
  };
  Waited Lately() const {
    if (times_.size() < size_t{kLately}) return {};
    std::vector<double> waits;
    for (auto at = times_.end() - kLately; at != times_.end(); ++at) {
      waits.push_back(at->link_wait());
    }
    std::nth_element(waits.begin(), waits.begin() + kLately / 2, waits.end());
    return {waits[kLately / 2], (times_.end() - kLately)->round};
  }
  // Link wait over step time.
  double Ratio() const {
    double link = 0, step = 0;
    for (const StepTime& time : times_) {
      link += time.link_wait();
      step += time.step;
    }
    return step > 0 ? link / step : 0;
  }

 private:
  static constexpr size_t kKept = 50;
  static constexpr std::ptrdiff_t kLately = 3;
  std::deque<StepTime> times_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_DAEMON_STEP_TIMES_H_
