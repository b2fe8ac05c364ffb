#include "common/device/host_sharing.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

namespace isthmus {

HostSharedFile::~HostSharedFile() {
  if (data_ != nullptr) ::munmap(data_, size_bytes_);
  if (fd_ >= 0) ::close(fd_);
}

HostSharedFile HostSharedFile::Map(int fd, size_t size_bytes) {
  HostSharedFile file;
  file.fd_ = fd;
  if (fd < 0 || size_bytes == 0) return file;
  void* const at = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return file;
  file.data_ = at;
  file.size_bytes_ = size_bytes;
  return file;
}

HostSharedFile HostSharedFile::Create(size_t size_bytes) {
  const int fd = ::memfd_create("isthmus-host-device", MFD_CLOEXEC);
  const bool sized = fd >= 0 && ::ftruncate(fd, static_cast<off_t>(size_bytes)) == 0;
  return Map(fd, sized ? size_bytes : 0);
}

HostSharedFile HostSharedFile::Open(const std::byte* handle) {
  char path[kHostHandleBytes + 1] = {};
  std::memcpy(path, handle, kHostHandleBytes);
  const int fd = ::open(path, O_RDWR | O_CLOEXEC);
  struct stat status = {};
  const bool there = fd >= 0 && ::fstat(fd, &status) == 0;
  return Map(fd, there ? static_cast<size_t>(status.st_size) : 0);
}

void HostSharedFile::WriteHandle(std::byte* handle) const {
  char path[kHostHandleBytes] = {};
  std::snprintf(path, sizeof(path), "/proc/%d/fd/%d", static_cast<int>(::getpid()), fd_);
  std::memcpy(handle, path, sizeof(path));
}

void AwaitShared(const HostSharedCounts& counts, uint64_t record) {
  while (counts.reached.load(std::memory_order_acquire) < record) {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

}  // namespace isthmus
