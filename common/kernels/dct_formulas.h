// The DCT-II of dct.h as formulas over any type V of numbers: float, several chunks side by side in
// a SIMD register, or a GPU thread's own float. Only +, - and * in a fixed order, so all give the
// same bits (docs/protocol.md, P21).
//
// With the butterflies left unscaled, a transform of size N comes out sqrt(N) times too large, at
// every level of the recursion alike, so one multiplication by InverseSqrt<N>() at the end makes it
// orthonormal:
//
//   II(N):  s[j] = x[j] + x[N-1-j]          X[2m]   = II(N/2)(s)[m]
//           d[j] = x[j] - x[N-1-j]          X[2m+1] = IV(N/2)(d)[m]
//
//   IV(N):  with t(j) = (2j+1) pi / 4N and M = N/2
//           a[j] =          cos t(j) x[j] + sin t(j) x[N-1-j]         A = II(M)(a)
//           b[j] = (-1)^j ( sin t(j) x[j] - cos t(j) x[N-1-j] )       B = II(M)(b)
//           X[0] = sqrt(2) A[0]    X[2m-1] = A[m] + B[M-m]
//           X[N-1] = sqrt(2) B[0]  X[2m]   = A[m] - B[M-m]            0 < m < M
//
// II(1) and IV(1) are the identity. The inverse is the transposed steps in reverse order. Naively,
// with a vector for each of these letters: naive_dct.h.
//
// Source: Plonka and Tasche, "Fast and numerically stable algorithms for discrete cosine
// transforms", 2005.
#ifndef ISTHMUS_COMMON_KERNELS_DCT_FORMULAS_H_
#define ISTHMUS_COMMON_KERNELS_DCT_FORMULAS_H_

#include <stddef.h>

#include "common/kernels/dct_tables.h"

#if defined(__CUDACC__)
#define ISTHMUS_DCT_STEP __host__ __device__ __forceinline__
#define ISTHMUS_DCT_CALL __host__ __device__ __noinline__
#define ISTHMUS_UNROLL _Pragma("unroll 64")
#else
#define ISTHMUS_DCT_STEP __attribute__((always_inline)) inline
#define ISTHMUS_DCT_CALL __attribute__((noinline))
#define ISTHMUS_UNROLL _Pragma("GCC unroll 16")
#endif

namespace isthmus {

template <int N>
ISTHMUS_DCT_STEP constexpr float InverseSqrt() {
  // 2^(-log2(N) / 2)
  if constexpr (N == 1) return 1.0f;
  if constexpr (N == 2) return 0.70710678118654752440f;
  if constexpr (N > 2) return 0.5f * InverseSqrt<N / 4>();
}

template <int N>
ISTHMUS_DCT_STEP const Rotations<N>& RotationsHere() {
#if defined(__CUDA_ARCH__)
  return kDeviceRotations<N>;
#else
  return kRotations<N>;
#endif
}

template <typename V>
class DctFormulas {
 public:
  // Reads x[0..N), which it uses up, and writes X[f], sqrt(N) times too large, to out[f * stride]:
  // the even-odd orders above cost no copies. The stride may be negative.
  template <int N>
  ISTHMUS_DCT_STEP static void Dct2(V* x, V* out, ptrdiff_t stride) {
    if constexpr (N <= kLeaf) {
      V from[N], to[N];
      ISTHMUS_UNROLL
      for (int j = 0; j < N; ++j) from[j] = x[j];
      Dct2Steps<N>(from, to, 1);
      ISTHMUS_UNROLL
      for (int j = 0; j < N; ++j) out[j * stride] = to[j];
    } else {
      Dct2Call<N>(x, out, stride);
    }
  }
  template <int N>
  ISTHMUS_DCT_CALL static void Dct2Call(V* x, V* out, ptrdiff_t stride) {
    Dct2Steps<N>(x, out, stride);
  }

  // The transpose reads X[f] from in[f * stride], which it uses up, and writes x[0..N).
  template <int N>
  ISTHMUS_DCT_STEP static void InverseDct2(V* in, ptrdiff_t stride, V* x) {
    if constexpr (N <= kLeaf) {
      V from[N], to[N];
      ISTHMUS_UNROLL
      for (int j = 0; j < N; ++j) from[j] = in[j * stride];
      InverseDct2Steps<N>(from, 1, to);
      ISTHMUS_UNROLL
      for (int j = 0; j < N; ++j) x[j] = to[j];
    } else {
      InverseDct2Call<N>(in, stride, x);
    }
  }
  template <int N>
  ISTHMUS_DCT_CALL static void InverseDct2Call(V* in, ptrdiff_t stride, V* x) {
    InverseDct2Steps<N>(in, stride, x);
  }

  // The same with the DCT-IV: the odd half of the recursion.
  template <int N>
  ISTHMUS_DCT_STEP static void Dct4(V* x, V* out, ptrdiff_t stride) {
    if constexpr (N <= kLeaf) {
      V from[N], to[N];
      ISTHMUS_UNROLL
      for (int j = 0; j < N; ++j) from[j] = x[j];
      Dct4Steps<N>(from, to, 1);
      ISTHMUS_UNROLL
      for (int j = 0; j < N; ++j) out[j * stride] = to[j];
    } else {
      Dct4Call<N>(x, out, stride);
    }
  }
  template <int N>
  ISTHMUS_DCT_CALL static void Dct4Call(V* x, V* out, ptrdiff_t stride) {
    Dct4Steps<N>(x, out, stride);
  }

  template <int N>
  ISTHMUS_DCT_STEP static void InverseDct4(V* in, ptrdiff_t stride, V* x) {
    if constexpr (N <= kLeaf) {
      V from[N], to[N];
      ISTHMUS_UNROLL
      for (int j = 0; j < N; ++j) from[j] = in[j * stride];
      InverseDct4Steps<N>(from, 1, to);
      ISTHMUS_UNROLL
      for (int j = 0; j < N; ++j) x[j] = to[j];
    } else {
      InverseDct4Call<N>(in, stride, x);
    }
  }
  template <int N>
  ISTHMUS_DCT_CALL static void InverseDct4Call(V* in, ptrdiff_t stride, V* x) {
    InverseDct4Steps<N>(in, stride, x);
  }

  // The steps of one level, in place. The pairs j and N/2-1-j share four places and go together: a
  // quad each, for j in [0, N/4) (or 0 of 2).
  //
  // x[j], x[N-1-j]  ->  x[j] + x[N-1-j] at j, x[j] - x[N-1-j] at N/2 + j.
  template <int N>
  ISTHMUS_DCT_STEP static void ButterflyQuad(int j, V* x) {
    const int i = N / 2 - 1 - j;
    const V low_j = x[j], high_j = x[N - 1 - j];
    const V low_i = x[i], high_i = x[N - 1 - i];
    x[j] = low_j + high_j;
    x[i] = low_i + high_i;
    x[N / 2 + j] = low_j - high_j;
    x[N / 2 + i] = low_i - high_i;
  }
  template <int N>
  ISTHMUS_DCT_STEP static void TransposedButterflyQuad(int j, V* x) {
    const int i = N / 2 - 1 - j;
    const V s_j = x[j], d_j = x[N / 2 + j];
    const V s_i = x[i], d_i = x[N / 2 + i];
    x[j] = s_j + d_j;
    x[i] = s_i + d_i;
    x[N - 1 - j] = s_j - d_j;
    x[N - 1 - i] = s_i - d_i;
  }
  // x[j], x[N-1-j]  ->  a[j] at j, b[j] at N/2 + j.
  template <int N>
  ISTHMUS_DCT_STEP static void RotateQuad(int j, V* x) {
    const Rotations<N>& r = RotationsHere<N>();
    const int i = N / 2 - 1 - j;
    const float sign_j = j % 2 == 0 ? 1.0f : -1.0f;
    const float sign_i = i % 2 == 0 ? 1.0f : -1.0f;
    const V low_j = x[j], high_j = x[N - 1 - j];
    const V low_i = x[i], high_i = x[N - 1 - i];
    x[j] = r.cos[j] * low_j + r.sin[j] * high_j;
    x[i] = r.cos[i] * low_i + r.sin[i] * high_i;
    x[N / 2 + j] = (sign_j * r.sin[j]) * low_j - (sign_j * r.cos[j]) * high_j;
    x[N / 2 + i] = (sign_i * r.sin[i]) * low_i - (sign_i * r.cos[i]) * high_i;
  }
  template <int N>
  ISTHMUS_DCT_STEP static void TransposedRotateQuad(int j, V* x) {
    const Rotations<N>& r = RotationsHere<N>();
    const int i = N / 2 - 1 - j;
    const float sign_j = j % 2 == 0 ? 1.0f : -1.0f;
    const float sign_i = i % 2 == 0 ? 1.0f : -1.0f;
    const V a_j = x[j], b_j = x[N / 2 + j];
    const V a_i = x[i], b_i = x[N / 2 + i];
    x[j] = r.cos[j] * a_j + (sign_j * r.sin[j]) * b_j;
    x[i] = r.cos[i] * a_i + (sign_i * r.sin[i]) * b_i;
    x[N - 1 - j] = r.sin[j] * a_j - (sign_j * r.cos[j]) * b_j;
    x[N - 1 - i] = r.sin[i] * a_i - (sign_i * r.cos[i]) * b_i;
  }
  // The last step of a DCT-IV of N, for m in [0, N/2): out[f * stride] has A[m] at 2m and B[M-m] at
  // 2m - 1. And its transpose.
  template <int N>
  ISTHMUS_DCT_STEP static void CombinePair(int m, V* out, ptrdiff_t stride) {
    if (m == 0) {
      out[0] = kSqrt2 * out[0];
      out[(N - 1) * stride] = kSqrt2 * out[(N - 1) * stride];
    } else {
      const V a = out[2 * m * stride], b = out[(2 * m - 1) * stride];
      out[(2 * m - 1) * stride] = a + b;
      out[2 * m * stride] = a - b;
    }
  }
  template <int N>
  ISTHMUS_DCT_STEP static void TransposedCombinePair(int m, V* in, ptrdiff_t stride) {
    if (m == 0) {
      in[0] = kSqrt2 * in[0];
      in[(N - 1) * stride] = kSqrt2 * in[(N - 1) * stride];
    } else {
      const V odd = in[(2 * m - 1) * stride], even = in[2 * m * stride];
      in[2 * m * stride] = odd + even;
      in[(2 * m - 1) * stride] = odd - even;
    }
  }

 private:
  static constexpr float kSqrt2 = 1.41421356237309504880f;
  // Small transforms are inlined and work in registers; larger ones are calls. (Measured: where
  // registers are 32 bytes and more, 16 that spill a little beat two calls.) A GPU's thread has
  // registers for more, and slow calls.
#if defined(__CUDA_ARCH__)
  static constexpr int kLeaf = 64;
#else
  static constexpr int kLeaf = sizeof(V) > 16 ? 16 : 8;
#endif
  template <int N>
  static constexpr int kQuads = (N / 2 + 1) / 2;

  template <int N>
  ISTHMUS_DCT_STEP static void Dct2Steps(V* x, V* out, ptrdiff_t stride) {
    if constexpr (N == 1) {
      out[0] = x[0];
    } else {
      ISTHMUS_UNROLL
      for (int j = 0; j < kQuads<N>; ++j) ButterflyQuad<N>(j, x);
      Dct2<N / 2>(x, out, 2 * stride);
      Dct4<N / 2>(x + N / 2, out + stride, 2 * stride);
    }
  }

  template <int N>
  ISTHMUS_DCT_STEP static void Dct4Steps(V* x, V* out, ptrdiff_t stride) {
    if constexpr (N == 1) {
      out[0] = x[0];
    } else {
      ISTHMUS_UNROLL
      for (int j = 0; j < kQuads<N>; ++j) RotateQuad<N>(j, x);
      Dct2<N / 2>(x, out, 2 * stride);                              // A[m] at 2m
      Dct2<N / 2>(x + N / 2, out + (N - 1) * stride, -2 * stride);  // B[M-m] at 2m - 1
      CombinePair<N>(0, out, stride);
      ISTHMUS_UNROLL
      for (int m = 1; m < N / 2; ++m) CombinePair<N>(m, out, stride);
    }
  }

  template <int N>
  ISTHMUS_DCT_STEP static void InverseDct2Steps(V* in, ptrdiff_t stride, V* x) {
    if constexpr (N == 1) {
      x[0] = in[0];
    } else {
      InverseDct2<N / 2>(in, 2 * stride, x);
      InverseDct4<N / 2>(in + stride, 2 * stride, x + N / 2);
      ISTHMUS_UNROLL
      for (int j = 0; j < kQuads<N>; ++j) TransposedButterflyQuad<N>(j, x);
    }
  }

  template <int N>
  ISTHMUS_DCT_STEP static void InverseDct4Steps(V* in, ptrdiff_t stride, V* x) {
    if constexpr (N == 1) {
      x[0] = in[0];
    } else {
      TransposedCombinePair<N>(0, in, stride);
      ISTHMUS_UNROLL
      for (int m = 1; m < N / 2; ++m) TransposedCombinePair<N>(m, in, stride);
      InverseDct2<N / 2>(in, 2 * stride, x);
      InverseDct2<N / 2>(in + (N - 1) * stride, -2 * stride, x + N / 2);
      ISTHMUS_UNROLL
      for (int j = 0; j < kQuads<N>; ++j) TransposedRotateQuad<N>(j, x);
    }
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_DCT_FORMULAS_H_
