#include "cli/bench/bench_command.h"

#include <fstream>
#include <ostream>

#include "cli/base/exit_codes.h"
#include "common/kernels/simd.h"

namespace isthmus {

int RunBench(const BenchCommandOptions& options, std::ostream& out, std::ostream& err) {
  if (const absl::Status status = CheckSimdChoice(); !status.ok()) {
    err << "isthmus bench: " << status.message() << std::endl;
    return kExitUsage;
  }
  const auto figures =
      MeasureFigures({.parameters = static_cast<uint64_t>(options.mebi_parameters) << 20,
                      .repeats = options.repeats},
                     [&](const std::string& what) { err << "measuring " << what << std::endl; });
  out << FiguresTable(figures);
  if (options.json.empty()) return kExitOk;
  std::ofstream file(options.json);
  file << FiguresJson(figures);
  file.flush();
  if (file.good()) return kExitOk;
  err << "isthmus bench: cannot write " << options.json << std::endl;
  return kExitFailure;
}

}  // namespace isthmus
