#include "common/optimizer/optimizer.h"

#include "common/base/check.h"
#include "common/kernels/simd.h"
#include "common/optimizer/optimizer_formulas.h"

namespace isthmus {
namespace {

void ApplySgd(const OptimizerScalars& scalars, std::span<const float> direction,
              std::span<float> parameters) {
  ActiveKernels().sgd(scalars.decay, scalars.lr, direction.data(), parameters.data(),
                      parameters.size());
}

void ApplySgdMomentum(const OptimizerSpec& spec, const OptimizerScalars& scalars,
                      std::span<const float> direction, std::span<float> parameters,
                      std::span<float> buffer) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    SgdMomentumStep(spec, scalars, direction[i], parameters[i], buffer[i]);
  }
}

void ApplyAdamW(const OptimizerSpec& spec, const OptimizerScalars& scalars,
                std::span<const float> direction, std::span<float> parameters,
                std::span<float> mean, std::span<float> square) {
  const AdamWRates rates = AdamWRatesOf(spec, scalars);
  for (size_t i = 0; i < parameters.size(); ++i) {
    AdamWStep(spec, scalars, rates, direction[i], parameters[i], mean[i], square[i]);
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
