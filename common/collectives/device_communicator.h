// Collectives inside a replica group on devices' memory. One per rank; every rank must enter the
// same collectives in the same order.
#ifndef ISTHMUS_COMMON_COLLECTIVES_DEVICE_COMMUNICATOR_H_
#define ISTHMUS_COMMON_COLLECTIVES_DEVICE_COMMUNICATOR_H_

#include <absl/status/status.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/collectives/communicator.h"
#include "common/device/device.h"

namespace isthmus {

// Collectives are queued on a stream of the rank's device, or done before the call returns; memory
// is the device's. Results are there once Synchronize() has said OK. Used by one thread at a time,
// but for Abort(). Errors: ABORTED with the reason once any rank has called Abort() or has not come
// within the deadline; from then on every call of every rank fails, and what was queued leaves
// results undefined.
class DeviceCommunicator {
 public:
  virtual ~DeviceCommunicator() = default;
  virtual uint32_t rank() const = 0;
  virtual uint32_t size() const = 0;

  // `whole` is the partition's vector, the same at every rank; what a rank has of it is packed.
  //
  // What this rank has of the mean of all ranks' `input` (the whole). In which order it is summed,
  // and how it is rounded, is the communicator's affair, and the same from run to run.
  virtual absl::Status ReduceScatterMean(DeviceStream& stream, const float* input,
                                         const Partition& whole, float* output) = 0;

  // `output` (the whole) receives what every rank has. `input` may be where it goes in `output`, if
  // that is one run.
  virtual absl::Status AllGather(DeviceStream& stream, const void* input, const Partition& whole,
                                 size_t element_bytes, void* output) = 0;

  // *word becomes the largest of all ranks'.
  virtual absl::Status Max(DeviceStream& stream, uint32_t* word) = 0;

  // Blocks until the event of a stream on which a collective may be queued; then Synchronize()
  // tells whether all was well.
  virtual absl::Status Await(DeviceEvent& event) = 0;
  // Blocks until all that is queued on `stream` has been done.
  virtual absl::Status Synchronize(DeviceStream& stream) = 0;

  // Blocks until all ranks are here.
  virtual absl::Status Barrier() = 0;

  // Wakes every rank of this process out of its collective with ABORTED(reason); other processes
  // see it themselves, at the deadline at the latest. Callable from any thread.
  virtual void Abort(const absl::Status& reason) = 0;
};

// Through the host's memory, by way of `host`: for ranks that share a device, where there is no
// NCCL, and for devices that the host stands in for. `device` outlives it.
std::unique_ptr<DeviceCommunicator> MakeStagedCommunicator(std::unique_ptr<Communicator> host,
                                                           Device* device);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COLLECTIVES_DEVICE_COMMUNICATOR_H_
