// `isthmus bench`.
#ifndef ISTHMUS_CLI_BENCH_BENCH_COMMAND_H_
#define ISTHMUS_CLI_BENCH_BENCH_COMMAND_H_

#include <iosfwd>
#include <string>

#include "cli/bench/figures.h"

namespace isthmus {

struct BenchCommandOptions {
  int mebi_parameters = 16;
  int repeats = 9;
  std::string json;  // a file; empty: none
};

// Measures, prints the table to `out` and progress to `err`. Returns the program's exit code: a
// missed limit is a figure, not a failure.
int RunBench(const BenchCommandOptions& options, std::ostream& out, std::ostream& err);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_BENCH_BENCH_COMMAND_H_
