#include "common/optimizer/optimizer.h"

#include <cmath>

#include "common/base/check.h"

namespace isthmus {
namespace {

void ApplySgd(const OptimizerScalars& scalars, std::span<const float> direction,
              std::span<float> parameters) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    parameters[i] = scalars.decay * parameters[i] - scalars.lr * direction[i];
  }
}

void ApplySgdMomentum(const OptimizerSpec& spec, const OptimizerScalars& scalars,
                      std::span<const float> direction, std::span<float> parameters,
                      std::span<float> buffer) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    buffer[i] = scalars.first ? direction[i] : spec.momentum * buffer[i] + direction[i];
    parameters[i] = scalars.decay * parameters[i] - scalars.lr * buffer[i];
  }
}

void ApplyAdamW(const OptimizerSpec& spec, const OptimizerScalars& scalars,
                std::span<const float> direction, std::span<float> parameters,
                std::span<float> mean, std::span<float> square) {
  const float rest1 = 1.0f - spec.beta1;
  const float rest2 = 1.0f - spec.beta2;
  const float step = scalars.lr / scalars.bias1;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const float u = direction[i];
    mean[i] = spec.beta1 * mean[i] + rest1 * u;
    square[i] = spec.beta2 * square[i] + rest2 * (u * u);
    const float scale = std::sqrt(square[i]) / scalars.bias2_sqrt + spec.epsilon;
    parameters[i] = scalars.decay * parameters[i] - step * (mean[i] / scale);
  }
}

}  // namespace

int OptimizerStateVectors(const OptimizerSpec& spec) {
  if (spec.kind == OptimizerKind::kAdamW) return 2;
  return spec.momentum > 0.0f ? 1 : 0;
}

void ApplyDirection(const OptimizerSpec& spec, const OptimizerScalars& scalars,
                    std::span<const float> direction, std::span<float> parameters,
                    std::span<float> state1, std::span<float> state2) {
  const int vectors = OptimizerStateVectors(spec);
  ISTHMUS_CHECK(direction.size() == parameters.size());
  ISTHMUS_CHECK(state1.size() == (vectors >= 1 ? parameters.size() : 0));
  ISTHMUS_CHECK(state2.size() == (vectors >= 2 ? parameters.size() : 0));
  switch (vectors) {
    case 0:
      return ApplySgd(scalars, direction, parameters);
    case 1:
      return ApplySgdMomentum(spec, scalars, direction, parameters, state1);
    default:
      return ApplyAdamW(spec, scalars, direction, parameters, state1, state2);
  }
}

}  // namespace isthmus
