// `isthmus probe`: what the path to a coordinator carries, through the channel that a worker uses.
#ifndef ISTHMUS_CLI_PROBE_PROBE_COMMAND_H_
#define ISTHMUS_CLI_PROBE_PROBE_COMMAND_H_

#include <iosfwd>
#include <string>

#include "cli/base/signals.h"
#include "cli/plan/plan_command.h"

namespace isthmus {

struct ProbeOptions {
  std::string coordinator;
  bool json = false;
  // What the path is for: with `plan.parameters` and `plan.step`, what each scheme would cost over
  // links like it follows. Links and json of it do not count.
  PlanFlags plan;
};

// Measures for some seconds and prints to `out`; errors go to `errors`. Returns an exit code; 128 +
// the signal if one came before the end.
int RunProbe(const ProbeOptions& options, Signals& signals, std::ostream& out,
             std::ostream& errors);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_PROBE_PROBE_COMMAND_H_
