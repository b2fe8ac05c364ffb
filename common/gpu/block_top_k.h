// Which elements of every chunk of a block are its k largest: the selection of tile_kernels.h,
// naively common/kernels/naive_select.h. Held to the CPU's by extract_kernel_test.cc; that it ends,
// by top_k_search_test.cc.
#ifndef ISTHMUS_COMMON_GPU_BLOCK_TOP_K_H_
#define ISTHMUS_COMMON_GPU_BLOCK_TOP_K_H_

#include <math.h>
#include <stdint.h>

#include "common/gpu/chunk_block.h"
#include "common/kernels/value_codes.h"

namespace isthmus {

// Closes in on the k-th largest magnitude of a chunk from both sides: at least k magnitudes reach
// `lower`, fewer reach `upper`. Thresholds are the bits of floats. Where it looks next is a guess,
// and need not be the same on two machines: whatever it tries, the same elements are found.
class TopKSearch {
 public:
  static constexpr uint32_t kInfinity = 0x7f800000;

  // `mean` of the n magnitudes, 0 < k < n.
  ISTHMUS_KERNEL TopKSearch(uint32_t n, uint32_t k, float mean)
      : k_(k),
        // If their logarithms fell off evenly, half as many would reach a threshold this much
        // higher.
        halving_(0.6931f * mean),
        reach_lower_(n),
        next_(FloatBits(halving_ * (Log2(static_cast<float>(n)) - Log2(static_cast<float>(k))))) {}

  ISTHMUS_KERNEL uint32_t lower() const { return lower_; }
  ISTHMUS_KERNEL uint32_t upper() const { return upper_; }
  ISTHMUS_KERNEL uint32_t reach_lower() const { return reach_lower_; }
  ISTHMUS_KERNEL uint32_t reach_upper() const { return reach_upper_; }

  // The threshold to try next, between both.
  ISTHMUS_KERNEL uint32_t Next() const {
    if (next_ <= lower_) return lower_ + 1;
    return next_ < upper_ ? next_ : upper_ - 1;
  }
  // `reach` magnitudes reach `threshold`. Returns whether that many are enough: it is `lower` now.
  ISTHMUS_KERNEL bool Tell(uint32_t threshold, uint32_t reach) {
    const bool enough = reach >= k_;
    if (enough) {
      lower_ = threshold;
      reach_lower_ = reach;
    } else {
      upper_ = threshold;
      reach_upper_ = reach;
    }
    next_ = Guess(enough);
    ++tries_;
    return enough;
  }
  // Whether the rest is best found among the few magnitudes between both, if not all are wanted.
  ISTHMUS_KERNEL bool IsNear() const {
    return reach_lower_ == k_ || upper_ - lower_ == 1 ||
           (k_ - reach_upper_) * (reach_lower_ - reach_upper_) <= kFewSteps;
  }
  // Whether all magnitudes between both are the same.
  ISTHMUS_KERNEL bool AreTied() const { return upper_ - lower_ == 1 && upper_ != kInfinity; }

 private:
  // What it takes to find w of m magnitudes one by one, w * m, that costs less than a try.
  static constexpr uint32_t kFewSteps = 16;

  // Roughly: exact for powers of two, straight lines between.
  ISTHMUS_KERNEL static float Log2(float x) {
    return static_cast<float>(static_cast<int32_t>(FloatBits(x) - 0x3f800000)) * 0x1p-23f;
  }
  // Roughly.
  ISTHMUS_KERNEL static float Divide(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fdividef(a, b);
#else
    return a / b;
#endif
  }

  // As if the logarithm of how many reach a threshold were a straight line; a little further, so
  // that the other side comes close, too. Every fourth guess halves what is left, whatever the
  // numbers.
  ISTHMUS_KERNEL uint32_t Guess(bool enough) const {
    if (tries_ % 4 == 3) return lower_ == 0 ? 1 : lower_ + (upper_ - lower_) / 2;
    constexpr float kFurther = 1.5f;
    const auto k = static_cast<float>(k_);
    const float aim = Log2(!enough ? k + kFurther : k > kFurther ? k - kFurther : 0.5f);
    const float at_lower = Log2(static_cast<float>(reach_lower_));
    const float at_upper = reach_upper_ == 0 ? -1.0f : Log2(static_cast<float>(reach_upper_));
    const float lower = FloatOf(lower_), upper = FloatOf(upper_);
    float guess;
    if (upper_ == kInfinity) {
      guess = fminf(lower + halving_ * (at_lower - aim), 2.0f * lower);
    } else if (lower_ == 0) {
      guess = fmaxf(upper + halving_ * (at_upper - aim), 0.25f * upper);
    } else {
      guess = lower + (upper - lower) * Divide(at_lower - aim, at_lower - at_upper);
    }
    const uint32_t bits = FloatBits(guess);
    return bits > lower_ && bits < upper_ ? bits : lower_ + (upper_ - lower_) / 2;
  }

  const uint32_t k_;
  const float halving_;
  uint32_t lower_ = 0, upper_ = kInfinity;
  uint32_t reach_lower_, reach_upper_ = 0;
  uint32_t next_;
  uint32_t tries_ = 0;
};

template <int N, typename Thread>
class BlockTopK {
 public:
  using Place = ChunkThread<N, Thread>;
  using Shape = ChunkShape<N>;

  // All: bit j of the result is element j of this thread's part, whose `values` are in its row,
  // too. Exactly k bits of a chunk, 0 < k < N; of equal magnitudes the lower element wins.
  ISTHMUS_KERNEL static uint64_t Select(Place& place, const float (&values)[Shape::kPart],
                                        uint32_t k) {
    TopKSearch search(N, k, place.Sum(SumOfMagnitudes(values)) / N);
    uint64_t reaching_lower = Shape::kAllOfPart, reaching_upper = 0;
    bool near = !place.live();
    while (place.Any(!near)) {
      const uint32_t threshold = search.Next();
      const uint64_t reaching = Reaching(values, FloatOf(threshold));
      const uint32_t reach = place.Scan(CountOnes(reaching)).all;
      if (near) continue;
      (search.Tell(threshold, reach) ? reaching_lower : reaching_upper) = reaching;
      near = search.IsNear();
    }
    return SelectBetween(place, search, k, reaching_lower, reaching_upper);
  }

 private:
  ISTHMUS_KERNEL static float SumOfMagnitudes(const float (&values)[Shape::kPart]) {
    float sums[4] = {};
    ISTHMUS_KERNEL_UNROLL
    for (int j = 0; j < Shape::kPart; ++j) sums[j % 4] += fabsf(values[j]);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }

  // Bit j: |values[j]| >= threshold, which is finite.
  ISTHMUS_KERNEL static uint64_t Reaching(const float (&values)[Shape::kPart], float threshold) {
    uint32_t below[2] = {};
    ISTHMUS_KERNEL_UNROLL
    for (int j = Shape::kPart - 1; j >= 0; --j) {
      // The difference of unequal floats is never zero.
      below[j / 32] = PushSign(below[j / 32], fabsf(values[j]) - threshold);
    }
    return ~(below[0] | uint64_t{below[1]} << 32) & Shape::kAllOfPart;
  }
  ISTHMUS_KERNEL static uint32_t PushSign(uint32_t bits, float value) {
#if defined(__CUDA_ARCH__)
    return __funnelshift_l(FloatBits(value), bits, 1);
#else
    return bits << 1 | FloatBits(value) >> 31;
#endif
  }

  // All: what reaches the upper threshold, and as many of the largest below it as are wanted.
  ISTHMUS_KERNEL static uint64_t SelectBetween(Place& place, const TopKSearch& search, uint32_t k,
                                               uint64_t reaching_lower, uint64_t reaching_upper) {
    uint64_t taken = reaching_upper;
    uint64_t between = reaching_lower & ~reaching_upper;
    const uint32_t before = place.Scan(CountOnes(between)).before;
    uint32_t wanted = place.live() ? k - search.reach_upper() : 0;
    if (search.reach_lower() == k) {
      taken = reaching_lower;
      wanted = 0;
    } else if (search.AreTied()) {
      for (uint32_t i = before; i < wanted && between != 0; ++i) {
        taken |= between & (~between + 1);
        between &= between - 1;
      }
      wanted = 0;
    }
    while (place.Any(wanted != 0)) {
      // Magnitudes plus one: 0 is none.
      const float* const row = place.row() + place.part() * Shape::kPart;
      uint32_t most = 0;
      uint64_t largest = 0;
      for (uint64_t left = between; left != 0 && wanted != 0; left &= left - 1) {
        const uint32_t magnitude = (FloatBits(row[LowestOne(left)]) & 0x7fffffff) + 1;
        if (magnitude <= most) continue;
        most = magnitude;
        largest = left & (~left + 1);
      }
      const bool first = place.IsFirstOfLargest(most);
      if (wanted == 0) continue;
      --wanted;
      if (!first) continue;
      taken |= largest;
      between &= ~largest;
    }
    return taken;
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_BLOCK_TOP_K_H_
