// Memory that a job rank and the daemon both see: memfds made and sealed here, so that no job can
// shrink one under the daemon's feet; or memory of a device, with the events that order its use.
#ifndef ISTHMUS_WORKER_JOBS_SHARED_BUFFERS_H_
#define ISTHMUS_WORKER_JOBS_SHARED_BUFFERS_H_

#include <absl/status/statusor.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "client/job_wire.h"
#include "common/tensor/layout.h"
#include "worker/jobs/job_messages.h"
#include "worker/jobs/job_server.h"
#include "worker/jobs/unique_fd.h"

namespace isthmus {

// One mapped memfd, zero at first. Move-only; the bytes are shared with another process, so who
// may touch them when is the protocol's business.
class SharedBuffer {
 public:
  // Errors: RESOURCE_EXHAUSTED when the system has no descriptor or address space left.
  static absl::StatusOr<SharedBuffer> Create(const char* name, uint64_t size_bytes);
  SharedBuffer() = default;
  SharedBuffer(SharedBuffer&& other) noexcept
      : fd_(std::move(other.fd_)), bytes_(std::exchange(other.bytes_, {})) {}
  SharedBuffer& operator=(SharedBuffer&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~SharedBuffer();

  int fd() const { return fd_.get(); }
  // The mapping stays.
  void CloseFd() { fd_ = UniqueFd(); }
  std::span<std::byte> bytes() { return bytes_; }

 private:
  UniqueFd fd_;
  std::span<std::byte> bytes_;  // mapped; empty for size 0
};

// Parameters and gradients of one rank on its device. Shared with whoever knows that the rank still
// maps them: freeing what another process has mapped is undefined.
struct DeviceBuffers {
  DeviceBuffers() = default;
  DeviceBuffers(const DeviceBuffers&) = delete;
  // Whoever lets go of it last need not wait for the device.
  ~DeviceBuffers() {
    if (device == nullptr) return;
    device->FreeLater(std::move(parameters.memory));
    device->FreeLater(std::move(gradients.memory));
  }

  std::shared_ptr<Device> device;  // first: it outlives the rest
  SharedDeviceMemory parameters;
  SharedDeviceMemory gradients;  // none with own_optimizer; and a mark (job_wire.h) behind them
  std::unique_ptr<SharedDeviceEvent> gradients_ready;
  std::unique_ptr<SharedDeviceEvent> parameters_ready;
};

// What one rank shares with the daemon.
struct RankBuffers {
  // `offsets` as in job_wire.h; parameters and gradients on `device`, unless that is null.
  // Gradients are none with `own_optimizer`. Errors: RESOURCE_EXHAUSTED; what the device says.
  static absl::StatusOr<RankBuffers> Create(const Layout& layout, std::span<const uint64_t> offsets,
                                            bool own_optimizer, std::shared_ptr<Device> device);
  // In the order of the BUFFERS packet.
  std::vector<int> fds() const;
  // Once the rank has its copies.
  void CloseFds();
  // Of a device, for the packet.
  std::optional<JobDeviceHandles> handles() const;

  SharedBuffer parameters;   // these two unless on_device
  SharedBuffer gradients;    // not with own_optimizer,
  SharedBuffer pace_memory;  // which has an isthmus_wire_pace
  SharedBuffer constants;
  UniqueFd offsets;  // sealed against writing, never mapped here
  std::shared_ptr<DeviceBuffers> on_device;
  bool own_optimizer = false;
  std::optional<JobPace> pace;  // in pace_memory
};

// What the server says of a session while it lasts.
struct SessionCourse {
  std::atomic<bool> gone = false;
  std::atomic<uint32_t> steps = 0;
};

// `buffers` by rank.
std::shared_ptr<JobSession> MakeJobSession(uint64_t id, Layout layout,
                                           std::vector<RankBuffers> buffers,
                                           std::shared_ptr<const SessionCourse> course);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_JOBS_SHARED_BUFFERS_H_
