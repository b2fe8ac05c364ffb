#include "examples/lm/job.h"
#include "examples/lm/options.h"

int main(int argc, char** argv) {
  const isthmus::lm::ParsedOptions parsed = isthmus::lm::ParseOptions(argc, argv);
  return parsed.options.has_value() ? isthmus::lm::RunJob(*parsed.options) : parsed.exit_code;
}
