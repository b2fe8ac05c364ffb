// The k largest magnitudes of every chunk (tile_kernels.h), over lanes. Naively, by a sort:
// naive_select.h.
#ifndef ISTHMUS_COMMON_KERNELS_SELECT_KERNELS_H_
#define ISTHMUS_COMMON_KERNELS_SELECT_KERNELS_H_

#include <stdint.h>

#include "common/kernels/lanes.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus {

template <int W>
class SelectKernels {
 public:
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
          const I taken = L::Mask(L::Abs(L::Load(row + j * kTileChunks)) >= kth);
          bits = bits + bits - L::template BitCast<U>(taken);
          counts = counts - taken;
        }
        L::StoreMask(bits, word, first, masks);
      }
      if (!L::Any(L::Mask(counts > k))) continue;
      int32_t count[W];
      __builtin_memcpy(count, &counts, sizeof(counts));
      for (int lane = 0; lane < W; ++lane) {
        if (count[lane] > k) BreakTies(chunk_size, k, tile, first + lane, masks);
      }
    }
  }

 private:
  using L = Lanes<W>;
  using F = typename L::F;
  using I = typename L::I;
  using U = typename L::U;

  // Sorting networks, descending, lane by lane: data never decides what is executed, and every lane
  // works. (Batcher, "Sorting networks and their applications", 1968.)
  static void Exchange(F& a, F& b) {
    const F low = L::Min(a, b);
    a = L::Max(a, b);
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
  template <int N, int Step>
  static void OddEvenMerge(F* x) {
    if constexpr (2 * Step < N) {
      OddEvenMerge<N, 2 * Step>(x);
      OddEvenMerge<N, 2 * Step>(x + Step);
      ISTHMUS_UNROLL
      for (int i = Step; i + Step < N; i += 2 * Step) Exchange(x[i], x[i + Step]);
    } else {
      Exchange(x[0], x[Step]);
    }
  }
  template <int K>
  static void Sort(F* x) {
    if constexpr (K > 1) {
      Sort<K / 2>(x);
      Sort<K / 2>(x + K / 2);
      OddEvenMerge<K, 1>(x);
    }
  }

  // The k-th largest magnitude per lane, k <= K: the K largest of K more elements and the K largest
  // so far are the larger of each two when one list runs backwards.
  template <int K>
  static F KthByNetwork(int chunk_size, int k, const float* tile) {
    F top[K];
    ISTHMUS_UNROLL
    for (int i = 0; i < K; ++i) top[i] = L::Abs(L::Load(tile + i * kTileChunks));
    Sort<K>(top);
    for (int at = K; at < chunk_size; at += K) {
      F next[K];
      ISTHMUS_UNROLL
      for (int i = 0; i < K; ++i) next[i] = L::Abs(L::Load(tile + (at + i) * kTileChunks));
      Sort<K>(next);
      ISTHMUS_UNROLL
      for (int i = 0; i < K; ++i) top[i] = L::Max(top[i], next[K - 1 - i]);
      if (at + K < chunk_size || k < K) {
        BitonicMerge<K>(top);
        continue;
      }
      F least = top[0];  // of the K largest: no order needed
      ISTHMUS_UNROLL
      for (int i = 1; i < K; ++i) least = L::Min(least, top[i]);
      return least;
    }
    return top[k - 1];
  }

  // A magnitude that exactly k elements reach, or the k-th largest one if there is none: bisection
  // by counting. Invariant: at least k keys are >= low, fewer than k are >= high.
  static F KthByCounting(int chunk_size, int k, const float* tile) {
    I low = L::Key(L::Load(tile)), high = low;
    for (int j = 1; j < chunk_size; ++j) {
      const I key = L::Key(L::Load(tile + j * kTileChunks));
      low = L::Blend(L::Mask(key < low), key, low);
      high = L::Blend(L::Mask(key > high), key, high);
    }
    high = high + 1;
    while (L::Any(L::Mask(high - low > 1))) {
      const I middle = low + ((high - low) >> 1);
      I count{};
      for (int j = 0; j < chunk_size; ++j) {
        count = count - L::Mask(L::Key(L::Load(tile + j * kTileChunks)) >= middle);
      }
      const I enough = L::Mask(count >= k);
      low = L::Blend(enough, middle, low);
      high = L::Blend(enough, high, middle);
      high = L::Blend(L::Mask(count == k), low + 1, high);  // found
    }
    return L::template BitCast<F>(low);
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
      const uint32_t key = L::template BitCast<uint32_t>(tile[j * kTileChunks + lane]) & 0x7fffffff;
      kth = key < kth ? key : kth;
      ++count;
    }
    for (int j = chunk_size - 1; j >= 0 && count > k; --j) {
      const uint32_t key = L::template BitCast<uint32_t>(tile[j * kTileChunks + lane]) & 0x7fffffff;
      if (key != kth) continue;
      masks[j / 32 * kTileChunks + lane] &= ~(uint32_t{1} << (j % 32));
      --count;
    }
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_SELECT_KERNELS_H_
