// `isthmus pace`: has a run's pace keep what there is, or go on.
#ifndef ISTHMUS_CLI_STATUS_PACE_COMMAND_H_
#define ISTHMUS_CLI_STATUS_PACE_COMMAND_H_

#include <iosfwd>
#include <string>

#include "cli/base/signals.h"

namespace isthmus {

struct PaceOptions {
  std::string coordinator = "127.0.0.1:29750";
  bool freeze = false;
  bool thaw = false;  // one of the two
};

// Tells the coordinator, and says so in one line on `out`. Errors go to `errors`. Returns an exit
// code: 1 for a run that is not paced; 128 + the signal if one came before the answer.
int RunPace(const PaceOptions& options, Signals& signals, std::ostream& out, std::ostream& errors);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_STATUS_PACE_COMMAND_H_
