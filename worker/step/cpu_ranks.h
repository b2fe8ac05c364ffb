// Ranks in the host's memory, a thread each and some that help.
#ifndef ISTHMUS_WORKER_STEP_CPU_RANKS_H_
#define ISTHMUS_WORKER_STEP_CPU_RANKS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "common/base/memory_limit.h"
#include "worker/step/rank_state.h"

namespace isthmus {

// `threads` may work on one rank's bucket. Make() refuses what would not fit the limits even if
// this process had them to itself, buffers and a snapshot counted.
std::unique_ptr<LocalRanks> MakeCpuRanks(
    uint32_t count, int threads,
    std::function<std::vector<MemoryLimit>()> limits = [] { return ReadMemoryLimits(); });

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_CPU_RANKS_H_
