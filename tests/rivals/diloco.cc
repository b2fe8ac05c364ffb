#include "tests/rivals/diloco.h"

#include <algorithm>

namespace isthmus::rivals {

Diloco::Diloco(const DilocoOptions& options, const std::vector<lm::TensorSpec>& tensors,
               const std::vector<float*>& initial)
    : options_(options) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto size = static_cast<size_t>(tensors[i].size());
    tensors_.push_back({.global = std::vector<float>(initial[i], initial[i] + size),
                        .momentum = std::vector<float>(size)});
  }
}

void Diloco::Round(const PerSite& parameters) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    std::vector<float>& global = tensors_[i].global;
    std::vector<float>& momentum = tensors_[i].momentum;
    AverageTensor(parameters, i, static_cast<int64_t>(global.size()));
    for (size_t j = 0; j < global.size(); ++j) {
      const float gradient = global[j] - parameters[0][i][j];
      momentum[j] = options_.outer_momentum * momentum[j] + gradient;
      global[j] -= options_.outer_lr * (gradient + options_.outer_momentum * momentum[j]);
    }
    for (const std::vector<float*>& site : parameters) {
      std::copy(global.begin(), global.end(), site[i]);
    }
  }
}

}  // namespace isthmus::rivals
