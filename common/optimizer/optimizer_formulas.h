// One element's step of each optimizer (optimizer.h): the same bits on CPUs and GPUs.
#ifndef ISTHMUS_COMMON_OPTIMIZER_OPTIMIZER_FORMULAS_H_
#define ISTHMUS_COMMON_OPTIMIZER_OPTIMIZER_FORMULAS_H_

#include <math.h>

#include "common/kernels/formula.h"
#include "common/optimizer/optimizer.h"

namespace isthmus {

// `u` is the direction.
ISTHMUS_FORMULA void SgdStep(const OptimizerScalars& scalars, float u, float& parameter) {
  parameter = scalars.decay * parameter - scalars.lr * u;
}

ISTHMUS_FORMULA void SgdMomentumStep(const OptimizerSpec& spec, const OptimizerScalars& scalars,
                                     float u, float& parameter, float& buffer) {
  buffer = scalars.first ? u : spec.momentum * buffer + u;
  const float step = spec.kind == OptimizerKind::kNesterov ? spec.momentum * buffer + u : buffer;
  parameter = scalars.decay * parameter - scalars.lr * step;
}

// What of AdamW is the same for all elements.
struct AdamWRates {
  float rest1, rest2, step;
};
ISTHMUS_FORMULA AdamWRates AdamWRatesOf(const OptimizerSpec& spec,
                                        const OptimizerScalars& scalars) {
  return {1.0f - spec.beta1, 1.0f - spec.beta2, scalars.lr / scalars.bias1};
}
ISTHMUS_FORMULA void AdamWStep(const OptimizerSpec& spec, const OptimizerScalars& scalars,
                               const AdamWRates& rates, float u, float& parameter, float& mean,
                               float& square) {
  mean = spec.beta1 * mean + rates.rest1 * u;
  square = spec.beta2 * square + rates.rest2 * (u * u);
  const float scale = sqrtf(square) / scalars.bias2_sqrt + spec.epsilon;
  parameter = scalars.decay * parameter - rates.step * (mean / scale);
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_OPTIMIZER_OPTIMIZER_FORMULAS_H_
