#include "examples/lm/linear.h"

#include <algorithm>
#include <cstdint>

#include "examples/lm/gemm.h"

namespace isthmus::lm {

template <typename T>
void LinearForward(const LinearShape& shape, const T* x, const T* weight, const T* bias,
                   const T* residual, T* y) {
  const auto [rows, in, out] = shape;
  // What is added goes into y first and the product on top: one pass less than adding after it.
  for (int64_t row = 0; row < rows && bias != nullptr; ++row) {
    T* y_row = y + row * out;
    if (residual == nullptr) {
      std::copy_n(bias, out, y_row);
      continue;
    }
    const T* residual_row = residual + row * out;
    for (int i = 0; i < out; ++i) y_row[i] = residual_row[i] + bias[i];
  }
  if (bias == nullptr && residual != nullptr) std::copy_n(residual, int64_t{rows} * out, y);
  const T beta = bias != nullptr || residual != nullptr ? 1 : 0;
  Gemm(rows, out, in, T(1), {x, in}, {weight, in, Transpose::kYes}, beta, y, out);
}

template <typename T>
void LinearBackward(const LinearShape& shape, const T* x, const T* weight, const T* dy, T* dx,
                    T* d_weight, T* d_bias) {
  const auto [rows, in, out] = shape;
  Gemm(rows, in, out, T(1), {dy, out}, {weight, in}, T(0), dx, in);
  Gemm(out, in, rows, T(1), {dy, out, Transpose::kYes}, {x, in}, T(0), d_weight, in);
  if (d_bias == nullptr) return;
  std::fill_n(d_bias, out, T(0));
  for (int64_t row = 0; row < rows; ++row) {
    const T* dy_row = dy + row * out;
    for (int i = 0; i < out; ++i) d_bias[i] += dy_row[i];
  }
}

template void LinearForward(const LinearShape&, const float*, const float*, const float*,
                            const float*, float*);
template void LinearForward(const LinearShape&, const double*, const double*, const double*,
                            const double*, double*);
template void LinearBackward(const LinearShape&, const float*, const float*, const float*, float*,
                             float*, float*);
template void LinearBackward(const LinearShape&, const double*, const double*, const double*,
                             double*, double*, double*);

}  // namespace isthmus::lm
