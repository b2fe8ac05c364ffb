// The optimizer's step of all parameters of a block, given their directions: ApplyDirection
// (common/optimizer/optimizer.h), to which apply_kernel_test.cc holds it.
#ifndef ISTHMUS_COMMON_GPU_BLOCK_STEP_H_
#define ISTHMUS_COMMON_GPU_BLOCK_STEP_H_

#include <stdint.h>

#include "common/gpu/apply_params.h"
#include "common/gpu/chunk_block.h"
#include "common/optimizer/optimizer_formulas.h"

namespace isthmus {

template <int N, typename Thread>
class BlockStep {
 public:
  using Place = ChunkThread<N, Thread>;
  using Shape = ChunkShape<N>;

  // All, having met: steps the block's parameters by the directions in its rows.
  ISTHMUS_KERNEL static void Run(Place& place, const ApplyParams& params) {
    if (params.state1 == nullptr) {
      StepWith<0>(place, params, [](const OptimizerScalars& scalars, float u, Stepped& at) {
        SgdStep(scalars, u, at.parameter);
      });
    } else if (params.state2 == nullptr) {
      StepWith<1>(place, params, [&params](const OptimizerScalars& scalars, float u, Stepped& at) {
        SgdMomentumStep(params.optimizer, scalars, u, at.parameter, at.state1);
      });
    } else {
      StepWith<2>(place, params, [&params](const OptimizerScalars& scalars, float u, Stepped& at) {
        AdamWStep(params.optimizer, scalars, AdamWRatesOf(params.optimizer, scalars), u,
                  at.parameter, at.state1, at.state2);
      });
    }
  }

 private:
  // One element's.
  struct Stepped {
    float parameter, state1, state2;
  };
  // With an optimizer that keeps so many state vectors: step(scalars, direction, Stepped&). Several
  // loads are on their way at once: a store between them would make each wait for the one before.
  template <int kStates, typename StepOne>
  ISTHMUS_KERNEL static void StepWith(Place& place, const ApplyParams& params,
                                      const StepOne& step) {
    constexpr int kFours = Shape::kPart / 4;
    constexpr int kAtOnce = kStates == 0 && kFours >= 8 ? 8 : 4;
    const uint32_t fours = place.fours();
    const uint64_t first = place.first_chunk() * (N / 4);
    auto* const parameters = reinterpret_cast<Float4*>(params.parameters) + first;
    auto* const states1 = reinterpret_cast<Float4*>(params.state1) + first;
    auto* const states2 = reinterpret_cast<Float4*>(params.state2) + first;
    const uint8_t* const groups = params.groups + first / 16;
    for (int begin = 0; begin < kFours; begin += kAtOnce) {
      Float4 p[kAtOnce], s1[kAtOnce], s2[kAtOnce];
      OptimizerScalars scalars[kAtOnce];
      ISTHMUS_KERNEL_UNROLL
      for (int j = 0; j < kAtOnce; ++j) {
        const uint32_t i = place.Four(begin + j);
        if (i >= fours) continue;
        p[j] = parameters[i];
        if constexpr (kStates >= 1) s1[j] = states1[i];
        if constexpr (kStates >= 2) s2[j] = states2[i];
        scalars[j] = params.scalars[groups[i / 16]];
      }
      ISTHMUS_KERNEL_UNROLL
      for (int j = 0; j < kAtOnce; ++j) {
        const uint32_t i = place.Four(begin + j);
        if (i >= fours) continue;
        const Float4 direction = place.RowFour(i);
        for (int element = 0; element < 4; ++element) {
          Stepped at = {p[j].at[element], 0.0f, 0.0f};
          if constexpr (kStates >= 1) at.state1 = s1[j].at[element];
          if constexpr (kStates >= 2) at.state2 = s2[j].at[element];
          step(scalars[j], direction.at[element], at);
          p[j].at[element] = at.parameter;
          if constexpr (kStates >= 1) s1[j].at[element] = at.state1;
          if constexpr (kStates >= 2) s2[j].at[element] = at.state2;
        }
        parameters[i] = p[j];
        if constexpr (kStates >= 1) states1[i] = s1[j];
        if constexpr (kStates >= 2) states2[i] = s2[j];
      }
    }
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_BLOCK_STEP_H_
