// Several chunks side by side in a register of W floats or integers, over GCC's vector types. As
// all headers of kernels: members of templates of W, which one source file per instruction set
// instantiates for one W, so that no two sets share a function; no standard library for the same
// reason.
#ifndef ISTHMUS_COMMON_KERNELS_LANES_H_
#define ISTHMUS_COMMON_KERNELS_LANES_H_

#include <stddef.h>
#include <stdint.h>

#include "common/kernels/dct_formulas.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus {

// W floats or integers. (Written out: GCC drops vector_size where the size depends on a template.)
template <int W>
struct LanesOf;
template <>
struct LanesOf<1> {
  using F = float;
  using I = int32_t;
  using U = uint32_t;
  using H = uint16_t;
};
template <>
struct LanesOf<4> {
  using F = float __attribute__((vector_size(16)));
  using I = int32_t __attribute__((vector_size(16)));
  using U = uint32_t __attribute__((vector_size(16)));
  using H = uint16_t __attribute__((vector_size(8)));
};
template <>
struct LanesOf<8> {
  using F = float __attribute__((vector_size(32)));
  using I = int32_t __attribute__((vector_size(32)));
  using U = uint32_t __attribute__((vector_size(32)));
  using H = uint16_t __attribute__((vector_size(16)));
};
template <>
struct LanesOf<16> {
  using F = float __attribute__((vector_size(64)));
  using I = int32_t __attribute__((vector_size(64)));
  using U = uint32_t __attribute__((vector_size(64)));
  using H = uint16_t __attribute__((vector_size(32)));
};

template <int W>
class Lanes {
 public:
  using F = typename LanesOf<W>::F;
  using I = typename LanesOf<W>::I;
  using U = typename LanesOf<W>::U;  // bit masks, which may overflow
  using H = typename LanesOf<W>::H;  // upper halves of floats

  template <typename To, typename From>
  static To BitCast(const From& from) {
    To to;
    __builtin_memcpy(&to, &from, sizeof(to));
    return to;
  }
  static F Load(const float* from) {
    F v;
    __builtin_memcpy(&v, from, sizeof(v));
    return v;
  }
  // The floats whose upper halves these are, and which have no lower ones.
  static F LoadHalves(const uint16_t* from) {
    H halves;
    __builtin_memcpy(&halves, from, sizeof(halves));
    if constexpr (W == 1) {
      return BitCast<F>(static_cast<U>(halves) << 16);
    } else {
      return BitCast<F>(__builtin_convertvector(halves, U) << 16);
    }
  }
  static void Store(F v, float* to) { __builtin_memcpy(to, &v, sizeof(v)); }
  static F Max(F a, F b) { return a > b ? a : b; }
  static F Min(F a, F b) { return a < b ? a : b; }
  static I Key(F v) { return BitCast<I>(v) & 0x7fffffff; }
  static F Abs(F v) { return BitCast<F>(Key(v)); }
  // All bits set where true. (A comparison of scalars gives 0 or 1 instead.)
  static I Mask(I truth) {
    if constexpr (W == 1) {
      return -truth;
    } else {
      return truth;
    }
  }
  // The bits that some lane has: half of the lanes onto the other half, down to one.
  static uint32_t Union(U v) {
    if constexpr (W == 1) {
      return v;
    } else if constexpr (W == 16) {
      return Union8(Folded<typename LanesOf<8>::U>(v));
    } else if constexpr (W == 8) {
      return Union8(v);
    } else {
      return Union4(v);
    }
  }
  // The same of the lower or upper eight of sixteen.
  static uint32_t UnionOfHalf(U v, int half) {
    static_assert(W == 16);
    typename LanesOf<8>::U halves[2];
    __builtin_memcpy(halves, &v, sizeof(halves));
    return Union8(halves[half]);
  }
  static I Blend(I mask, I a, I b) { return (mask & a) | (~mask & b); }
  static bool All(I mask) {
    int32_t lanes[W];
    __builtin_memcpy(lanes, &mask, sizeof(mask));
    int32_t all = -1;
    for (int lane = 0; lane < W; ++lane) all &= lanes[lane];
    return all == -1;
  }
  static bool Any(I mask) {
    int32_t lanes[W];
    __builtin_memcpy(lanes, &mask, sizeof(mask));
    int32_t any = 0;
    for (int lane = 0; lane < W; ++lane) any |= lanes[lane];
    return any != 0;
  }

  static F Convert(I v) {
    if constexpr (W == 1) {
      return static_cast<F>(v);
    } else {
      return __builtin_convertvector(v, F);
    }
  }

  // How many of `chunks` there are from `first` on.
  static int Count(int chunks, int first) { return chunks - first < W ? chunks - first : W; }

  // Masks of a tile: word `word` of chunks [first, first + W).
  static U LoadMask(int word, int first, const uint32_t* masks) {
    U mask;
    __builtin_memcpy(&mask, masks + word * kTileChunks + first, sizeof(mask));
    return mask;
  }
  static void StoreMask(U mask, int word, int first, uint32_t* masks) {
    __builtin_memcpy(masks + word * kTileChunks + first, &mask, sizeof(mask));
  }

  // Element j of the l-th of `chunks` rows becomes lane l of lanes[j]. Lanes left over get the last
  // row once more.
  template <int N>
  static void LoadRows(const float* rows, int chunks, F* lanes) {
    if constexpr (W == 1) {
      for (int j = 0; j < N; ++j) lanes[j] = rows[j];
    } else {
      size_t row[W];
      for (int l = 0; l < W; ++l) row[l] = static_cast<size_t>(l < chunks ? l : chunks - 1) * N;
      for (int block = 0; block < W; block += T) {
        float* to = reinterpret_cast<float*>(lanes) + block;
        for (int j = 0; j < N; j += T) {
          B square[T];
          ISTHMUS_UNROLL
          for (int l = 0; l < T; ++l) square[l] = LoadBlock(rows + row[block + l] + j);
          Transpose(square);
          ISTHMUS_UNROLL
          for (int i = 0; i < T; ++i) StoreBlock(square[i], to + (j + i) * W);
        }
      }
    }
  }

  // The other way round, each element as `map` makes it.
  template <int N, typename Map>
  static void StoreRows(const F* lanes, int chunks, const Map& map, float* rows) {
    if constexpr (W == 1) {
      for (int j = 0; j < N; ++j) rows[j] = map(lanes[j]);
    } else if (chunks < W) {
      for (int j = 0; j < N; ++j) {
        float element[W];
        Store(map(lanes[j]), element);
        for (int l = 0; l < chunks; ++l) rows[l * N + j] = element[l];
      }
    } else {
      for (int j = 0; j < N; j += T) {
        F mapped[T];
        ISTHMUS_UNROLL
        for (int i = 0; i < T; ++i) mapped[i] = map(lanes[j + i]);
        ISTHMUS_UNROLL
        for (int block = 0; block < W; block += T) {
          B square[T];
          ISTHMUS_UNROLL
          for (int i = 0; i < T; ++i) {
            square[i] = LoadBlock(reinterpret_cast<const float*>(mapped + i) + block);
          }
          Transpose(square);
          ISTHMUS_UNROLL
          for (int l = 0; l < T; ++l) StoreBlock(square[l], rows + (block + l) * N + j);
        }
      }
    }
  }

  // Calls `Body<N>::Run(args...)` for the N that is `chunk_size`.
  template <template <int> typename Body, typename... Args>
  static void ForSize(int chunk_size, Args... args) {
    switch (chunk_size) {
      case 16:
        return Body<16>::Run(args...);
      case 32:
        return Body<32>::Run(args...);
      case 64:
        return Body<64>::Run(args...);
      case 128:
        return Body<128>::Run(args...);
      case 256:
        return Body<256>::Run(args...);
      case 512:
        return Body<512>::Run(args...);
      case 1024:
        return Body<1024>::Run(args...);
      case 2048:
        return Body<2048>::Run(args...);
      case 4096:
        return Body<4096>::Run(args...);
      default:
        __builtin_trap();
    }
  }

 private:
  template <typename Half, typename Whole>
  static Half Folded(const Whole& v) {
    Half halves[2];
    __builtin_memcpy(halves, &v, sizeof(halves));
    return halves[0] | halves[1];
  }
  static uint32_t Union8(const typename LanesOf<8>::U& v) {
    return Union4(Folded<typename LanesOf<4>::U>(v));
  }
  static uint32_t Union4(const typename LanesOf<4>::U& v) {
    const uint64_t two = Folded<uint64_t>(v);
    return static_cast<uint32_t>(two | two >> 32);
  }

  // The T x T blocks that transposition works on fit the narrower of register and 8 lanes.
  static constexpr int T = W < 8 ? W : 8;
  using B = typename LanesOf<T>::F;

  static B LoadBlock(const float* from) {
    B v;
    __builtin_memcpy(&v, from, sizeof(v));
    return v;
  }
  static void StoreBlock(B v, float* to) { __builtin_memcpy(to, &v, sizeof(v)); }

  __attribute__((always_inline)) static void Transpose(B* r) {
    if constexpr (T == 4) {
      const B t0 = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
      const B t1 = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
      const B t2 = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
      const B t3 = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
      r[0] = __builtin_shufflevector(t0, t2, 0, 1, 4, 5);
      r[1] = __builtin_shufflevector(t0, t2, 2, 3, 6, 7);
      r[2] = __builtin_shufflevector(t1, t3, 0, 1, 4, 5);
      r[3] = __builtin_shufflevector(t1, t3, 2, 3, 6, 7);
    } else if constexpr (T == 8) {
      B t[8];
      ISTHMUS_UNROLL
      for (int i = 0; i < 8; i += 2) {
        t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
      }
      B u[8];
      ISTHMUS_UNROLL
      for (int i = 0; i < 8; i += 4) {
        ISTHMUS_UNROLL
        for (int j = 0; j < 2; ++j) {
          u[i + 2 * j] = __builtin_shufflevector(t[i + j], t[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
          u[i + 2 * j + 1] =
              __builtin_shufflevector(t[i + j], t[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
      }
      ISTHMUS_UNROLL
      for (int i = 0; i < 4; ++i) {
        r[i] = __builtin_shufflevector(u[i], u[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        r[i + 4] = __builtin_shufflevector(u[i], u[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
      }
    }
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_LANES_H_
