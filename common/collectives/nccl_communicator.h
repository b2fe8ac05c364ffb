// Collectives on GPUs by NCCL, watched: an error of NCCL's, here or elsewhere, a rank that does not
// come in time, or Abort() ends them at every rank of this process, and wakes whoever waits. To go
// on, make new ones with a new id.
#ifndef ISTHMUS_COMMON_COLLECTIVES_NCCL_COMMUNICATOR_H_
#define ISTHMUS_COMMON_COLLECTIVES_NCCL_COMMUNICATOR_H_

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "common/base/clock.h"
#include "common/collectives/device_communicator.h"
#include "common/collectives/nccl.h"

namespace isthmus {

struct NcclOptions {
  // For the ranks to find each other; and for all of them to come to a collective.
  absl::Duration deadline = absl::Minutes(2);
  const Clock* clock = &Clock::Real();
  // Called between two looks at what is awaited; null: sleeps for 20 microseconds.
  std::function<void()> pause;
  // Once it holds true, connecting ends with ABORTED; null: never.
  std::shared_ptr<const std::atomic<bool>> cancelled;
};

// The ranks of this process, first_rank and so on, one per device, of `size` in all with this id.
// Blocks until all are connected. Devices outlive them. Errors: what NCCL says; ABORTED once the
// deadline has passed. Then none is left.
absl::StatusOr<std::vector<std::unique_ptr<DeviceCommunicator>>> MakeNcclCommunicators(
    std::shared_ptr<Nccl> nccl, const Nccl::Id& id, uint32_t size, uint32_t first_rank,
    std::span<Device* const> devices, NcclOptions options = {});

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COLLECTIVES_NCCL_COMMUNICATOR_H_
