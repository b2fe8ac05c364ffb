// Memory that a job rank and the daemon both see: memfds made and sealed here, so that no job can
// shrink one under the daemon's feet.
#ifndef ISTHMUS_WORKER_JOBS_SHARED_BUFFERS_H_
#define ISTHMUS_WORKER_JOBS_SHARED_BUFFERS_H_

#include <absl/status/statusor.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "client/job_wire.h"
#include "common/tensor/layout.h"
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
  std::span<float> floats() {
    return {reinterpret_cast<float*>(bytes_.data()), bytes_.size() / sizeof(float)};
  }

 private:
  UniqueFd fd_;
  std::span<std::byte> bytes_;  // mapped; empty for size 0
};

// What one rank shares with the daemon.
struct RankBuffers {
  // `offsets` as in job_wire.h. Errors: RESOURCE_EXHAUSTED.
  static absl::StatusOr<RankBuffers> Create(const Layout& layout,
                                            std::span<const uint64_t> offsets);
  // In the order of the BUFFERS packet.
  std::array<int, ISTHMUS_WIRE_BUFFER_FDS> fds() const;
  // Once the rank has its copies.
  void CloseFds();

  SharedBuffer parameters;
  SharedBuffer gradients;
  SharedBuffer constants;
  UniqueFd offsets;  // sealed against writing, never mapped here
};

// `buffers` by rank.
std::shared_ptr<JobSession> MakeJobSession(uint64_t id, Layout layout,
                                           std::vector<RankBuffers> buffers);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_JOBS_SHARED_BUFFERS_H_
