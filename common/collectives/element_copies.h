// Between a job's numbers in the host's memory and floats.
#ifndef ISTHMUS_COMMON_COLLECTIVES_ELEMENT_COPIES_H_
#define ISTHMUS_COMMON_COLLECTIVES_ELEMENT_COPIES_H_

#include <algorithm>
#include <span>

#include "common/kernels/bfloat16.h"
#include "common/tensor/elements.h"

namespace isthmus {

// `input` as floats; `output` is as long.
inline void CopyToFloats(const Elements& input, std::span<float> output) {
  if (input.type() == DType::kFloat32) {
    std::ranges::copy(input.floats(), output.begin());
  } else {
    std::ranges::transform(input.halves(), output.begin(),
                           [](uint16_t half) { return FromBfloat16(half); });
  }
}

// Adds them; `sum` is as long.
inline void AddToFloats(const Elements& input, std::span<float> sum) {
  if (input.type() == DType::kFloat32) {
    const std::span<const float> floats = input.floats();
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += floats[i];
  } else {
    const std::span<const uint16_t> halves = input.halves();
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += FromBfloat16(halves[i]);
  }
}

// Rounded to what `output` holds; `output` is as long.
inline void CopyFromFloats(std::span<const float> input, const Elements& output) {
  if (output.type() == DType::kFloat32) {
    std::ranges::copy(input, output.floats().begin());
  } else {
    std::ranges::transform(input, output.halves().begin(),
                           [](float value) { return ToBfloat16(value); });
  }
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COLLECTIVES_ELEMENT_COPIES_H_
