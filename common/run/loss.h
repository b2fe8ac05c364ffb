// The mean of losses, weighted by the samples behind each.
#ifndef ISTHMUS_COMMON_RUN_LOSS_H_
#define ISTHMUS_COMMON_RUN_LOSS_H_

#include <cmath>
#include <cstdint>
#include <limits>

namespace isthmus {

// Of a group's ranks, or of an update's contributors. A loss that is no number (NaN or Inf) would
// make the mean one, too: it is left out, and counted. If nobody says how many samples there were,
// all weigh the same. Summed in double in the order of Add(): who adds in the same order gets the
// same bits. Thread-compatible.
class WeightedLoss {
 public:
  void Add(float loss, uint64_t samples) {
    if (!std::isfinite(loss)) {
      ++left_out_;
      return;
    }
    ++count_;
    samples_ += static_cast<double>(samples);
    weighted_ += static_cast<double>(loss) * static_cast<double>(samples);
    plain_ += static_cast<double>(loss);
  }
  // NaN when every loss was left out, or there was none.
  float Mean() const {
    if (count_ == 0) return std::numeric_limits<float>::quiet_NaN();
    return static_cast<float>(samples_ > 0 ? weighted_ / samples_ : plain_ / count_);
  }
  uint32_t left_out() const { return left_out_; }

 private:
  uint32_t count_ = 0;
  uint32_t left_out_ = 0;
  double samples_ = 0;
  double weighted_ = 0;
  double plain_ = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_RUN_LOSS_H_
