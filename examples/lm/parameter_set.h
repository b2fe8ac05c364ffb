// Tensors in memory of our own: initial values, a saved model, the local optimizer's state.
#ifndef ISTHMUS_EXAMPLES_LM_PARAMETER_SET_H_
#define ISTHMUS_EXAMPLES_LM_PARAMETER_SET_H_

#include <cstdint>
#include <vector>

#include "examples/lm/random.h"
#include "examples/lm/tensors.h"

namespace isthmus::lm {

template <typename T>
class ParameterSet {
 public:
  // All zero.
  explicit ParameterSet(const std::vector<TensorSpec>& tensors) : flat_(TotalSize(tensors)) {
    T* at = flat_.data();
    for (const TensorSpec& tensor : tensors) {
      pointers_.push_back(at);
      at += tensor.size();
    }
  }
  // Its pointers point into itself.
  ParameterSet(const ParameterSet&) = delete;
  ParameterSet& operator=(const ParameterSet&) = delete;
  ParameterSet(ParameterSet&&) = default;
  ParameterSet& operator=(ParameterSet&&) = default;

  // One per tensor, and all of them end to end without padding.
  const std::vector<T*>& pointers() const { return pointers_; }
  std::vector<T>& flat() { return flat_; }
  const std::vector<T>& flat() const { return flat_; }

 private:
  std::vector<T> flat_;
  std::vector<T*> pointers_;
};

// How wide the initial weights are. GPT-2's 0.02 is for a width of 768; at the default 128, wider
// weights learn much faster (README.md).
inline constexpr double kInitialDeviation = 0.06;

// The values that training starts from: a function of the seed and the config alone.
template <typename T>
ParameterSet<T> InitialParameters(const ModelConfig& config, uint64_t seed,
                                  double deviation = kInitialDeviation) {
  const std::vector<TensorSpec> tensors = ModelTensors(config);
  ParameterSet<T> parameters(tensors);
  for (size_t i = 0; i < tensors.size(); ++i) {
    double scale = deviation;
    if (tensors[i].initialisation == Initialisation::kPosition) scale *= 0.5;
    if (tensors[i].initialisation == Initialisation::kProjection) {
      scale /= std::sqrt(2.0 * config.layers);
    }
    const CounterRng rng({seed, i});
    T* values = parameters.pointers()[i];
    for (int64_t j = 0; j < tensors[i].size(); ++j) {
      switch (tensors[i].initialisation) {
        case Initialisation::kZero:
          break;
        case Initialisation::kOne:
          values[j] = 1;
          break;
        default:
          values[j] = static_cast<T>(scale * rng.Normal(j));
      }
    }
  }
  return parameters;
}

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_PARAMETER_SET_H_
