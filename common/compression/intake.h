// What a group takes in of a bucket, before any momentum is touched: gradients, or how far a job
// with an optimizer of its own has gone (docs/protocol.md, P18 and P29).
#ifndef ISTHMUS_COMMON_COMPRESSION_INTAKE_H_
#define ISTHMUS_COMMON_COMPRESSION_INTAKE_H_

#include <span>

#include "common/tensor/elements.h"

namespace isthmus {

// |x| above this counts as unusable, as do NaN and Inf (P18).
inline constexpr float kMaxGradient = 1e30f;

// True if every |x| <= kMaxGradient.
bool AllUsable(std::span<const float> taken);

// progress <- weight (given - now), where `given` is rounded as the job holds it, so that what it
// has not touched has not moved. All of one length; `progress` may be `given`. Returns AllUsable()
// of it.
bool TakeProgress(std::span<const float> given, const Elements& now, float weight,
                  std::span<float> progress);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_INTAKE_H_
