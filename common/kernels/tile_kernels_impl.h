// The kernels of tile_kernels.h for registers of W floats. Included by one source file per
// instruction set, which is compiled for it and instantiates exactly one W: everything here is a
// member of a template of W, so no two instruction sets share a function. No standard library for
// the same reason.
#ifndef ISTHMUS_COMMON_KERNELS_TILE_KERNELS_IMPL_H_
#define ISTHMUS_COMMON_KERNELS_TILE_KERNELS_IMPL_H_

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
};
template <>
struct LanesOf<4> {
  using F = float __attribute__((vector_size(16)));
  using I = int32_t __attribute__((vector_size(16)));
  using U = uint32_t __attribute__((vector_size(16)));
};
template <>
struct LanesOf<8> {
  using F = float __attribute__((vector_size(32)));
  using I = int32_t __attribute__((vector_size(32)));
  using U = uint32_t __attribute__((vector_size(32)));
};
template <>
struct LanesOf<16> {
  using F = float __attribute__((vector_size(64)));
  using I = int32_t __attribute__((vector_size(64)));
  using U = uint32_t __attribute__((vector_size(64)));
};

template <int W>
class VectorKernels {
 public:
  static constexpr TileKernels Table(const char* name) {
    return {name,         ForwardRows, InverseRows, Accumulate,     Select, InverseTile,
            InverseSigns, Mean,        Unrank,      AccumulateFlat, Sgd,    ExpandSigns};
  }

 private:
  using F = typename LanesOf<W>::F;
  using I = typename LanesOf<W>::I;
  using U = typename LanesOf<W>::U;  // bit masks, which may overflow
  using Dct = DctFormulas<F>;

  // --- lanes -----------------------------------------------------------------------------------

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
  static I Select(I mask, I a, I b) { return (mask & a) | (~mask & b); }
  static bool Any(I mask) {
    int32_t lanes[W];
    __builtin_memcpy(lanes, &mask, sizeof(mask));
    int32_t any = 0;
    for (int lane = 0; lane < W; ++lane) any |= lanes[lane];
    return any != 0;
  }

  // --- rows and lanes --------------------------------------------------------------------------

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

  // Lane l of lanes[j] becomes element j of the l-th of `chunks` rows. Lanes left over get the last
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

  template <int N>
  static void StoreRows(const F* lanes, int chunks, float* rows) {
    if constexpr (W == 1) {
      for (int j = 0; j < N; ++j) rows[j] = lanes[j];
    } else if (chunks < W) {
      const float* from = reinterpret_cast<const float*>(lanes);
      for (int l = 0; l < chunks; ++l) {
        for (int j = 0; j < N; ++j) rows[l * N + j] = from[j * W + l];
      }
    } else {
      for (int block = 0; block < W; block += T) {
        const float* from = reinterpret_cast<const float*>(lanes) + block;
        for (int j = 0; j < N; j += T) {
          B square[T];
          ISTHMUS_UNROLL
          for (int i = 0; i < T; ++i) square[i] = LoadBlock(from + (j + i) * W);
          Transpose(square);
          ISTHMUS_UNROLL
          for (int l = 0; l < T; ++l) StoreBlock(square[l], rows + (block + l) * N + j);
        }
      }
    }
  }

  // --- transforms ------------------------------------------------------------------------------

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

  static int Lanes(int chunks, int first) { return chunks - first < W ? chunks - first : W; }

  template <int N>
  struct ForwardRowsBody {
    static void Run(const float* in, size_t count, float* out) {
      F from[N], to[N];
      for (size_t first = 0; first < count; first += W) {
        const int chunks = count - first < W ? static_cast<int>(count - first) : W;
        LoadRows<N>(in + first * N, chunks, from);
        Dct::template Dct2<N>(from, to, 1);
        for (int j = 0; j < N; ++j) to[j] = InverseSqrt<N>() * to[j];
        StoreRows<N>(to, chunks, out + first * N);
      }
    }
  };

  template <int N>
  struct InverseRowsBody {
    static void Run(const float* in, size_t count, float* out) {
      F from[N], to[N];
      for (size_t first = 0; first < count; first += W) {
        const int chunks = count - first < W ? static_cast<int>(count - first) : W;
        LoadRows<N>(in + first * N, chunks, from);
        Dct::template InverseDct2<N>(from, 1, to);
        for (int j = 0; j < N; ++j) to[j] = InverseSqrt<N>() * to[j];
        StoreRows<N>(to, chunks, out + first * N);
      }
    }
  };

  template <int N>
  struct AccumulateBody {
    static void Run(const float* gradient, int chunks, float decay, float scale, float* momentum) {
      F from[N], to[N];
      for (int first = 0; first < chunks; first += W) {
        LoadRows<N>(gradient + first * N, Lanes(chunks, first), from);
        Dct::template Dct2<N>(from, to, 1);
        float* m = momentum + first;
        for (int j = 0; j < N; ++j, m += kTileChunks) {
          const F coefficient = InverseSqrt<N>() * to[j];
          Store(decay * Load(m) + scale * coefficient, m);
        }
      }
    }
  };

  // The inverse DCT of lanes [first, first + W) of a tile, unsigned.
  template <int N>
  static void InverseLanes(const float* tile, int first, F* to) {
    F from[N];
    for (int j = 0; j < N; ++j) from[j] = Load(tile + j * kTileChunks + first);
    Dct::template InverseDct2<N>(from, 1, to);
    for (int j = 0; j < N; ++j) to[j] = InverseSqrt<N>() * to[j];
  }

  template <int N>
  struct InverseTileBody {
    static void Run(const float* tile, int chunks, bool sign, float* rows) {
      F to[N];
      for (int first = 0; first < chunks; first += W) {
        InverseLanes<N>(tile, first, to);
        if (sign) {
          const I one = BitCast<I>(F{} + 1.0f);
          for (int j = 0; j < N; ++j) {
            const I positive = Mask(to[j] > F{}) & one;
            const I negative = Mask(to[j] < F{}) & (one | static_cast<int32_t>(0x80000000));
            to[j] = BitCast<F>(positive | negative);
          }
        }
        StoreRows<N>(to, Lanes(chunks, first), rows + first * N);
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
          for (int j = Last<N>(word); j >= 0; --j) {
            const F x = to[32 * word + j];
            negatives = negatives + negatives - BitCast<U>(Mask(x < F{}));
            signed_ = signed_ + signed_ - BitCast<U>(Mask(x < F{}) | Mask(x > F{}));
          }
          const U all = U{} + (N == 16 ? 0xffffu : 0xffffffffu);
          StoreMask(negatives, word, first, negative);
          StoreMask(all & ~signed_, word, first, zero);
        }
      }
    }
  };

  template <int N>
  static constexpr int Last(int /*word*/) {
    return N < 32 ? N - 1 : 31;
  }
  static void StoreMask(U mask, int word, int first, uint32_t* masks) {
    __builtin_memcpy(masks + word * kTileChunks + first, &mask, sizeof(mask));
  }

  static void ForwardRows(int chunk_size, const float* in, size_t count, float* out) {
    ForSize<ForwardRowsBody>(chunk_size, in, count, out);
  }
  static void InverseRows(int chunk_size, const float* in, size_t count, float* out) {
    ForSize<InverseRowsBody>(chunk_size, in, count, out);
  }
  static void Accumulate(int chunk_size, const float* gradient, int chunks, float decay,
                         float scale, float* momentum) {
    ForSize<AccumulateBody>(chunk_size, gradient, chunks, decay, scale, momentum);
  }
  static void InverseTile(int chunk_size, const float* tile, int chunks, bool sign, float* rows) {
    ForSize<InverseTileBody>(chunk_size, tile, chunks, sign, rows);
  }
  static void InverseSigns(int chunk_size, const float* tile, uint32_t* negative, uint32_t* zero) {
    ForSize<InverseSignsBody>(chunk_size, tile, negative, zero);
  }

  // --- selection -------------------------------------------------------------------------------

  // Bitonic sorting networks, descending, lane by lane: data never decides what is executed, and
  // every lane works. (Batcher, "Sorting networks and their applications", 1968.)
  static void Exchange(F& a, F& b) {
    const F low = Min(a, b);
    a = Max(a, b);
    b = low;
  }
  template <int K>
  static void BitonicMerge(F* x) {
    if constexpr (K > 1) {
      ISTHMUS_UNROLL
      for (int i = 0; i < K / 2; ++i) Exchange(x[i], x[i + K / 2]);
      BitonicMerge<K / 2>(x);
      BitonicMerge<K / 2>(x + K / 2);
    }
  }
  template <int K>
  static void Sort(F* x) {
    if constexpr (K > 1) {
      Sort<K / 2>(x);
      Sort<K / 2>(x + K / 2);
      ISTHMUS_UNROLL
      for (int i = 0; i < K / 2; ++i) Exchange(x[i], x[K - 1 - i]);
      BitonicMerge<K / 2>(x);
      BitonicMerge<K / 2>(x + K / 2);
    }
  }

  // The k-th largest magnitude per lane, k <= K: the K largest of K more elements and the K largest
  // so far are the larger of each two when one list runs backwards.
  template <int K>
  static F KthByNetwork(int chunk_size, int k, const float* tile) {
    F top[K];
    ISTHMUS_UNROLL
    for (int i = 0; i < K; ++i) top[i] = Abs(Load(tile + i * kTileChunks));
    Sort<K>(top);
    for (int at = K; at < chunk_size; at += K) {
      F next[K];
      ISTHMUS_UNROLL
      for (int i = 0; i < K; ++i) next[i] = Abs(Load(tile + (at + i) * kTileChunks));
      Sort<K>(next);
      ISTHMUS_UNROLL
      for (int i = 0; i < K; ++i) top[i] = Max(top[i], next[K - 1 - i]);
      BitonicMerge<K>(top);
    }
    return top[k - 1];
  }

  // A magnitude that exactly k elements reach, or the k-th largest one if there is none: bisection
  // by counting. Invariant: at least k keys are >= low, fewer than k are >= high.
  static F KthByCounting(int chunk_size, int k, const float* tile) {
    I low = Key(Load(tile)), high = low;
    for (int j = 1; j < chunk_size; ++j) {
      const I key = Key(Load(tile + j * kTileChunks));
      low = Select(Mask(key < low), key, low);
      high = Select(Mask(key > high), key, high);
    }
    high = high + 1;
    while (Any(Mask(high - low > 1))) {
      const I middle = low + ((high - low) >> 1);
      I count{};
      for (int j = 0; j < chunk_size; ++j) {
        count = count - Mask(Key(Load(tile + j * kTileChunks)) >= middle);
      }
      const I enough = Mask(count >= k);
      low = Select(enough, middle, low);
      high = Select(enough, high, middle);
      high = Select(Mask(count == k), low + 1, high);  // found
    }
    return BitCast<F>(low);
  }

  static F Kth(int chunk_size, int k, const float* tile) {
    if (k == 1) return KthByNetwork<1>(chunk_size, k, tile);
    if (k == 2) return KthByNetwork<2>(chunk_size, k, tile);
    if (k <= 4) return KthByNetwork<4>(chunk_size, k, tile);
    if (k <= 8) return KthByNetwork<8>(chunk_size, k, tile);
    return KthByCounting(chunk_size, k, tile);
  }

  // Of the elements of chunk `lane` equal to the smallest selected one, only the lowest stay, so
  // that k are left.
  static void BreakTies(int chunk_size, int k, const float* tile, int lane, uint32_t* masks) {
    uint32_t kth = 0x7fffffff;
    int count = 0;
    for (int j = 0; j < chunk_size; ++j) {
      if ((masks[j / 32 * kTileChunks + lane] >> (j % 32) & 1) == 0) continue;
      const uint32_t key = BitCast<uint32_t>(tile[j * kTileChunks + lane]) & 0x7fffffff;
      kth = key < kth ? key : kth;
      ++count;
    }
    for (int j = chunk_size - 1; j >= 0 && count > k; --j) {
      const uint32_t key = BitCast<uint32_t>(tile[j * kTileChunks + lane]) & 0x7fffffff;
      if (key != kth) continue;
      masks[j / 32 * kTileChunks + lane] &= ~(uint32_t{1} << (j % 32));
      --count;
    }
  }

  static void Select(int chunk_size, int k, const float* tile, int chunks, uint32_t* masks) {
    const int words = MaskWords(chunk_size);
    const int last = chunk_size < 32 ? chunk_size - 1 : 31;
    for (int first = 0; first < chunks; first += W) {
      const F kth = Kth(chunk_size, k, tile + first);
      I counts{};
      for (int word = 0; word < words; ++word) {
        U bits{};
        const float* row = tile + word * 32 * kTileChunks + first;
        for (int j = last; j >= 0; --j) {
          const I taken = Mask(Abs(Load(row + j * kTileChunks)) >= kth);
          bits = bits + bits - BitCast<U>(taken);
          counts = counts - taken;
        }
        StoreMask(bits, word, first, masks);
      }
      if (!Any(Mask(counts > k))) continue;
      int32_t count[W];
      __builtin_memcpy(count, &counts, sizeof(counts));
      for (int lane = 0; lane < W; ++lane) {
        if (count[lane] > k) BreakTies(chunk_size, k, tile, first + lane, masks);
      }
    }
  }

  // --- element by element ----------------------------------------------------------------------

  // The even and the odd elements of two registers.
  static F Even(F a, F b) {
    if constexpr (W == 4) return __builtin_shufflevector(a, b, 0, 2, 4, 6);
    if constexpr (W == 8) return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
    if constexpr (W == 16) {
      return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28,
                                     30);
    }
    if constexpr (W == 1) return a;
  }
  static F Odd(F a, F b) {
    if constexpr (W == 4) return __builtin_shufflevector(a, b, 1, 3, 5, 7);
    if constexpr (W == 8) return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
    if constexpr (W == 16) {
      return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29,
                                     31);
    }
    if constexpr (W == 1) return b;
  }

  static void Mean(float most, const float* pairs, float* out, size_t n) {
    size_t i = 0;
    for (; i + W <= n; i += W) {
      const F a = Load(pairs + 2 * i), b = Load(pairs + 2 * i + W);
      const F sum = Even(a, b), count = Odd(a, b);
      // Division by one and by two are products, of the same bits.
      const F mean = most <= 2.0f ? sum * (count > 1.0f ? F{} + 0.5f : F{} + 1.0f)
                                  : sum / Max(count, F{} + 1.0f);
      Store(mean + 0.0f, out + i);
    }
    for (; i < n; ++i) {
      const float count = pairs[2 * i + 1];
      out[i] = pairs[2 * i] / (count > 1.0f ? count : 1.0f) + 0.0f;
    }
  }

  static size_t GuessKey(uint64_t rank) {
    const uint64_t bits = BitCast<uint64_t>(static_cast<double>(static_cast<int64_t>(rank + 1)));
    return static_cast<size_t>((bits >> (52 - kGuessBits)) - (uint64_t{1023} << kGuessBits));
  }

  static void Unrank(const UnrankTables& tables, uint64_t* ranks, int lanes, uint16_t* indices) {
    const uint32_t k = tables.k;
    for (uint32_t i = k; i-- > 0;) {
      const uint64_t* row = tables.binomials + size_t{i} * (tables.chunk_size + 1);
      const uint16_t* guess = tables.guesses + size_t{i} * kGuessKeys;
      const int more = tables.steps[i] - 1;
      uint16_t* const out = indices + i;
      // Lanes side by side: each is a chain of look-ups.
      for (int lane = 0; lane < lanes; ++lane) {
        const uint64_t rank = ranks[lane];
        uint64_t c = guess[GuessKey(rank)];
        // Keeps compilers from making gathers of this, which are slower than loads.
        __asm__("" : "+r"(c));
        c += row[c + 1] <= rank ? 1 : 0;
        for (int step = 0; step < more; ++step) c += row[c + 1] <= rank ? 1 : 0;
        ranks[lane] = rank - row[c];
        out[static_cast<uint32_t>(lane) * k] = static_cast<uint16_t>(c);
      }
    }
  }

  static void AccumulateFlat(float decay, float scale, const float* gradient, float* momentum,
                             size_t n) {
    size_t i = 0;
    for (; i + W <= n; i += W) {
      Store(decay * Load(momentum + i) + scale * Load(gradient + i), momentum + i);
    }
    for (; i < n; ++i) momentum[i] = decay * momentum[i] + scale * gradient[i];
  }

  static void Sgd(float decay, float lr, const float* direction, float* parameters, size_t n) {
    size_t i = 0;
    for (; i + W <= n; i += W) {
      Store(decay * Load(parameters + i) - lr * Load(direction + i), parameters + i);
    }
    for (; i < n; ++i) parameters[i] = decay * parameters[i] - lr * direction[i];
  }

  static void ExpandSigns(const uint8_t* bits, float* direction, size_t n) {
    if constexpr (W >= 8) {
      using U8 = typename LanesOf<8>::U;
      const U8 shifts = {31, 30, 29, 28, 27, 26, 25, 24};
      for (size_t i = 0; i < n; i += 8) {
        const U8 byte = U8{} + uint32_t{bits[i / 8]};
        const U8 lanes = (byte << shifts & 0x80000000u) | 0x3f800000u;
        __builtin_memcpy(direction + i, &lanes, sizeof(lanes));
      }
    } else {
      for (size_t i = 0; i < n; i += 8) {
        const uint32_t byte = bits[i / 8];
        uint32_t out[8];
        for (uint32_t j = 0; j < 8; ++j) out[j] = 0x3f800000u | (byte << (31 - j) & 0x80000000u);
        __builtin_memcpy(direction + i, out, sizeof(out));
      }
    }
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_TILE_KERNELS_IMPL_H_
