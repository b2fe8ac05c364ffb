#include "common/compression/intake.h"

#include <cmath>

#include "common/base/check.h"
#include "common/kernels/bfloat16.h"

namespace isthmus {

bool AllUsable(std::span<const float> taken) {
  // Without a branch per element, and NaN fails every comparison.
  bool usable = true;
  for (const float x : taken) usable &= std::fabs(x) <= kMaxGradient;
  return usable;
}

void TakeProgress(std::span<const float> given, const Elements& now, float weight,
                  std::span<float> progress) {
  ISTHMUS_CHECK(given.size() == progress.size() && now.size() == progress.size());
  if (now.type() == DType::kFloat32) {
    const float* const at = now.floats().data();
    for (size_t i = 0; i < progress.size(); ++i) progress[i] = weight * (given[i] - at[i]);
    return;
  }
  const uint16_t* const at = now.halves().data();
  for (size_t i = 0; i < progress.size(); ++i) {
    progress[i] = weight * (FromBfloat16(ToBfloat16(given[i])) - FromBfloat16(at[i]));
  }
}

}  // namespace isthmus
