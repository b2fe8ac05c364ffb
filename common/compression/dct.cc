// With the butterflies left unscaled, a transform of size N comes out sqrt(N) times too large, at
// every level of the recursion alike, so one multiplication at the end makes it orthonormal:
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
// II(1) and IV(1) are the identity. The inverse is the transposed steps in reverse order.
#include "common/compression/dct.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <numbers>

#include "common/base/check.h"
#include "common/compression/dct_tables.h"

namespace isthmus {
namespace {

// Eight chunks are transformed side by side, one per lane. No operation crosses lanes, so a chunk's
// result does not depend on its lane or its neighbours.
constexpr int kLanes = 8;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

constexpr float kSqrt2 = std::numbers::sqrt2_v<float>;

template <int N>
constexpr float InverseSqrt() {
  // 2^(-log2(N) / 2)
  if constexpr (N == 1) return 1.0f;
  if constexpr (N == 2) return static_cast<float>(1.0 / std::numbers::sqrt2);
  if constexpr (N > 2) return 0.5f * InverseSqrt<N / 4>();
}

// x[j], x[N-1-j]  ->  x[j] + x[N-1-j] at j, x[j] - x[N-1-j] at N/2 + j. In place, so the pairs j
// and N/2-1-j, which share four places, go together.
template <int N>
void Butterflies(Lanes* x) {
  for (int j = 0; j < (N / 2 + 1) / 2; ++j) {
    const int i = N / 2 - 1 - j;
    const Lanes low_j = x[j], high_j = x[N - 1 - j];
    const Lanes low_i = x[i], high_i = x[N - 1 - i];
    x[j] = low_j + high_j;
    x[i] = low_i + high_i;
    x[N / 2 + j] = low_j - high_j;
    x[N / 2 + i] = low_i - high_i;
  }
}

template <int N>
void TransposedButterflies(Lanes* x) {
  for (int j = 0; j < (N / 2 + 1) / 2; ++j) {
    const int i = N / 2 - 1 - j;
    const Lanes s_j = x[j], d_j = x[N / 2 + j];
    const Lanes s_i = x[i], d_i = x[N / 2 + i];
    x[j] = s_j + d_j;
    x[i] = s_i + d_i;
    x[N - 1 - j] = s_j - d_j;
    x[N - 1 - i] = s_i - d_i;
  }
}

// x[j], x[N-1-j]  ->  a[j] at j, b[j] at N/2 + j.
template <int N>
void Rotate(Lanes* x) {
  constexpr const Rotations<N>& r = kRotations<N>;
  for (int j = 0; j < (N / 2 + 1) / 2; ++j) {
    const int i = N / 2 - 1 - j;
    const float sign_j = j % 2 == 0 ? 1.0f : -1.0f;
    const float sign_i = i % 2 == 0 ? 1.0f : -1.0f;
    const Lanes low_j = x[j], high_j = x[N - 1 - j];
    const Lanes low_i = x[i], high_i = x[N - 1 - i];
    x[j] = r.cos[j] * low_j + r.sin[j] * high_j;
    x[i] = r.cos[i] * low_i + r.sin[i] * high_i;
    x[N / 2 + j] = (sign_j * r.sin[j]) * low_j - (sign_j * r.cos[j]) * high_j;
    x[N / 2 + i] = (sign_i * r.sin[i]) * low_i - (sign_i * r.cos[i]) * high_i;
  }
}

template <int N>
void TransposedRotate(Lanes* x) {
  constexpr const Rotations<N>& r = kRotations<N>;
  for (int j = 0; j < (N / 2 + 1) / 2; ++j) {
    const int i = N / 2 - 1 - j;
    const float sign_j = j % 2 == 0 ? 1.0f : -1.0f;
    const float sign_i = i % 2 == 0 ? 1.0f : -1.0f;
    const Lanes a_j = x[j], b_j = x[N / 2 + j];
    const Lanes a_i = x[i], b_i = x[N / 2 + i];
    x[j] = r.cos[j] * a_j + (sign_j * r.sin[j]) * b_j;
    x[i] = r.cos[i] * a_i + (sign_i * r.sin[i]) * b_i;
    x[N - 1 - j] = r.sin[j] * a_j - (sign_j * r.cos[j]) * b_j;
    x[N - 1 - i] = r.sin[i] * a_i - (sign_i * r.cos[i]) * b_i;
  }
}

// The recursions read x[0..N), which they use up, and write X[f] to out[f * stride]: the even-odd
// orders above cost no copies. The strides may be negative.
template <int N>
void Dct4(Lanes* x, Lanes* out, ptrdiff_t stride);

template <int N>
void Dct2(Lanes* x, Lanes* out, ptrdiff_t stride) {
  if constexpr (N == 1) {
    out[0] = x[0];
  } else {
    Butterflies<N>(x);
    Dct2<N / 2>(x, out, 2 * stride);
    Dct4<N / 2>(x + N / 2, out + stride, 2 * stride);
  }
}

template <int N>
void Dct4(Lanes* x, Lanes* out, ptrdiff_t stride) {
  if constexpr (N == 1) {
    out[0] = x[0];
  } else {
    Rotate<N>(x);
    Dct2<N / 2>(x, out, 2 * stride);                              // A[m] at 2m
    Dct2<N / 2>(x + N / 2, out + (N - 1) * stride, -2 * stride);  // B[M-m] at 2m - 1
    out[0] = kSqrt2 * out[0];
    out[(N - 1) * stride] = kSqrt2 * out[(N - 1) * stride];
    for (int m = 1; m < N / 2; ++m) {
      const Lanes a = out[2 * m * stride], b = out[(2 * m - 1) * stride];
      out[(2 * m - 1) * stride] = a + b;
      out[2 * m * stride] = a - b;
    }
  }
}

// The transposes read X[f] from in[f * stride], which they use up, and write x[0..N).
template <int N>
void InverseDct4(Lanes* in, ptrdiff_t stride, Lanes* x);

template <int N>
void InverseDct2(Lanes* in, ptrdiff_t stride, Lanes* x) {
  if constexpr (N == 1) {
    x[0] = in[0];
  } else {
    InverseDct2<N / 2>(in, 2 * stride, x);
    InverseDct4<N / 2>(in + stride, 2 * stride, x + N / 2);
    TransposedButterflies<N>(x);
  }
}

template <int N>
void InverseDct4(Lanes* in, ptrdiff_t stride, Lanes* x) {
  if constexpr (N == 1) {
    x[0] = in[0];
  } else {
    in[0] = kSqrt2 * in[0];
    in[(N - 1) * stride] = kSqrt2 * in[(N - 1) * stride];
    for (int m = 1; m < N / 2; ++m) {
      const Lanes odd = in[(2 * m - 1) * stride], even = in[2 * m * stride];
      in[2 * m * stride] = odd + even;
      in[(2 * m - 1) * stride] = odd - even;
    }
    InverseDct2<N / 2>(in, 2 * stride, x);
    InverseDct2<N / 2>(in + (N - 1) * stride, -2 * stride, x + N / 2);
    TransposedRotate<N>(x);
  }
}

// Copies `chunks` (at most kLanes) chunks into the lanes. Lanes left over get the last chunk once
// more, so that the inner loop has a constant length; nobody looks at them.
template <int N>
void Load(const float* in, int chunks, Lanes* lanes) {
  const float* chunk[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) chunk[lane] = in + std::min(lane, chunks - 1) * N;
  for (int j = 0; j < N; ++j) {
    float row[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) row[lane] = chunk[lane][j];
    std::memcpy(&lanes[j], row, sizeof(row));
  }
}

template <int N>
void Store(const Lanes* lanes, int chunks, float* out) {
  constexpr float kScale = InverseSqrt<N>();
  for (int j = 0; j < N; ++j) {
    const Lanes scaled = kScale * lanes[j];
    float row[kLanes];
    std::memcpy(row, &scaled, sizeof(row));
    if (chunks == kLanes) {  // the usual case, unrolled
      for (int lane = 0; lane < kLanes; ++lane) out[lane * N + j] = row[lane];
    } else {
      for (int lane = 0; lane < chunks; ++lane) out[lane * N + j] = row[lane];
    }
  }
}

template <int N, bool kForward>
void TransformChunks(std::span<const float> in, std::span<float> out) {
  Lanes from[N];
  Lanes to[N];
  const size_t chunks = in.size() / N;
  for (size_t first = 0; first < chunks; first += kLanes) {
    const int count = static_cast<int>(std::min<size_t>(kLanes, chunks - first));
    Load<N>(in.data() + first * N, count, from);
    if constexpr (kForward) {
      Dct2<N>(from, to, 1);
    } else {
      InverseDct2<N>(from, 1, to);
    }
    Store<N>(to, count, out.data() + first * N);
  }
}

template <bool kForward>
void TransformAll(int chunk_size, std::span<const float> in, std::span<float> out) {
  ISTHMUS_CHECK(IsChunkSize(chunk_size));
  ISTHMUS_CHECK(in.size() == out.size() && in.size() % static_cast<size_t>(chunk_size) == 0);
  switch (chunk_size) {
    case 16:
      return TransformChunks<16, kForward>(in, out);
    case 32:
      return TransformChunks<32, kForward>(in, out);
    case 64:
      return TransformChunks<64, kForward>(in, out);
    case 128:
      return TransformChunks<128, kForward>(in, out);
    case 256:
      return TransformChunks<256, kForward>(in, out);
    case 512:
      return TransformChunks<512, kForward>(in, out);
    case 1024:
      return TransformChunks<1024, kForward>(in, out);
    case 2048:
      return TransformChunks<2048, kForward>(in, out);
    case 4096:
      return TransformChunks<4096, kForward>(in, out);
    default:
      ISTHMUS_CHECK(false);
  }
}

}  // namespace

void ForwardDct(int chunk_size, std::span<const float> in, std::span<float> out) {
  TransformAll<true>(chunk_size, in, out);
}

void InverseDct(int chunk_size, std::span<const float> in, std::span<float> out) {
  TransformAll<false>(chunk_size, in, out);
}

}  // namespace isthmus
