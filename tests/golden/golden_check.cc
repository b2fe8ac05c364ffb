// golden_check [DIR]: replays recorded runs of the public implementations (README.md).
#include <iostream>
#include <string_view>

#include "tests/golden/golden_directory.h"

namespace {

constexpr std::string_view kUsage =
    "usage: golden_check [DIR]\n"
    "Replays the recorded cases in DIR (default: those of the source tree) through the codec,\n"
    "the payloads, the merge and the optimizer that the daemons link, and compares the results.\n"
    "Exit status: 0 all pass, 1 a case failed, 2 wrong usage or no cases in DIR.\n";

}  // namespace

int main(int argc, char** argv) {
  const std::string_view argument = argc == 2 ? argv[1] : "";
  if (argument == "--help" || argument == "-h") {
    std::cout << kUsage;
    return 0;
  }
  if (argc > 2 || argument.starts_with("-")) {
    std::cerr << kUsage;
    return 2;
  }
  const std::string_view directory = argument.empty() ? ISTHMUS_GOLDEN_DIR : argument;
  const isthmus::GoldenCounts counts = isthmus::CheckGoldenDirectory(directory, std::cout);
  std::cout << counts.passed << " passed, " << counts.failed << " failed, " << counts.skipped
            << " skipped\n";
  if (counts.passed + counts.failed + counts.skipped == 0) {
    std::cerr << "no cases in " << directory << "\n";
    return 2;
  }
  return counts.failed == 0 ? 0 : 1;
}
