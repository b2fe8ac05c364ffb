// The orthonormal DCT-II of chunks whose size is a power of two, and its inverse (the transpose).
//
//   X[f] = s(f) sum_j x[j] cos(pi (2j+1) f / 2N),   s(0) = sqrt(1/N),  s(f>0) = sqrt(2/N)
//
// O(N log N), and the error grows with log N, not N. Every machine computes the same bits
// (docs/protocol.md, P21). The formulas are in common/kernels/dct_formulas.h, and naively in
// common/kernels/naive_dct.h.
#ifndef ISTHMUS_COMMON_COMPRESSION_DCT_H_
#define ISTHMUS_COMMON_COMPRESSION_DCT_H_

#include <span>

namespace isthmus {

inline constexpr int kMinChunkSize = 16;
inline constexpr int kMaxChunkSize = 4096;

// True for the chunk sizes that daemons run: powers of two from 16 to 4096.
constexpr bool IsChunkSize(long long n) {
  return n >= kMinChunkSize && n <= kMaxChunkSize && (n & (n - 1)) == 0;
}

// Transform `in` chunk by chunk into `out`. Both hold a whole number of chunks and the same
// length; they may be the same memory, but not overlap otherwise. CHECKs IsChunkSize(chunk_size).
// Thread-safe; no allocation.
void ForwardDct(int chunk_size, std::span<const float> in, std::span<float> out);
void InverseDct(int chunk_size, std::span<const float> in, std::span<float> out);

// What `x` is the transform of, in chunks of `from`, transformed in chunks of `to`: by one inverse
// and one forward transform, in place. It holds a whole number of both. As above otherwise.
void RecutDct(int from, int to, std::span<float> x);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_DCT_H_
