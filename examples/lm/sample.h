// Text written by a model, byte by byte.
#ifndef ISTHMUS_EXAMPLES_LM_SAMPLE_H_
#define ISTHMUS_EXAMPLES_LM_SAMPLE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "examples/lm/model.h"

namespace isthmus::lm {

struct SampleOptions {
  int bytes = 0;
  std::string prompt = "\n";  // empty reads as a line's end: a model needs a byte to start from
  double temperature = 0.8;   // 0: always the likeliest byte
  uint64_t seed = 1;
};

// What follows the prompt, `options.bytes` bytes of it. `model` is bound.
std::string Sample(const SampleOptions& options, Model<float>* model);

// For a terminal: bytes other than printable ASCII, tabs and newlines as \xNN.
std::string Printable(std::string_view text);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_SAMPLE_H_
