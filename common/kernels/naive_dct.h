// The DCT of one chunk, naively: what dct_formulas.h computes, bit for bit (docs/protocol.md, P21),
// and in double, by its definition, what that is near to.
#ifndef ISTHMUS_COMMON_KERNELS_NAIVE_DCT_H_
#define ISTHMUS_COMMON_KERNELS_NAIVE_DCT_H_

#include <cmath>
#include <cstddef>
#include <numbers>
#include <vector>

#include "common/kernels/naive_tile.h"

namespace isthmus::naive {

// II(N), IV(N) and their transposes as dct_formulas.h has them above its code: sqrt(N) times too
// large. Rounding follows from the order of operations, so this is theirs.

struct Rotation {
  float cos, sin;  // the floats nearest to those of t(j)
};
inline Rotation RotationOf(size_t n, size_t j) {
  const double t = static_cast<double>(2 * j + 1) * std::numbers::pi / static_cast<double>(4 * n);
  return {static_cast<float>(std::cos(t)), static_cast<float>(std::sin(t))};
}
inline constexpr float kSqrt2 = std::numbers::sqrt2_v<float>;

inline Chunk Dct4(const Chunk& x);
inline Chunk Dct2(const Chunk& x) {
  const size_t n = x.size(), half = n / 2;
  if (n == 1) return x;
  Chunk s(half), d(half), out(n);
  for (size_t j = 0; j < half; ++j) {
    s[j] = x[j] + x[n - 1 - j];
    d[j] = x[j] - x[n - 1 - j];
  }
  const Chunk even = Dct2(s), odd = Dct4(d);
  for (size_t m = 0; m < half; ++m) {
    out[2 * m] = even[m];
    out[2 * m + 1] = odd[m];
  }
  return out;
}
inline Chunk Dct4(const Chunk& x) {
  const size_t n = x.size(), half = n / 2;
  if (n == 1) return x;
  Chunk a(half), b(half), out(n);
  for (size_t j = 0; j < half; ++j) {
    const Rotation r = RotationOf(n, j);
    a[j] = r.cos * x[j] + r.sin * x[n - 1 - j];
    b[j] = j % 2 == 0 ? r.sin * x[j] - r.cos * x[n - 1 - j] : r.cos * x[n - 1 - j] - r.sin * x[j];
  }
  a = Dct2(a);
  b = Dct2(b);
  out[0] = kSqrt2 * a[0];
  out[n - 1] = kSqrt2 * b[0];
  for (size_t m = 1; m < half; ++m) {
    out[2 * m - 1] = a[m] + b[half - m];
    out[2 * m] = a[m] - b[half - m];
  }
  return out;
}

inline Chunk InverseDct4(const Chunk& x);
inline Chunk InverseDct2(const Chunk& x) {
  const size_t n = x.size(), half = n / 2;
  if (n == 1) return x;
  Chunk even(half), odd(half), out(n);
  for (size_t m = 0; m < half; ++m) {
    even[m] = x[2 * m];
    odd[m] = x[2 * m + 1];
  }
  const Chunk s = InverseDct2(even), d = InverseDct4(odd);
  for (size_t j = 0; j < half; ++j) {
    out[j] = s[j] + d[j];
    out[n - 1 - j] = s[j] - d[j];
  }
  return out;
}
inline Chunk InverseDct4(const Chunk& x) {
  const size_t n = x.size(), half = n / 2;
  if (n == 1) return x;
  Chunk a(half), b(half), out(n);
  a[0] = kSqrt2 * x[0];
  b[0] = kSqrt2 * x[n - 1];
  for (size_t m = 1; m < half; ++m) {
    a[m] = x[2 * m - 1] + x[2 * m];
    b[half - m] = x[2 * m - 1] - x[2 * m];
  }
  a = InverseDct2(a);
  b = InverseDct2(b);
  for (size_t j = 0; j < half; ++j) {
    const Rotation r = RotationOf(n, j);
    const float sign = j % 2 == 0 ? 1.0f : -1.0f;
    out[j] = r.cos * a[j] + sign * (r.sin * b[j]);
    out[n - 1 - j] = r.sin * a[j] - sign * (r.cos * b[j]);
  }
  return out;
}

// Scaled to be orthonormal.
inline Chunk Scaled(Chunk x) {
  const auto factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(x.size())));
  for (float& value : x) value = factor * value;
  return x;
}
inline Chunk Dct(const Chunk& x) { return Scaled(Dct2(x)); }
inline Chunk InverseDct(const Chunk& x) { return Scaled(InverseDct2(x)); }

// The definition (common/compression/dct.h), in double: what Dct() and InverseDct() are near to, by
// 1e-6 of the largest result.
inline std::vector<double> CosineSums(const Chunk& x, bool inverse) {
  const size_t n = x.size();
  std::vector<double> cosines(4 * n), out(n);  // of pi i / 2N, which repeat from there on
  for (size_t i = 0; i < 4 * n; ++i) {
    cosines[i] = std::cos(std::numbers::pi * static_cast<double>(i) / static_cast<double>(2 * n));
  }
  for (size_t f = 0; f < n; ++f) {
    const double scale = std::sqrt((f == 0 ? 1.0 : 2.0) / static_cast<double>(n));
    for (size_t j = 0; j < n; ++j) {
      const double entry = scale * cosines[(2 * j + 1) * f % (4 * n)];
      out[inverse ? j : f] += entry * static_cast<double>(x[inverse ? f : j]);
    }
  }
  return out;
}

}  // namespace isthmus::naive

#endif  // ISTHMUS_COMMON_KERNELS_NAIVE_DCT_H_
