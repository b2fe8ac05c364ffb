// Which of a run's plans its next round should have, by what its links and its jobs have been
// measured to do. Decides, and touches nothing: whoever asks says what was measured, and applies
// what comes of it.
#ifndef ISTHMUS_COMMON_PACE_PACER_H_
#define ISTHMUS_COMMON_PACE_PACER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "common/pace/plans.h"

namespace isthmus {

struct BestPlan {
  size_t plan = 0;
  bool target_met = true;  // false: no plan has so low a communication ratio
};
// Which of the plans, one at least, comes to a loss soonest among those whose communication ratio
// is within `target`; where none is, soonest of all. Plan `kept` may be beyond it by `slack`.
BestPlan BestOf(const std::vector<Prediction>& predictions, double target,
                std::optional<size_t> kept = std::nullopt, double slack = 0);

enum class PaceReason : uint8_t {
  kUnmeasured,  // kept: a site has not been measured yet, or nothing passes its link
  kFrozen,      // kept: it was said so
  kBest,        // kept: none is better
  kNotWorthIt,  // kept: one is, by too little
  kTooSoon,     // kept: one is, but the last change was just now
  kRatio,       // changed: the one before waited for links too much
  kTime,        // changed: it comes to a loss sooner
  kLate,        // changed: what a site sent came too late; it sends less
  kScheduled    // changed: it was said beforehand, and nothing was measured
};
const char* Name(PaceReason reason);

struct PaceDecision {
  size_t plan = 0;  // of the plans, for the next round
  RoundFormat format;
  bool changed = false;
  PaceReason reason = PaceReason::kUnmeasured;
  bool target_met = true;               // as BestPlan has it
  std::optional<Prediction> expected;   // of that format; none while unmeasured
  std::vector<Prediction> predictions;  // of every plan, as it would be now
};

// Keeps to the best plan, and is not led astray by noise: a plan is kept until its ratio is `slack`
// beyond the target or another comes to the loss sooner by `worth`; after a change it is kept for
// `dwell` rounds, twice as many each time that a change goes back to a plan that was left, until
// sites are so different that what was learned there is of no use. Not thread-safe.
class Pacer {
 public:
  struct Options {
    double target = 0.10;  // communication ratio (P26)
    double slack = 0.03;
    double worth = 0.05;           // of the time to a loss
    double worth_of_sites = 0.01;  // where all that changes is who sends less
    uint32_t dwell =
        4;  // rounds; twice as many, until it is known what the new plan makes jobs wait
    uint32_t longest_dwell = 256;
    double other_sites = 1.5;  // the exchange takes so many times as long, or as short
  };
  // `run` as Validate() accepts it, `parameters` of the model; begins with `present`, whether one
  // of `plans` has that or not. There is one at least.
  Pacer(RunSpec run, std::vector<Plan> plans, const RoundFormat& present, uint64_t parameters,
        Options options);

  // Once for each round. `measured`: who takes part. A link is taken to be as fast as it was
  // measured, or as jobs' waiting shows it to be: a plan that sends little may never fill it.
  PaceDecision Decide(const std::vector<PacedSite>& measured);

  const std::vector<Plan>& plans() const { return plans_; }

  // Keeps whatever there is until it is thawed.
  void Freeze(bool frozen) { frozen_ = frozen; }

 private:
  Prediction PredictPresent(const std::vector<PacedSite>& sites) const;
  std::vector<PacedSite> AsFastAsTheyAre(const std::vector<PacedSite>& sites) const;
  PaceReason WhyNot(const Prediction& now, const Prediction& then) const;
  // Which plan has the late send less, soonest; none if none has.
  std::optional<size_t> LessOfTheLate(const std::vector<PacedSite>& sites, const Prediction& now,
                                      const std::vector<Prediction>& predictions) const;
  void Change(size_t to, const RoundFormat& format);

  const RunSpec run_;
  std::vector<Plan> plans_;
  const uint64_t parameters_;
  const Options options_;
  bool frozen_ = false;
  size_t plan_;
  RoundFormat present_;        // of that plan
  std::set<size_t> before_;    // plans that were left, at sites that were not very different
  uint32_t since_change_ = 0;  // rounds
  uint32_t dwell_ = 0;         // none before the first change
  bool waits_told_ = false;    // jobs say for how long they wait
  bool waits_known_ = false;   // it is, of the present plan
  absl::Duration at_change_;   // what an exchange of plans_[0] would have taken at the last change
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_PACE_PACER_H_
