// What the exit code of `isthmus` says; documented in its --help.
#ifndef ISTHMUS_CLI_BASE_EXIT_CODES_H_
#define ISTHMUS_CLI_BASE_EXIT_CODES_H_

namespace isthmus {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,
  kExitUsage = 2,
  kExitUnreachable = 3,
  kExitHashesDiffer = 4,
  kExitInterrupted = 130,  // SIGINT
  kExitTerminated = 143,   // SIGTERM
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_BASE_EXIT_CODES_H_
