// The rotation angles of dct.cc as compile-time constants: no libm, so the same bits everywhere.
#ifndef ISTHMUS_COMMON_COMPRESSION_DCT_TABLES_H_
#define ISTHMUS_COMMON_COMPRESSION_DCT_TABLES_H_

#include <array>
#include <numbers>

namespace isthmus {

// Taylor series in double. For 0 <= x <= pi/4 the first term left out is below 1e-20.
constexpr double TaylorCos(double x) {
  double term = 1.0;
  double sum = 1.0;
  for (int n = 2; n <= 20; n += 2) {
    term *= -x * x / (n * (n - 1));
    sum += term;
  }
  return sum;
}

constexpr double TaylorSin(double x) {
  double term = x;
  double sum = x;
  for (int n = 3; n <= 21; n += 2) {
    term *= -x * x / (n * (n - 1));
    sum += term;
  }
  return sum;
}

// cos and sin of (2j+1) pi / 4N for j < N/2: the rotations of a DCT-IV of size N. All angles lie in
// (0, pi/4), so no range reduction is needed.
template <int N>
struct Rotations {
  std::array<float, N / 2> cos;
  std::array<float, N / 2> sin;
};

template <int N>
constexpr Rotations<N> MakeRotations() {
  Rotations<N> rotations{};
  for (int j = 0; j < N / 2; ++j) {
    const double angle = (2 * j + 1) * std::numbers::pi / (4.0 * N);
    rotations.cos[j] = static_cast<float>(TaylorCos(angle));
    rotations.sin[j] = static_cast<float>(TaylorSin(angle));
  }
  return rotations;
}

template <int N>
inline constexpr Rotations<N> kRotations = MakeRotations<N>();

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_DCT_TABLES_H_
