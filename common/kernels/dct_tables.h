// The rotation angles of dct_formulas.h as compile-time constants: no libm, so the same bits
// everywhere. Naively, by libm: RotationOf in naive_dct.h.
#ifndef ISTHMUS_COMMON_KERNELS_DCT_TABLES_H_
#define ISTHMUS_COMMON_KERNELS_DCT_TABLES_H_

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
  float cos[N / 2];
  float sin[N / 2];
};

template <int N>
constexpr Rotations<N> MakeRotations() {
  constexpr double kPi = 3.141592653589793238462643383279502884;
  Rotations<N> rotations{};
  for (int j = 0; j < N / 2; ++j) {
    const double angle = (2 * j + 1) * kPi / (4.0 * N);
    rotations.cos[j] = static_cast<float>(TaylorCos(angle));
    rotations.sin[j] = static_cast<float>(TaylorSin(angle));
  }
  return rotations;
}

template <int N>
inline constexpr Rotations<N> kRotations = MakeRotations<N>();

#if defined(__CUDACC__)
// GPU code cannot index the host's.
template <int N>
__device__ constexpr Rotations<N> kDeviceRotations = MakeRotations<N>();
#endif

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_DCT_TABLES_H_
