// Ranks on GPUs, one each: masters, optimizer state and momentum stay there; payloads and updates
// cross the bus. A job's buffers are the host's or the GPUs' own, of float32 or bfloat16.
#ifndef ISTHMUS_WORKER_STEP_GPU_RANKS_H_
#define ISTHMUS_WORKER_STEP_GPU_RANKS_H_

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "common/collectives/device_communicator.h"
#include "common/device/device.h"
#include "common/gpu/gpu_kernels.h"
#include "worker/step/rank_state.h"

namespace isthmus {

// Where one rank lives.
struct GpuRankPlace {
  std::shared_ptr<Device> device;  // ranks may share one
  std::shared_ptr<const GpuKernels> kernels;
};

// Connects ranks on these devices, by rank. Errors are those of Make().
using ConnectGpus = std::function<absl::StatusOr<std::vector<std::unique_ptr<DeviceCommunicator>>>(
    std::span<Device* const> devices)>;

// Through the host's memory; never fails.
absl::StatusOr<std::vector<std::unique_ptr<DeviceCommunicator>>> ConnectThroughHost(
    std::span<Device* const> devices);

// By rank. They are connected anew with each Make().
std::unique_ptr<LocalRanks> MakeGpuRanks(std::vector<GpuRankPlace> places,
                                         ConnectGpus connect = ConnectThroughHost);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_GPU_RANKS_H_
