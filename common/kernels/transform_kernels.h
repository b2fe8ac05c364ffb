// The DCT of rows and tiles (tile_kernels.h), over lanes. Naively: naive_dct.h, chunk by chunk.
#ifndef ISTHMUS_COMMON_KERNELS_TRANSFORM_KERNELS_H_
#define ISTHMUS_COMMON_KERNELS_TRANSFORM_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

#include "common/kernels/dct_formulas.h"
#include "common/kernels/lanes.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus {

template <int W>
class TransformKernels {
 public:
  static void ForwardRows(int chunk_size, const float* in, size_t count, float* out) {
    L::template ForSize<ForwardRowsBody>(chunk_size, in, count, out);
  }
  static void InverseRows(int chunk_size, const float* in, size_t count, float* out) {
    L::template ForSize<InverseRowsBody>(chunk_size, in, count, out);
  }
  static void Accumulate(int chunk_size, const float* gradient, int chunks, float decay,
                         float scale, float* momentum) {
    L::template ForSize<AccumulateBody>(chunk_size, gradient, chunks, decay, scale, momentum);
  }
  static void InverseTile(int chunk_size, const float* tile, int chunks, bool sign, float* rows) {
    L::template ForSize<InverseTileBody>(chunk_size, tile, chunks, sign, rows);
  }
  static void InverseSigns(int chunk_size, const float* tile, uint32_t* negative, uint32_t* zero) {
    L::template ForSize<InverseSignsBody>(chunk_size, tile, negative, zero);
  }

 private:
  using L = Lanes<W>;
  using F = typename L::F;
  using I = typename L::I;
  using U = typename L::U;
  using Dct = DctFormulas<F>;

  template <int N>
  struct ForwardRowsBody {
    static void Run(const float* in, size_t count, float* out) {
      F from[N], to[N];
      for (size_t first = 0; first < count; first += W) {
        const int chunks = count - first < W ? static_cast<int>(count - first) : W;
        L::template LoadRows<N>(in + first * N, chunks, from);
        Dct::template Dct2<N>(from, to, 1);
        L::template StoreRows<N>(to, chunks, Scale<N>, out + first * N);
      }
    }
  };

  template <int N>
  struct InverseRowsBody {
    static void Run(const float* in, size_t count, float* out) {
      F from[N], to[N];
      for (size_t first = 0; first < count; first += W) {
        const int chunks = count - first < W ? static_cast<int>(count - first) : W;
        L::template LoadRows<N>(in + first * N, chunks, from);
        Dct::template InverseDct2<N>(from, 1, to);
        L::template StoreRows<N>(to, chunks, Scale<N>, out + first * N);
      }
    }
  };

  template <int N>
  struct AccumulateBody {
    static void Run(const float* gradient, int chunks, float decay, float scale, float* momentum) {
      F from[N], to[N];
      for (int first = 0; first < chunks; first += W) {
        L::template LoadRows<N>(gradient + first * N, L::Count(chunks, first), from);
        Dct::template Dct2<N>(from, to, 1);
        float* m = momentum + first;
        for (int j = 0; j < N; ++j, m += kTileChunks) {
          const F coefficient = InverseSqrt<N>() * to[j];
          L::Store(decay * L::Load(m) + scale * coefficient, m);
        }
      }
    }
  };

  template <int N>
  static F Scale(F v) {
    return InverseSqrt<N>() * v;
  }
  // -1, 0 or 1.
  static F Sign(F v) {
    const I one = L::template BitCast<I>(F{} + 1.0f);
    const I positive = L::Mask(v > F{}) & one;
    const I negative = L::Mask(v < F{}) & (one | static_cast<int32_t>(0x80000000));
    return L::template BitCast<F>(positive | negative);
  }

  // The inverse DCT of lanes [first, first + W) of a tile, yet to be scaled.
  template <int N>
  static void InverseLanes(const float* tile, int first, F* to) {
    F from[N];
    for (int j = 0; j < N; ++j) from[j] = L::Load(tile + j * kTileChunks + first);
    Dct::template InverseDct2<N>(from, 1, to);
  }

  template <int N>
  struct InverseTileBody {
    static void Run(const float* tile, int chunks, bool sign, float* rows) {
      F to[N];
      for (int first = 0; first < chunks; first += W) {
        InverseLanes<N>(tile, first, to);
        const int count = L::Count(chunks, first);
        if (sign) {
          L::template StoreRows<N>(
              to, count, [](F v) { return Sign(Scale<N>(v)); }, rows + first * N);
        } else {
          L::template StoreRows<N>(to, count, Scale<N>, rows + first * N);
        }
      }
    }
  };

  template <int N>
  struct InverseSignsBody {
    static void Run(const float* tile, uint32_t* negative, uint32_t* zero) {
      F to[N];
      for (int first = 0; first < kTileChunks; first += W) {
        InverseLanes<N>(tile, first, to);
        for (int word = 0; word < MaskWords(N); ++word) {
          U negatives{}, signed_{};
          for (int j = kLast<N>; j >= 0; --j) {
            const F x = Scale<N>(to[32 * word + j]);
            negatives = negatives + negatives - L::template BitCast<U>(L::Mask(x < F{}));
            signed_ =
                signed_ + signed_ - L::template BitCast<U>(L::Mask(x < F{}) | L::Mask(x > F{}));
          }
          const U all = U{} + (N == 16 ? 0xffffu : 0xffffffffu);
          L::StoreMask(negatives, word, first, negative);
          L::StoreMask(all & ~signed_, word, first, zero);
        }
      }
    }
  };
  template <int N>
  static constexpr int kLast = N < 32 ? N - 1 : 31;  // element of a word
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_TRANSFORM_KERNELS_H_
