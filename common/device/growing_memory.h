// Device memory that is made when it is first needed, and grows.
#ifndef ISTHMUS_COMMON_DEVICE_GROWING_MEMORY_H_
#define ISTHMUS_COMMON_DEVICE_GROWING_MEMORY_H_

#include <absl/status/status.h>

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/device/device.h"

namespace isthmus {

class GrowingMemory {
 public:
  // At least so many bytes from here on; contents are undefined. What was there before stays until
  // the end: work that is queued may use it, and freeing memory may wait for every device's work.
  // Doubles, so all of it is less than twice the last. Errors: RESOURCE_EXHAUSTED.
  absl::Status Reserve(Device& device, size_t size_bytes, bool pinned = false) {
    if (Holds(size_bytes)) return absl::OkStatus();
    const size_t before = blocks_.empty() ? 0 : blocks_.back().size_bytes();
    const size_t more = std::max(size_bytes, 2 * before);
    auto made = pinned ? device.AllocatePinned(more) : device.Allocate(more);
    ISTHMUS_RETURN_IF_ERROR(made.status());
    blocks_.push_back(*std::move(made));
    return absl::OkStatus();
  }
  bool Holds(size_t size_bytes) const {
    return size_bytes == 0 || (data() != nullptr && blocks_.back().size_bytes() >= size_bytes);
  }
  void* data() const { return blocks_.empty() ? nullptr : blocks_.back().data(); }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data());
  }

 private:
  std::vector<DeviceMemory> blocks_;  // the last is in use
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_DEVICE_GROWING_MEMORY_H_
