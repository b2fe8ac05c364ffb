// `isthmus rehearse`: a whole deployment on one host, with the real programs.
#ifndef ISTHMUS_CLI_REHEARSE_REHEARSE_H_
#define ISTHMUS_CLI_REHEARSE_REHEARSE_H_

#include <iosfwd>

#include "cli/base/signals.h"
#include "cli/rehearse/options.h"

namespace isthmus {

// Runs what `options` ask for. The summary goes to `out`; progress, redrawn in place if `terminal`,
// and errors go to `progress`. Returns an exit code (cli/base/exit_codes.h, or 128 + the signal
// that asked to end). No child is left when it returns.
int RunRehearse(const RehearseOptions& options, Signals& signals, bool terminal, std::ostream& out,
                std::ostream& progress);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_REHEARSE_REHEARSE_H_
