// Loops that the compiler vectorises without -ffast-math, so that the same seed gives the same
// bits: sums run in a fixed number of lanes, and exp is a polynomial without branches or calls.
#ifndef ISTHMUS_EXAMPLES_LM_VECTOR_MATH_H_
#define ISTHMUS_EXAMPLES_LM_VECTOR_MATH_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace isthmus::lm {

inline constexpr int kLanes = 16;

// The sum of term(i) over [0, n). The order is fixed: lane i % kLanes, then lane by lane.
template <typename T, typename Term>
T LaneSum(int64_t n, Term term) {
  T lanes[kLanes] = {};
  const int64_t tail = n % kLanes;
  const int64_t full = n - tail;
  for (int64_t i = 0; i < full; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  }
  for (int64_t lane = 0; lane < tail; ++lane) lanes[lane] += term(full + lane);
  T sum = 0;
  for (T lane : lanes) sum += lane;
  return sum;
}

// e^x to about 2 ulp for x in [-87, 88], clamped to that range outside it; NaN stays NaN.
// The range reduction and polynomial of Cephes' expf.
inline float Exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the sum.
  constexpr float kRounder = 12582912.0f;
  const float shifted = x * 1.44269504f + kRounder;
  const float n = shifted - kRounder;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const uint32_t exponent =
      std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRounder) + 127u;
  return p * std::bit_cast<float>(exponent << 23);
}

// The gradient checks run in double, where speed does not matter.
inline double Exp(double x) { return std::exp(x); }

// Turns `row` into its softmax in place; returns log(sum(exp(row))).
template <typename T>
T Softmax(T* row, int64_t n) {
  T largest = row[0];
  for (int64_t i = 1; i < n; ++i) largest = row[i] > largest ? row[i] : largest;
  for (int64_t i = 0; i < n; ++i) row[i] = Exp(row[i] - largest);
  const T sum = LaneSum<T>(n, [row](int64_t i) { return row[i]; });
  const T scale = T(1) / sum;
  for (int64_t i = 0; i < n; ++i) row[i] *= scale;
  return largest + std::log(sum);
}

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_VECTOR_MATH_H_
