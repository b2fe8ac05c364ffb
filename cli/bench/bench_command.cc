#include "cli/bench/bench_command.h"

#include <ostream>

#include "cli/base/exit_codes.h"
#include "common/kernels/simd.h"
#include "common/program/output_file.h"

namespace isthmus {

int RunBench(const BenchCommandOptions& options, std::ostream& out, std::ostream& err) {
  if (const absl::Status status = CheckSimdChoice(); !status.ok()) {
    err << "isthmus bench: " << status.message() << std::endl;
    return kExitUsage;
  }
  // Asked before minutes are spent on what could not be written.
  if (const absl::Status status = CheckOutputFile(options.json);
      !options.json.empty() && !status.ok()) {
    err << "isthmus bench: --json: " << status.message() << std::endl;
    return kExitUsage;
  }
  const auto figures =
      MeasureFigures({.parameters = static_cast<uint64_t>(options.mebi_parameters) << 20,
                      .repeats = options.repeats},
                     [&](const std::string& what) { err << "measuring " << what << std::endl; });
  out << FiguresTable(figures);
  if (options.json.empty()) return kExitOk;
  const absl::Status written = WriteOutputFile(options.json, FiguresJson(figures));
  if (written.ok()) return kExitOk;
  err << "isthmus bench: " << written.message() << std::endl;
  return kExitFailure;
}

}  // namespace isthmus
