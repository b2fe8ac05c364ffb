// The host in the place of a GPU: for tests, and for machines without one. Kernels run on
// host_grid.h.
//
// As late as it may: a stream does nothing until someone waits for it, so that reading a result too
// soon, or changing an input too soon, shows at once.
#ifndef ISTHMUS_COMMON_DEVICE_HOST_DEVICE_H_
#define ISTHMUS_COMMON_DEVICE_HOST_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/base/mutex.h"
#include "common/device/device.h"

namespace isthmus {

class HostStream : public DeviceStream {
 public:
  HostStream();
  ~HostStream() override;

  // Queues anything; a kernel's run, say. An error is this stream's failure.
  void Queue(std::function<absl::Status()> work);

  void CopyIn(void* device, const void* host, size_t size_bytes) override;
  void CopyOut(void* host, const void* device, size_t size_bytes) override;
  void Copy(void* to, const void* from, size_t size_bytes) override;
  void Zero(void* device, size_t size_bytes) override;
  std::shared_ptr<DeviceEvent> Record() override;
  void Wait(const std::shared_ptr<DeviceEvent>& event) override;
  absl::Status Synchronize() override;

 private:
  struct State;
  const std::shared_ptr<State> state_;  // events outlive streams
};

class HostDevice : public Device {
 public:
  // Allocations beyond `memory_bytes` fail.
  explicit HostDevice(size_t memory_bytes = size_t{1} << 30) : memory_bytes_(memory_bytes) {}
  ~HostDevice() override;  // CHECKs that nothing is left

  std::string name() const override { return "host"; }
  absl::StatusOr<DeviceMemory> Allocate(size_t size_bytes) override;
  absl::StatusOr<DeviceMemory> AllocatePinned(size_t size_bytes) override;
  absl::StatusOr<std::unique_ptr<DeviceStream>> MakeStream() override;

 private:
  void Free(const DeviceMemory& memory) override;

  const size_t memory_bytes_;
  Mutex mu_;
  size_t used_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  size_t allocations_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_DEVICE_HOST_DEVICE_H_
