#include "common/compression/intake.h"

#include <cmath>

#include "common/base/check.h"
#include "common/kernels/simd.h"

namespace isthmus {

bool AllUsable(std::span<const float> taken) {
  // Without a branch per element, and NaN fails every comparison.
  bool usable = true;
  for (const float x : taken) usable &= std::fabs(x) <= kMaxGradient;
  return usable;
}

bool TakeProgress(std::span<const float> given, const Elements& now, float weight,
                  std::span<float> progress) {
  ISTHMUS_CHECK(given.size() == progress.size() && now.size() == progress.size());
  const TileKernels& kernels = ActiveKernels();
  if (now.type() == DType::kFloat32) {
    return kernels.progress(kMaxGradient, weight, given.data(), now.floats().data(),
                            progress.data(), progress.size());
  }
  return kernels.progress_bf16(kMaxGradient, weight, given.data(), now.halves().data(),
                               progress.data(), progress.size());
}

}  // namespace isthmus
