// The Gaussian error linear unit in its tanh form, written as x * sigmoid(2u) with
// u = sqrt(2/pi) (x + 0.044715 x^3): the same value with one exp and no tanh.
//
// Source: Hendrycks & Gimpel (arXiv:1606.08415), section 2.
#ifndef ISTHMUS_EXAMPLES_LM_GELU_H_
#define ISTHMUS_EXAMPLES_LM_GELU_H_

#include <cstdint>

#include "examples/lm/vector_math.h"

namespace isthmus::lm {

inline constexpr double kGeluSlope = 1.5957691216057308;  // 2 sqrt(2/pi)
inline constexpr double kGeluCubic = 0.044715;

template <typename T>
void GeluForward(int64_t n, const T* x, T* y) {
  constexpr T kSlope = T(kGeluSlope);
  constexpr T kCubic = T(kGeluCubic);
  for (int64_t i = 0; i < n; ++i) {
    const T v = x[i];
    y[i] = v / (T(1) + Exp(-kSlope * (v + kCubic * v * v * v)));
  }
}

// d[n] holds the gradient at the output, and at the input afterwards.
template <typename T>
void GeluBackward(int64_t n, const T* x, T* d) {
  constexpr T kSlope = T(kGeluSlope);
  constexpr T kCubic = T(kGeluCubic);
  for (int64_t i = 0; i < n; ++i) {
    const T v = x[i];
    const T s = T(1) / (T(1) + Exp(-kSlope * (v + kCubic * v * v * v)));
    d[i] *= s + v * s * (T(1) - s) * kSlope * (T(1) + T(3) * kCubic * v * v);
  }
}

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_GELU_H_
