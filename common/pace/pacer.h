// Which of a run's plans its next round should have, by what its links and its jobs have been
// measured to do. Decides, and touches nothing: whoever asks says what was measured, and applies
// what comes of it.
#ifndef ISTHMUS_COMMON_PACE_PACER_H_
#define ISTHMUS_COMMON_PACE_PACER_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/pace/round_cost.h"
#include "common/pace/schemes.h"
#include "common/run/round_format.h"
#include "common/run/run_spec.h"

namespace isthmus {

// One setting of the dials that a run leaves to the pace.
struct Plan {
  RoundFormat format;
  double steps = 1;  // to the same loss, as KnownScheme has it
  // Sites that would hold the others up send this instead; the steps, if all did.
  std::optional<GroupFormat> less;
  double less_steps = 1;
};

// INVALID_ARGUMENT for a run that leaves the pace nothing to choose, saying why.
absl::Status CheckPaced(const RunSpec& run, const std::vector<KnownScheme>& known = KnownSchemes());

// What `run` may be paced between: of FlexDeMo the chunk size and k, of local steps their number,
// as far as there are figures for them in `known`, from what crosses most to what crosses least;
// then those of which some sites send less. The run's own format alone where there are no figures.
// Everything else is as in run.format, the overlap as far as there are so many steps.
std::vector<Plan> PlansOf(const RunSpec& run,
                          const std::vector<KnownScheme>& known = KnownSchemes());

// Which of them has that format; one that none has is put before them, as one that takes as long as
// the longest: it is left for whatever is better. CHECKs that there is one.
size_t PlanOf(const RoundFormat& format, std::vector<Plan>& plans);

// A site as it was measured.
struct PacedSite {
  GroupId group;
  Path path;
  absl::Duration compute;  // of a step of its job, without waiting for others; 0: not known yet
  bool measured = true;    // path is; false: nothing is known of it yet
  bool late = false;       // it sends, and yet others had to go on without what it sent
  // For how long its job waited for the link in an exchange of the present plan, and the first
  // round that this is of.
  std::optional<absl::Duration> waited;
  Round waited_since;
};

// What a plan would do at given sites.
struct Prediction {
  RoundFormat format;
  RoundBytes bytes;         // by site, in their order
  absl::Duration exchange;  // at the site that waits longest
  StepCost cost;            // of the slowest job
  absl::Duration time;      // to a loss: of a step, times the steps of what sites send
};

// All sites contribute to every exchange. Where samples or time say when that is, it is taken for
// every step. Who sends less, of a plan that has that: the late, and those that would take longer
// for what the others send than the slowest takes for less; who sends less in `present` until it
// would take a fifth less than that. If it were all, nobody does.
Prediction Predict(const RunSpec& run, const Plan& plan, uint64_t parameters,
                   const std::vector<PacedSite>& sites, const RoundFormat* present = nullptr);

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
    double worth = 0.05;  // of the time to a loss
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
