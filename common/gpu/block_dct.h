// The DCT of all chunks of a block, bit for bit that of dct_formulas.h: the upper levels of its
// recursion pair by pair in shared memory, by all threads of a chunk; what is left, parts of up to
// 64 elements, in one thread's registers. Naively: common/kernels/naive_dct.h; held to the CPU's by
// extract_kernel_test.cc and apply_kernel_test.cc.
//
// A part at some level is a number: of the two halves of part b, 2 b is the lower and 2 b + 1 the
// upper one. The first is a DCT-II, of which the upper half is a DCT-IV; both halves of a DCT-IV
// are DCT-IIs.
#ifndef ISTHMUS_COMMON_GPU_BLOCK_DCT_H_
#define ISTHMUS_COMMON_GPU_BLOCK_DCT_H_

#include <stddef.h>
#include <stdint.h>

#include "common/gpu/chunk_block.h"
#include "common/kernels/dct_formulas.h"

namespace isthmus {

// Both directions leave numbers unscaled: sqrt(N) times too large (dct_formulas.h).
template <int N, typename Thread>
class BlockDct {
 public:
  using Place = ChunkThread<N, Thread>;
  using Shape = ChunkShape<N>;

  // All: rows, which are used up, hold x; `values` becomes this thread's part of X.
  ISTHMUS_KERNEL static void Forward(Place& place, float (&values)[Shape::kPart]) {
    float from[Shape::kPart];
    if constexpr (Shape::kParts == 1) {
      place.LoadPart(from);
      Dct::template Dct2<N>(from, values, 1);
    } else {
      Split<N>(place);
      place.LoadPart(from);
      if (IsFour(place.part())) {
        Dct::template Dct4<Shape::kPart>(from, values, 1);
      } else {
        Dct::template Dct2<Shape::kPart>(from, values, 1);
      }
      place.Meet();  // all have their parts
      const Strided to = PlaceOf<Shape::kPart>(place.part());
      for (int i = 0; i < Shape::kPart; ++i) place.row()[to.first + i * to.stride] = values[i];
      place.Meet();
      Combine<2 * Shape::kPart>(place);
      place.LoadPart(values);
    }
  }

  // All: `values` holds this thread's part of X; rows become x. Nobody reads rows any more when it
  // begins, and threads have met when it ends.
  ISTHMUS_KERNEL static void Inverse(Place& place, float (&values)[Shape::kPart]) {
    float to[Shape::kPart];
    if constexpr (Shape::kParts == 1) {
      Dct::template InverseDct2<N>(values, 1, to);
      place.StorePart(to);
      place.Meet();
    } else {
      place.StorePart(values);
      place.Meet();
      TransposedCombine<2 * Shape::kPart>(place);
      const Strided from = PlaceOf<Shape::kPart>(place.part());
      for (int i = 0; i < Shape::kPart; ++i) values[i] = place.row()[from.first + i * from.stride];
      place.Meet();
      if (IsFour(place.part())) {
        Dct::template InverseDct4<Shape::kPart>(values, 1, to);
      } else {
        Dct::template InverseDct2<Shape::kPart>(values, 1, to);
      }
      place.StorePart(to);
      place.Meet();
      Join<2 * Shape::kPart>(place);
    }
  }

  // What makes the transform orthonormal.
  ISTHMUS_KERNEL static constexpr float Scale() { return InverseSqrt<N>(); }

 private:
  using Dct = DctFormulas<float>;

  // Whether part b is a DCT-IV: its number ends with an odd number of ones.
  ISTHMUS_KERNEL static bool IsFour(uint32_t b) { return LowestOne(~uint64_t{b}) % 2 == 1; }

  // Where the results of part b of size M belong among the N.
  struct Strided {
    int first;
    int stride;
  };
  template <int M>
  ISTHMUS_KERNEL static Strided PlaceOf(uint32_t b) {
    Strided at = {0, 1};
    bool four = false;
    uint32_t bit = N / M / 2;
    for (int size = N; size > M; size /= 2, bit /= 2) {
      const bool upper = (b & bit) != 0;
      if (upper) at.first += four ? (size - 1) * at.stride : at.stride;
      at.stride *= four && upper ? -2 : 2;
      four = !four && upper;
    }
    return at;
  }

  // From sums and differences, or rotations, of size M down to parts.
  template <int M>
  ISTHMUS_KERNEL static void Split(Place& place) {
    if constexpr (M > Shape::kPart) {
      for (uint32_t i = 0; i < Shape::kPart / 4; ++i) {
        const uint32_t quad = place.part() * (Shape::kPart / 4) + i;
        const uint32_t b = quad / (M / 4);
        const int j = static_cast<int>(quad % (M / 4));
        if (IsFour(b)) {
          Dct::template RotateQuad<M>(j, place.row() + b * M);
        } else {
          Dct::template ButterflyQuad<M>(j, place.row() + b * M);
        }
      }
      place.Meet();
      Split<M / 2>(place);
    }
  }
  template <int M>
  ISTHMUS_KERNEL static void Join(Place& place) {
    if constexpr (M <= N) {
      for (uint32_t i = 0; i < Shape::kPart / 4; ++i) {
        const uint32_t quad = place.part() * (Shape::kPart / 4) + i;
        const uint32_t b = quad / (M / 4);
        const int j = static_cast<int>(quad % (M / 4));
        if (IsFour(b)) {
          Dct::template TransposedRotateQuad<M>(j, place.row() + b * M);
        } else {
          Dct::template TransposedButterflyQuad<M>(j, place.row() + b * M);
        }
      }
      place.Meet();
      Join<2 * M>(place);
    }
  }

  // The last steps of the DCT-IVs, from size M up to the largest, N / 2.
  template <int M>
  ISTHMUS_KERNEL static void Combine(Place& place) {
    if constexpr (M < N) {
      for (uint32_t i = 0; i < Shape::kPart / 2; ++i) {
        const uint32_t pair = place.part() * (Shape::kPart / 2) + i;
        const uint32_t b = pair / (M / 2);
        if (!IsFour(b)) continue;
        const Strided at = PlaceOf<M>(b);
        Dct::template CombinePair<M>(static_cast<int>(pair % (M / 2)), place.row() + at.first,
                                     at.stride);
      }
      place.Meet();
      Combine<2 * M>(place);
    }
  }
  template <int M>
  ISTHMUS_KERNEL static void TransposedCombine(Place& place) {
    if constexpr (M < N) {
      TransposedCombine<2 * M>(place);  // the largest first
      for (uint32_t i = 0; i < Shape::kPart / 2; ++i) {
        const uint32_t pair = place.part() * (Shape::kPart / 2) + i;
        const uint32_t b = pair / (M / 2);
        if (!IsFour(b)) continue;
        const Strided at = PlaceOf<M>(b);
        Dct::template TransposedCombinePair<M>(static_cast<int>(pair % (M / 2)),
                                               place.row() + at.first, at.stride);
      }
      place.Meet();
    }
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_BLOCK_DCT_H_
