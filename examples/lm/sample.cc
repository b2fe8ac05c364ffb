#include "examples/lm/sample.h"

#include <algorithm>
#include <array>
#include <vector>

#include "absl/strings/str_format.h"
#include "examples/lm/random.h"
#include "examples/lm/vector_math.h"

namespace isthmus::lm {
namespace {

// The symbol at `point` in [0, 1) of the distribution exp(logits / temperature).
int Choose(const float* logits, double temperature, double point) {
  if (temperature <= 0) {
    return static_cast<int>(std::max_element(logits, logits + kSymbols) - logits);
  }
  std::array<double, kSymbols> probability;
  for (int i = 0; i < kSymbols; ++i) probability[i] = logits[i] / temperature;
  Softmax(probability.data(), kSymbols);
  for (int i = 0; i < kSymbols; ++i) {
    point -= probability[i];
    if (point < 0) return i;
  }
  return kSymbols - 1;
}

}  // namespace

std::string Sample(const SampleOptions& options, Model<float>* model) {
  const CounterRng rng({options.seed, 0x73616d706c65});  // apart from the seed's other streams
  std::vector<uint8_t> text(options.prompt.begin(), options.prompt.end());
  if (text.empty()) text.push_back('\n');
  const size_t prompt_bytes = text.size();
  const size_t context = model->config().context;
  for (int i = 0; i < options.bytes; ++i) {
    const size_t window = std::min(text.size(), context);
    const float* logits = model->NextLogits({text.data() + text.size() - window, window});
    text.push_back(static_cast<uint8_t>(Choose(logits, options.temperature, rng.Uniform(i))));
  }
  return std::string(text.begin() + prompt_bytes, text.end());
}

std::string Printable(std::string_view text) {
  std::string printable;
  for (char c : text) {
    if ((c >= ' ' && c <= '~') || c == '\n' || c == '\t') {
      printable.push_back(c);
    } else {
      absl::StrAppendFormat(&printable, "\\x%02x", static_cast<uint8_t>(c));
    }
  }
  return printable;
}

}  // namespace isthmus::lm
