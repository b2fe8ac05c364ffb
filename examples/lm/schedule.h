// The learning rate of a round: linear warm-up, then half a cosine down to a final fraction.
#ifndef ISTHMUS_EXAMPLES_LM_SCHEDULE_H_
#define ISTHMUS_EXAMPLES_LM_SCHEDULE_H_

#include <cmath>
#include <cstdint>
#include <numbers>

namespace isthmus::lm {

struct Schedule {
  double peak = 2e-3;
  uint64_t warmup = 20;         // rounds
  double final_fraction = 0.1;  // of the peak, reached in the last round
  uint64_t rounds = 0;          // 0: no end, so no decay either
};

// `round` counts from 0 and is the run's, not the process's: a restarted job continues in place.
inline float LearningRate(const Schedule& schedule, uint64_t round) {
  if (round < schedule.warmup) {
    return static_cast<float>(schedule.peak * static_cast<double>(round + 1) /
                              static_cast<double>(schedule.warmup));
  }
  if (schedule.rounds <= schedule.warmup + 1) return static_cast<float>(schedule.peak);
  const double decay_rounds = static_cast<double>(schedule.rounds - 1 - schedule.warmup);
  const double progress =
      std::fmin(static_cast<double>(round - schedule.warmup) / decay_rounds, 1.0);
  const double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return static_cast<float>(schedule.peak *
                            (schedule.final_fraction + (1.0 - schedule.final_fraction) * cosine));
}

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_SCHEDULE_H_
