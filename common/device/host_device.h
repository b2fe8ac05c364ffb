// The host in the place of a GPU: for tests, and for machines without one. Kernels run on
// host_grid.h.
//
// As late as it may: a stream does nothing until someone waits for it, so that reading a result too
// soon, or changing an input too soon, shows at once. Or by a thread of each stream, as soon as it
// may: for who waits without saying so, such as another process.
#ifndef ISTHMUS_COMMON_DEVICE_HOST_DEVICE_H_
#define ISTHMUS_COMMON_DEVICE_HOST_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "common/base/mutex.h"
#include "common/device/device.h"
#include "common/device/host_sharing.h"

namespace isthmus {

enum class HostWork { kWhenAwaited, kByThread };

class HostStream : public DeviceStream {
 public:
  explicit HostStream(HostWork work = HostWork::kWhenAwaited);
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
  std::thread thread_;                  // kByThread
};

class HostDevice : public Device {
 public:
  // Allocations beyond `memory_bytes` fail.
  explicit HostDevice(size_t memory_bytes = size_t{1} << 30, HostWork work = HostWork::kWhenAwaited)
      : memory_bytes_(memory_bytes), work_(work) {}
  ~HostDevice() override;  // CHECKs that nothing is left

  std::string name() const override { return "host"; }
  absl::StatusOr<DeviceMemory> Allocate(size_t size_bytes) override;
  absl::StatusOr<DeviceMemory> AllocatePinned(size_t size_bytes) override;
  absl::StatusOr<std::unique_ptr<DeviceStream>> MakeStream() override;
  Uuid uuid() const override;
  // A handle is the path of a file in memory (host_sharing.h).
  absl::StatusOr<SharedDeviceMemory> AllocateShared(size_t size_bytes) override;
  absl::StatusOr<std::unique_ptr<SharedDeviceEvent>> MakeSharedEvent() override;

 private:
  void Free(const DeviceMemory& memory) override;
  absl::Status Take(size_t size_bytes);
  bool TryToTake(size_t size_bytes);

  const size_t memory_bytes_;
  const HostWork work_;
  Mutex mu_;
  size_t used_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  size_t allocations_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<void*, HostSharedFile> shared_ ABSL_GUARDED_BY(mu_);  // AllocateShared()
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_DEVICE_HOST_DEVICE_H_
