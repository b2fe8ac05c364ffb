// `isthmus plan`: what each scheme would cost over the links that one has.
#ifndef ISTHMUS_CLI_PLAN_PLAN_COMMAND_H_
#define ISTHMUS_CLI_PLAN_PLAN_COMMAND_H_

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <iosfwd>
#include <string>
#include <vector>

#include "common/pace/pacer.h"
#include "common/pace/round_cost.h"
#include "common/pace/schemes.h"

namespace isthmus {

// As the command line says it.
struct PlanFlags {
  std::string parameters;
  std::string step;
  std::string links = "10mbit/40ms";
  uint64_t sites = 0;  // 0: as many as links, and two where one is given
  double target = 0.1;
  std::string schemes;  // a file as ParseSchemes() reads it; empty: KnownSchemes()
  bool json = false;
};

struct PlanOptions {
  uint64_t parameters = 0;
  absl::Duration compute;  // of a step
  std::vector<Path> sites;
  double target = 0.1;  // communication ratio
  std::vector<KnownScheme> schemes = KnownSchemes();
};

// INVALID_ARGUMENT naming the flag, what was expected and what it says; NOT_FOUND without the file of
// schemes.
absl::StatusOr<PlanOptions> ParsePlanFlags(const PlanFlags& flags);

// A scheme at the site that it keeps waiting the longest.
struct PlannedScheme {
  KnownScheme scheme;
  Prediction prediction;
  double time = 0;  // to the same loss, in that of the best of them
};

// The best first.
std::vector<PlannedScheme> PlanSchemes(const PlanOptions& options);

// What the pace (common/pace/pacer.h) settles on where a run leaves it the choice.
struct PacedScheme {
  RunSpec run;  // with that format
  Prediction prediction;
  bool target_met = true;
  double time = 0;  // as PlannedScheme has it
};

// Of each scheme that can be paced, with `best` the first of PlanSchemes().
std::vector<PacedScheme> PaceSchemes(const PlanOptions& options, const PlannedScheme& best);

// Prints a table, or JSON. Returns an exit code.
int RunPlan(const PlanFlags& flags, std::ostream& out, std::ostream& errors);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_PLAN_PLAN_COMMAND_H_
