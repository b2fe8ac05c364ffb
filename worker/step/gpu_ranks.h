// Ranks on GPUs, one each: masters, optimizer state and momentum stay there; payloads and updates
// cross the bus. The jobs' buffers are the host's.
#ifndef ISTHMUS_WORKER_STEP_GPU_RANKS_H_
#define ISTHMUS_WORKER_STEP_GPU_RANKS_H_

#include <memory>
#include <vector>

#include "common/device/device.h"
#include "common/gpu/gpu_kernels.h"
#include "worker/step/rank_state.h"

namespace isthmus {

// Where one rank lives.
struct GpuRankPlace {
  std::shared_ptr<Device> device;  // ranks may share one
  std::shared_ptr<const GpuKernels> kernels;
};

// By rank.
std::unique_ptr<LocalRanks> MakeGpuRanks(std::vector<GpuRankPlace> places);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_GPU_RANKS_H_
