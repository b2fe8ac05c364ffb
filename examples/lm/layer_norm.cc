#include "examples/lm/layer_norm.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "examples/lm/vector_math.h"

namespace isthmus::lm {

template <typename T>
void LayerNormForward(int rows, int width, const T* x, const T* gain, const T* bias, T* mean,
                      T* inverse_deviation, T* y) {
  for (int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const T m = LaneSum<T>(width, [x](int64_t i) { return x[i]; }) / T(width);
    const T variance =
        LaneSum<T>(width, [x, m](int64_t i) { return (x[i] - m) * (x[i] - m); }) / T(width);
    const T r = T(1) / std::sqrt(variance + T(1e-5));
    for (int i = 0; i < width; ++i) y[i] = (x[i] - m) * r * gain[i] + bias[i];
    mean[row] = m;
    inverse_deviation[row] = r;
  }
}

template <typename T>
void LayerNormBackward(int rows, int width, const T* x, const T* gain, const T* mean,
                       const T* inverse_deviation, const T* dy, T* dx, T* d_gain, T* d_bias) {
  std::fill_n(d_gain, width, T(0));
  std::fill_n(d_bias, width, T(0));
  for (int64_t row = 0; row < rows; ++row, x += width, dy += width, dx += width) {
    const T m = mean[row];
    const T r = inverse_deviation[row];
    // With n = (x - m) r and g = dy * gain: dx = r (g - mean(g) - n mean(g n)).
    const T mean_g = LaneSum<T>(width, [=](int64_t i) { return dy[i] * gain[i]; }) / T(width);
    const T mean_gn =
        LaneSum<T>(width, [=](int64_t i) { return dy[i] * gain[i] * ((x[i] - m) * r); }) / T(width);
    for (int i = 0; i < width; ++i) {
      const T n = (x[i] - m) * r;
      dx[i] += r * (dy[i] * gain[i] - mean_g - n * mean_gn);
      d_gain[i] += dy[i] * n;
      d_bias[i] += dy[i];
    }
  }
}

template void LayerNormForward(int, int, const float*, const float*, const float*, float*, float*,
                               float*);
template void LayerNormForward(int, int, const double*, const double*, const double*, double*,
                               double*, double*);
template void LayerNormBackward(int, int, const float*, const float*, const float*, const float*,
                                const float*, float*, float*, float*);
template void LayerNormBackward(int, int, const double*, const double*, const double*,
                                const double*, const double*, double*, double*, double*);

}  // namespace isthmus::lm
