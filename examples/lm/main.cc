#include <iostream>

#include "examples/lm/job.h"
#include "examples/lm/options.h"
#include "examples/lm/stop_signal.h"

int main(int argc, char** argv) {
  isthmus::lm::ObeyStopSignals();
  const isthmus::lm::ParsedOptions parsed =
      isthmus::lm::ParseOptions(argc, argv, std::cout, std::cerr);
  return parsed.options.has_value() ? isthmus::lm::RunJob(*parsed.options) : parsed.exit_code;
}
