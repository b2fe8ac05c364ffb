// One-bit values, a magnitude per chunk and a sign each, over lanes (tile_kernels.h). They go over
// all elements of a tile rather than the chosen ones: at the rates that pay, that is fewer
// instructions than one element at a time. Naively, one element at a time: naive_signs.h.
#ifndef ISTHMUS_COMMON_KERNELS_SIGN_KERNELS_H_
#define ISTHMUS_COMMON_KERNELS_SIGN_KERNELS_H_

#include <stdint.h>

#include "common/kernels/lanes.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus {

template <int W>
class SignKernels {
 public:
  static void GatherSigns(int chunk_size, const float* tile, const uint32_t* masks, float* sums,
                          uint32_t* negative) {
    for (int first = 0; first < kTileChunks; first += W) {
      F sum{};
      for (int word = 0; word < MaskWords(chunk_size); ++word) {
        const float* row = tile + word * 32 * kTileChunks + first;
        const int size = WordSize(chunk_size);
        const U mask = L::LoadMask(word, first, masks);
        U chosen = mask;
        U signs{};
        for (int j = 0; j < size; ++j) {
          const U x = L::template BitCast<U>(L::Load(row + j * kTileChunks));
          sum = sum + L::template BitCast<F>(x & (U{} - (chosen & 1)) & 0x7fffffffu);
          chosen = chosen >> 1;
          signs = signs >> 1 | (x & kTop);
        }
        L::StoreMask(mask & signs >> (32 - size), word, first, negative);
      }
      L::Store(sum, sums + first);
    }
  }

  static void SubtractSigns(int chunk_size, const uint32_t* masks, const float* amounts,
                            float* tile) {
    for (int first = 0; first < kTileChunks; first += W) {
      const U amount = L::template BitCast<U>(L::Load(amounts + first));
      for (int word = 0; word < MaskWords(chunk_size); ++word) {
        float* row = tile + word * 32 * kTileChunks + first;
        U chosen = L::LoadMask(word, first, masks);
        for (int j = 0; j < WordSize(chunk_size); ++j, row += kTileChunks) {
          // Taking +0 away changes no number, nor -0.
          const F x = L::Load(row);
          const U signed_amount = amount ^ (L::template BitCast<U>(x) & kTop);
          L::Store(x - L::template BitCast<F>(signed_amount & (U{} - (chosen & 1))), row);
          chosen = chosen >> 1;
        }
      }
    }
  }

  static void MeanSigns(int chunk_size, const SignTile* groups, int count, float* tile) {
    for (int first = 0; first < kTileChunks; first += W) {
      for (int word = 0; word < MaskWords(chunk_size); ++word) {
        float* row = tile + word * 32 * kTileChunks + first;
        const int size = WordSize(chunk_size);
        if (count == 1) {
          MeanWord<1, true, true>(groups, word, first, size, nullptr, nullptr, row);
          continue;
        }
        if (count == 2) {
          MeanWord<2, true, true>(groups, word, first, size, nullptr, nullptr, row);
          continue;
        }
        F sums[32];
        I counts[32];
        MeanWord<2, true, false>(groups, word, first, size, sums, counts, row);
        int at = 2;
        for (; at + 2 < count; at += 2) {
          MeanWord<2, false, false>(groups + at, word, first, size, sums, counts, row);
        }
        if (at + 2 == count) {
          MeanWord<2, false, true>(groups + at, word, first, size, sums, counts, row);
        } else {
          MeanWord<1, false, true>(groups + at, word, first, size, sums, counts, row);
        }
      }
    }
  }

 private:
  using L = Lanes<W>;
  using F = typename L::F;
  using I = typename L::I;
  using U = typename L::U;
  static constexpr uint32_t kTop = 0x80000000;

  static int WordSize(int chunk_size) { return chunk_size < 32 ? chunk_size : 32; }

  // Adds one word of G groups to sums and counts, which `kFirst` takes for zero; with `kLast`,
  // writes the means instead.
  template <int G, bool kFirst, bool kLast>
  static void MeanWord(const SignTile* groups, int word, int first, int size, F* sums, I* counts,
                       float* row) {
    constexpr bool kOnlyTwo = kFirst && kLast && G == 2;
    U chosen[G], negative[G], magnitude[G];
    ISTHMUS_UNROLL
    for (int g = 0; g < G; ++g) {
      chosen[g] = L::LoadMask(word, first, groups[g].masks) << (32 - size);
      negative[g] = L::LoadMask(word, first, groups[g].negative) << (32 - size);
      magnitude[g] = L::template BitCast<U>(L::Load(groups[g].magnitudes + first));
    }
    for (int j = size - 1; j >= 0; --j) {
      F sum{};
      I count{};
      if constexpr (!kFirst) {
        sum = sums[j];
        count = counts[j];
      }
      I sent[G];
      ISTHMUS_UNROLL
      for (int g = 0; g < G; ++g) {
        sent[g] = L::Mask(L::template BitCast<I>(chosen[g]) < I{});
        // (No element is negative without being sent.)
        const F value = L::template BitCast<F>((magnitude[g] & L::template BitCast<U>(sent[g])) ^
                                               (negative[g] & kTop));
        sum = kFirst && g == 0 ? value : sum + value;  // which is never -0
        if constexpr (!kOnlyTwo) count = count - sent[g];
        chosen[g] = chosen[g] + chosen[g];
        negative[g] = negative[g] + negative[g];
      }
      if constexpr (!kLast) {
        sums[j] = sum;
        counts[j] = count;
        continue;
      }
      F mean = sum;
      if constexpr (kOnlyTwo) {
        // Division by two is a product, of the same bits.
        constexpr int32_t kOne = 0x3f800000, kHalf = 0x3f000000;
        mean =
            sum * L::template BitCast<F>((sent[0] & sent[G - 1] & (kOne ^ kHalf)) ^ (I{} + kOne));
      } else if constexpr (!kFirst) {
        mean = sum / L::Convert(L::Blend(L::Mask(count > 1), count, I{} + 1));
      }
      L::Store(mean + 0.0f, row + j * kTileChunks);
    }
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_SIGN_KERNELS_H_
