// What stands in for CUDA's memory and events between processes where the host stands in for a GPU:
// files in memory, which whoever has the handle opens by their path. Free of everything else: the
// other process is a test's libcuda.
#ifndef ISTHMUS_COMMON_DEVICE_HOST_SHARING_H_
#define ISTHMUS_COMMON_DEVICE_HOST_SHARING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace isthmus {

inline constexpr size_t kHostHandleBytes = 64;

// A mapped file in memory. Move-only.
class HostSharedFile {
 public:
  HostSharedFile() = default;
  HostSharedFile(HostSharedFile&& other) noexcept { *this = std::move(other); }
  HostSharedFile& operator=(HostSharedFile&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
  }
  ~HostSharedFile();

  // Zeros. data() is null if the system refuses.
  static HostSharedFile Create(size_t size_bytes);
  // What another process created; data() is null if it is not there any more.
  static HostSharedFile Open(const std::byte* handle);

  void* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }
  // Writes kHostHandleBytes.
  void WriteHandle(std::byte* handle) const;

 private:
  static HostSharedFile Map(int fd, size_t size_bytes);

  int fd_ = -1;
  void* data_ = nullptr;
  size_t size_bytes_ = 0;
};

// An event: how often it was recorded, and the last of these that has been reached. In shared
// memory.
struct HostSharedCounts {
  std::atomic<uint64_t> recorded;
  std::atomic<uint64_t> reached;
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

// Records once more; give the result to Reach() when the stream is there.
inline uint64_t RecordShared(HostSharedCounts& counts) {
  return counts.recorded.fetch_add(1, std::memory_order_acq_rel) + 1;
}
inline void ReachShared(HostSharedCounts& counts, uint64_t record) {
  uint64_t reached = counts.reached.load(std::memory_order_acquire);
  while (reached < record && !counts.reached.compare_exchange_weak(reached, record)) {
  }
}
// Blocks until `record` has been reached. (Looks again and again: this is for tests.)
void AwaitShared(const HostSharedCounts& counts, uint64_t record);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_DEVICE_HOST_SHARING_H_
