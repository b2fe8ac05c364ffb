// Ranks on GPUs, one each: masters, optimizer state and momentum stay there; payloads and updates
// cross the bus. A job's buffers are the host's or the GPUs' own, of float32 or bfloat16.
#ifndef ISTHMUS_WORKER_STEP_GPU_RANKS_H_
#define ISTHMUS_WORKER_STEP_GPU_RANKS_H_

#include <absl/status/statusor.h>

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/collectives/device_communicator.h"
#include "common/collectives/nccl.h"
#include "common/collectives/nccl_communicator.h"
#include "common/device/device.h"
#include "common/gpu/gpu_kernels.h"
#include "worker/step/rank_state.h"

namespace isthmus {

// Where one rank lives.
struct GpuRankPlace {
  std::shared_ptr<Device> device;  // ranks may share one
  std::shared_ptr<const GpuKernels> kernels;
};

// How ranks on GPUs reach each other. Thread-safe.
class GpuConnector {
 public:
  virtual ~GpuConnector() = default;
  // Whether they can reach those of another daemon. Errors: FAILED_PRECONDITION with why not.
  virtual absl::Status CheckSpans() const = 0;
  // As LocalRanks::Invite().
  virtual absl::StatusOr<std::string> Invite() const = 0;
  // Those of this daemon, on these devices, ascending. Errors as those of LocalRanks::Make().
  // Returns, with an error, soon after `*cancelled`.
  virtual absl::StatusOr<std::vector<std::unique_ptr<DeviceCommunicator>>> Connect(
      const GroupPlace& place, std::span<Device* const> devices,
      std::shared_ptr<const std::atomic<bool>> cancelled) const = 0;
};

// Through the host's memory: within one daemon.
std::shared_ptr<const GpuConnector> ConnectThroughHost();

// By NCCL: within a daemon and between several.
std::shared_ptr<const GpuConnector> ConnectByNccl(std::shared_ptr<Nccl> nccl,
                                                  NcclOptions options = {});

// Ascending. They are connected anew with each Make().
std::unique_ptr<LocalRanks> MakeGpuRanks(
    std::vector<GpuRankPlace> places,
    std::shared_ptr<const GpuConnector> connector = ConnectThroughHost());

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_GPU_RANKS_H_
