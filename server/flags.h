// The command line of isthmus-coordinator.
#ifndef ISTHMUS_SERVER_FLAGS_H_
#define ISTHMUS_SERVER_FLAGS_H_

#include <iosfwd>
#include <string>
#include <variant>

#include "server/rpc/coordinator_server.h"

namespace isthmus {

struct CoordinatorFlags {
  CoordinatorServer::Options server;  // all but the run's instance
  std::string port_file;              // empty: none
  std::string log_level;
};

// What to run; or the exit code, when there is nothing to run: 0 after --help, which goes to `out`,
// 2 after a flag that cannot be, which `errors` has been told. Reads the files that
// --schedule and --schemes name, and touches nothing else.
std::variant<CoordinatorFlags, int> ParseCoordinatorFlags(int argc, const char* const* argv,
                                                          std::ostream& out, std::ostream& errors);

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_FLAGS_H_
