// SOCK_SEQPACKET Unix sockets: one listener per path, whole packets, no call that blocks.
#ifndef ISTHMUS_WORKER_JOBS_UNIX_SOCKET_H_
#define ISTHMUS_WORKER_JOBS_UNIX_SOCKET_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "worker/jobs/socket_access.h"
#include "worker/jobs/unique_fd.h"

namespace isthmus {

// Owns the socket file: unlinked at the end unless another daemon has replaced it.
// Single-threaded.
class UnixListener {
 public:
  // Errors: INVALID_ARGUMENT for a path that no socket can have; ALREADY_EXISTS when somebody
  // listens there; PERMISSION_DENIED when a socket is there that this user may not try, or the
  // path, mode or group is not for it to have; FAILED_PRECONDITION when the path is something other
  // than a socket; else what the system said.
  static absl::StatusOr<UnixListener> Listen(std::string path, const SocketAccess& access = {});
  UnixListener(UnixListener&& other) noexcept = default;
  ~UnixListener();

  int fd() const { return fd_.get(); }
  // The next connection; nothing when none waits. RESOURCE_EXHAUSTED when the process or system
  // has no descriptor left for it: it stays in the backlog, so pause before asking again.
  absl::StatusOr<std::optional<UniqueFd>> Accept();

 private:
  UnixListener(UniqueFd fd, std::string path, dev_t device, ino_t inode)
      : fd_(std::move(fd)), path_(std::move(path)), device_(device), inode_(inode) {}

  UniqueFd fd_;  // invalid once moved from
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// The process at the other end, as a descriptor that polls readable once it has died: a socket
// alone says nothing while a forked child still holds it. Invalid where the kernel cannot tell;
// RESOURCE_EXHAUSTED where only a descriptor is missing.
absl::StatusOr<UniqueFd> OpenPeerProcess(int socket);

// Sends one packet, with descriptors or none. UNAVAILABLE when the peer is gone;
// RESOURCE_EXHAUSTED when it has left so much unread that it cannot be following the protocol, or
// when descriptors cannot be passed.
absl::Status SendPacket(int socket, std::span<const std::byte> packet,
                        std::span<const int> fds = {});

// The peer reads what was sent, and then the end.
void ShutDownSending(int socket);

struct Received {
  enum Kind { kPacket, kNothingYet, kClosed } kind = kNothingYet;
  // Of the packet as sent; larger than the buffer when it was cut.
  size_t size_bytes = 0;
};
// Descriptors that a peer sends are dropped by the kernel.
Received ReceivePacket(int socket, std::span<std::byte> buffer);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_JOBS_UNIX_SOCKET_H_
