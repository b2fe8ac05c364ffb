// The program's flags.
#ifndef ISTHMUS_EXAMPLES_LM_OPTIONS_H_
#define ISTHMUS_EXAMPLES_LM_OPTIONS_H_

#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "examples/lm/isthmus_service.h"
#include "examples/lm/sample.h"
#include "examples/lm/trainer.h"

namespace isthmus::lm {

enum ExitCode {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitUnreachable = 3,
  kExitAborted = 4,
  kExitRefused = 5,
};

struct Options {
  bool local = false;
  IsthmusOptions isthmus;
  TrainerOptions trainer;
  SampleOptions sample;
  std::string own_optimizer;      // "adamw", "muon", or empty: the daemon's
  std::optional<double> muon_lr;  // unset: as MuonOptions has it beside --lr
  std::vector<std::string> text;
  std::string load, save, report, curve;  // paths; empty: not asked for
};

// The options, or the code to exit with: for --help, which goes to `out`, and for mistakes, which
// it explains in `errors`.
struct ParsedOptions {
  std::optional<Options> options;
  int exit_code = kExitDone;
};
ParsedOptions ParseOptions(int argc, const char* const* argv, std::ostream& out,
                           std::ostream& errors);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_OPTIONS_H_
