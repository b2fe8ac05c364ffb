#include "worker/step/job_progress.h"

#include "common/base/check.h"
#include "common/kernels/bfloat16.h"

namespace isthmus {

void AddWaySince(std::span<const float> anchor, const Elements& then, const Elements& now) {
  ISTHMUS_CHECK(then.size() == anchor.size() && now.size() == anchor.size());
  if (now.type() == DType::kFloat32) {
    const float* const from = then.floats().data();
    float* const at = now.floats().data();
    for (size_t i = 0; i < anchor.size(); ++i) at[i] = anchor[i] + (at[i] - from[i]);
    return;
  }
  const uint16_t* const from = then.halves().data();
  uint16_t* const at = now.halves().data();
  for (size_t i = 0; i < anchor.size(); ++i) {
    at[i] = ToBfloat16(anchor[i] + (FromBfloat16(at[i]) - FromBfloat16(from[i])));
  }
}

}  // namespace isthmus
