// `isthmus link`: the forwarder as a program.
#ifndef ISTHMUS_CLI_LINK_LINK_COMMAND_H_
#define ISTHMUS_CLI_LINK_LINK_COMMAND_H_

#include <iosfwd>
#include <string>

#include "cli/base/signals.h"

namespace isthmus {

struct LinkOptions {
  std::string listen = "127.0.0.1:0";
  std::string to;
  std::string link = "10mbit/40ms";
};

// Forwards until a signal asks to end, which is its normal end. Says on `out` where it listens, and
// at the end how many bytes went each way. Returns an exit code.
int RunLink(const LinkOptions& options, Signals& signals, std::ostream& out, std::ostream& errors);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_LINK_LINK_COMMAND_H_
