// Device memory that is made when it is first needed, and grows.
#ifndef ISTHMUS_COMMON_DEVICE_GROWING_MEMORY_H_
#define ISTHMUS_COMMON_DEVICE_GROWING_MEMORY_H_

#include <absl/status/status.h>

#include <cstddef>
#include <utility>

#include "common/base/status_macros.h"
#include "common/device/device.h"

namespace isthmus {

class GrowingMemory {
 public:
  // At least so many bytes from here on; contents are undefined. `stream` is the one that uses it,
  // and is waited for before memory goes. Errors: RESOURCE_EXHAUSTED; what the stream says.
  absl::Status Reserve(Device& device, DeviceStream& stream, size_t size_bytes,
                       bool pinned = false) {
    if (memory_.size_bytes() >= size_bytes) return absl::OkStatus();
    if (memory_.size_bytes() > 0) ISTHMUS_RETURN_IF_ERROR(stream.Synchronize());
    memory_ = DeviceMemory();  // before the new one: both may not fit
    auto more = pinned ? device.AllocatePinned(size_bytes) : device.Allocate(size_bytes);
    ISTHMUS_RETURN_IF_ERROR(more.status());
    memory_ = *std::move(more);
    return absl::OkStatus();
  }
  void* data() const { return memory_.data(); }
  template <typename T>
  T* as() const {
    return memory_.as<T>();
  }

 private:
  DeviceMemory memory_;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_DEVICE_GROWING_MEMORY_H_
