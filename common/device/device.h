// An accelerator's memory and streams, behind one interface for GPUs (cuda_device.h) and for the
// host that stands in for one (host_device.h).
//
// Work is queued on streams and done later, in the order of its stream; what an operation reads and
// writes must stay until it has been done. Streams of one device run side by side, unless one waits
// for another's event. The first failure of a stream is told by Synchronize(), and by every call
// after it.
#ifndef ISTHMUS_COMMON_DEVICE_DEVICE_H_
#define ISTHMUS_COMMON_DEVICE_DEVICE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/mutex.h"

namespace isthmus {

class Device;

// Memory of a device, or of the host where a device can copy to and from it while others work
// ("pinned"). Move-only; aligned to 16 bytes at least; freed at the end, when nothing queued may
// need it any more.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(Device* device, void* data, size_t size_bytes, bool pinned)
      : device_(device), data_(data), size_bytes_(size_bytes), pinned_(pinned) {}
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    std::swap(pinned_, other.pinned_);
    return *this;
  }
  ~DeviceMemory();

  void* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }
  bool pinned() const { return pinned_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  Device* device_ = nullptr;
  void* data_ = nullptr;
  size_t size_bytes_ = 0;
  bool pinned_ = false;
};

// How another process finds memory or an event of this one: CUDA's IPC handles, or the host's
// stand-in for them.
using DeviceHandle = std::array<std::byte, 64>;

// Memory that another process may map. The other lets go of it before this ends.
struct SharedDeviceMemory {
  DeviceMemory memory;  // zero at first
  DeviceHandle handle;
};

// A point in a stream. Shared by who waits for it.
class DeviceEvent {
 public:
  virtual ~DeviceEvent() = default;
  // True once everything before it has been done. Thread-safe, as is Await().
  virtual bool Done() = 0;
  // Blocks until then, or until its stream has failed, which the stream tells.
  virtual void Await() = 0;
};

class DeviceStream;

// A point in a stream of either of two processes. One thread of this process at a time.
class SharedDeviceEvent {
 public:
  virtual ~SharedDeviceEvent() = default;
  virtual const DeviceHandle& handle() const = 0;
  virtual void Record(DeviceStream& stream) = 0;
  // True unless the last Record() of either process has yet to be reached.
  virtual bool Done() = 0;
};

// Used by one thread at a time. Calls return at once, but for Synchronize(); host memory is pinned.
class DeviceStream {
 public:
  virtual ~DeviceStream() = default;  // waits for what is queued

  virtual void CopyIn(void* device, const void* host, size_t size_bytes) = 0;
  virtual void CopyOut(void* host, const void* device, size_t size_bytes) = 0;
  virtual void Copy(void* to, const void* from, size_t size_bytes) = 0;  // both of the device
  virtual void Zero(void* device, size_t size_bytes) = 0;

  virtual std::shared_ptr<DeviceEvent> Record() = 0;
  // What is queued from here on is done after `event`.
  virtual void Wait(const std::shared_ptr<DeviceEvent>& event) = 0;

  // Blocks until all that is queued has been done. Errors: INTERNAL naming call, device and size.
  virtual absl::Status Synchronize() = 0;
};

// Outlives its memory and streams; calls FreeLeft() in its destructor. Thread-safe.
class Device {
 public:
  virtual ~Device() = default;

  // For people: "cuda:0 (NVIDIA H100 80GB HBM3)".
  virtual std::string name() const = 0;

  // Contents are undefined. Errors: RESOURCE_EXHAUSTED with the bytes asked for and those free.
  virtual absl::StatusOr<DeviceMemory> Allocate(size_t size_bytes) = 0;
  virtual absl::StatusOr<DeviceMemory> AllocatePinned(size_t size_bytes) = 0;

  virtual absl::StatusOr<std::unique_ptr<DeviceStream>> MakeStream() = 0;

  // What tells this device from any other on the machine, in every process.
  using Uuid = std::array<std::byte, 16>;
  virtual Uuid uuid() const = 0;
  // For other processes of this machine. Errors: as Allocate(); FAILED_PRECONDITION where the
  // system lets no process share.
  virtual absl::StatusOr<SharedDeviceMemory> AllocateShared(size_t size_bytes) = 0;
  virtual absl::StatusOr<std::unique_ptr<SharedDeviceEvent>> MakeSharedEvent() = 0;

  // Freeing may wait for all that is under way on the device, and keep others from it meanwhile: a
  // collective, say, that waits for one of these others. So `memory` is freed by the next
  // FreeLeft(), which is for who has nothing under way there; at the latest when there is no room
  // without it, or the device ends.
  void FreeLater(DeviceMemory memory);
  // Whether there was any.
  bool FreeLeft();

 private:
  friend class DeviceMemory;
  virtual void Free(const DeviceMemory& memory) = 0;

  Mutex left_mu_;
  std::vector<DeviceMemory> left_ ABSL_GUARDED_BY(left_mu_);
};

inline void Device::FreeLater(DeviceMemory memory) {
  if (memory.data() == nullptr) return;
  MutexLock lock(&left_mu_);
  left_.push_back(std::move(memory));
}

inline bool Device::FreeLeft() {
  std::vector<DeviceMemory> left;
  MutexLock lock(&left_mu_);
  left.swap(left_);
  return !left.empty();  // freed after the lock's end
}

inline DeviceMemory::~DeviceMemory() {
  if (device_ != nullptr) device_->Free(*this);
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_DEVICE_DEVICE_H_
