// `isthmus status`.
#ifndef ISTHMUS_CLI_STATUS_STATUS_COMMAND_H_
#define ISTHMUS_CLI_STATUS_STATUS_COMMAND_H_

#include <iosfwd>
#include <string>

#include "cli/base/signals.h"

namespace isthmus {

struct StatusOptions {
  std::string coordinator = "127.0.0.1:29750";
  bool json = false;
  double watch_seconds = 0;  // 0: once
};

// Asks and prints to `out`; with watch_seconds, again and again until a signal asks to end, which
// is no failure, nor is a coordinator that does not answer for a while. `terminal` lets it redraw
// in place. Errors go to `errors`. Returns an exit code; 128 + the signal if one came before the
// answer.
int RunStatus(const StatusOptions& options, Signals& signals, bool terminal, std::ostream& out,
              std::ostream& errors);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_STATUS_STATUS_COMMAND_H_
