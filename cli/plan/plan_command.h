// `isthmus plan`: what each scheme would cost over the links that one has.
#ifndef ISTHMUS_CLI_PLAN_PLAN_COMMAND_H_
#define ISTHMUS_CLI_PLAN_PLAN_COMMAND_H_

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <iosfwd>
#include <string>
#include <vector>

#include "common/pace/round_cost.h"
#include "common/pace/schemes.h"

namespace isthmus {

// As the command line says it.
struct PlanFlags {
  std::string parameters;
  std::string step;
  std::string links = "10mbit/40ms";
  uint64_t sites = 0;  // 0: as many as links, and two where one is given
  bool json = false;
};

struct PlanOptions {
  uint64_t parameters = 0;
  absl::Duration compute;  // of a step
  std::vector<Path> sites;
};

// INVALID_ARGUMENT naming the flag, what was expected and what it says.
absl::StatusOr<PlanOptions> ParsePlanFlags(const PlanFlags& flags);

// A scheme at the site that it keeps waiting the longest.
struct PlannedScheme {
  KnownScheme scheme;
  RoundBytes bytes;
  absl::Duration exchange;
  StepCost cost;
  double time = 0;  // to the same loss, in that of the best of them
};

// The best first.
std::vector<PlannedScheme> PlanSchemes(const PlanOptions& options);

// Prints a table, or JSON. Returns an exit code.
int RunPlan(const PlanFlags& flags, std::ostream& out, std::ostream& errors);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_PLAN_PLAN_COMMAND_H_
