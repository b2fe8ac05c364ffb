// The sockets of a listener: opened, named, opened again. What to do with them is acceptor.h's.
#ifndef ISTHMUS_COMMON_TRANSPORT_LISTENING_SOCKETS_H_
#define ISTHMUS_COMMON_TRANSPORT_LISTENING_SOCKETS_H_

#include <absl/status/statusor.h>
#include <sys/socket.h>

#include <vector>

#include "common/base/host_port.h"

namespace isthmus {

// Single-threaded; closes its descriptor.
class ListeningSocket {
 public:
  // Binds and listens; does not block then. Errors: an errno, negated.
  ListeningSocket(const sockaddr* address, socklen_t length, int user_timeout_ms);
  ListeningSocket(ListeningSocket&& other) noexcept;
  ListeningSocket& operator=(ListeningSocket&&) = delete;
  ~ListeningSocket() { Close(); }

  // -1 while closed.
  int fd() const { return fd_; }
  void Close();
  // On the same address, port and all. Returns 0, or the errno of what was refused.
  int Open();
  // As bound.
  HostPort address() const;

 private:
  sockaddr_storage address_{};
  socklen_t length_ = 0;
  int user_timeout_ms_ = 0;
  int fd_ = -1;
};

// Every address that `address` stands for on this host, all with one port. At least one;
// UNAVAILABLE with the system's reason if the host has none of them or one is taken. Blocks for a
// name service.
absl::StatusOr<std::vector<ListeningSocket>> OpenListeningSockets(const HostPort& address,
                                                                  int user_timeout_ms);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_LISTENING_SOCKETS_H_
