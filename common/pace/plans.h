// The settings between which a run may be paced, and what each would do at sites as they were
// measured. Decides nothing: pacer.h does.
#ifndef ISTHMUS_COMMON_PACE_PLANS_H_
#define ISTHMUS_COMMON_PACE_PLANS_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstddef>
#include <cstdint>
#include <optional>
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
// as far as there are figures for them in `known` (of the run's values, if there are any of those),
// from what crosses most to what crosses least; then those of which some sites send less. The run's
// own format alone where there are no figures. Everything else is as in run.format, the overlap as
// far as there are so many steps.
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
// The same where they send as `format` says, which is one of that plan.
Prediction PredictFormat(const RunSpec& run, const Plan& plan, const RoundFormat& format,
                         uint64_t parameters, const std::vector<PacedSite>& sites);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_PACE_PLANS_H_
