#include "common/transport/listening_sockets.h"

#include <absl/strings/str_cat.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

namespace isthmus {
namespace {

// With port 0, the port that the first address got may be taken on the second: another one, then.
constexpr int kPortAttempts = 16;

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::Status CannotListen(const HostPort& address, absl::string_view why) {
  return absl::UnavailableError(absl::StrCat("cannot listen on ", ToString(address), ": ", why));
}

absl::StatusOr<Addresses> Resolve(const HostPort& address) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  Addresses addresses(found, &freeaddrinfo);
  if (error == 0 && found != nullptr) return addresses;
  return CannotListen(address, error == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(error));
}

void SetPort(sockaddr_storage* address, int port) {
  const in_port_t number = htons(static_cast<uint16_t>(port));
  if (address->ss_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(address)->sin6_port = number;
  } else {
    reinterpret_cast<sockaddr_in*>(address)->sin_port = number;
  }
}

// The host has no such family or address: no reason not to use the others of a name.
bool IsNotThisHosts(int error) {
  return error == EAFNOSUPPORT || error == EADDRNOTAVAIL || error == EPROTONOSUPPORT;
}

// All of `found` on `port` (0: any). Returns 0, or the errno of the first that is refused; with
// none of them this host's, its errno.
int OpenAll(const addrinfo* found, int port, int user_timeout_ms,
            std::vector<ListeningSocket>* sockets) {
  int missing = EADDRNOTAVAIL;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    sockaddr_storage address{};
    std::memcpy(&address, at->ai_addr, at->ai_addrlen);
    SetPort(&address, port);
    ListeningSocket socket(reinterpret_cast<sockaddr*>(&address), at->ai_addrlen, user_timeout_ms);
    const int error = socket.Open();
    if (IsNotThisHosts(error)) {
      missing = error;
      continue;
    }
    if (error != 0) return error;
    port = socket.address().port;
    sockets->push_back(std::move(socket));
  }
  return sockets->empty() ? missing : 0;
}

bool Set(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

}  // namespace

ListeningSocket::ListeningSocket(const sockaddr* address, socklen_t length, int user_timeout_ms)
    : length_(length), user_timeout_ms_(user_timeout_ms) {
  std::memcpy(&address_, address, length);
}

ListeningSocket::ListeningSocket(ListeningSocket&& other) noexcept
    : address_(other.address_),
      length_(other.length_),
      user_timeout_ms_(other.user_timeout_ms_),
      fd_(std::exchange(other.fd_, -1)) {}

void ListeningSocket::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

int ListeningSocket::Open() {
  Close();
  fd_ = socket(address_.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return errno;
  auto* const address = reinterpret_cast<sockaddr*>(&address_);
  // Connections inherit these. A restart must not wait for the last one's connections to be
  // forgotten.
  bool ok = Set(fd_, SOL_SOCKET, SO_REUSEADDR, 1) && Set(fd_, IPPROTO_TCP, TCP_NODELAY, 1);
  // [::] is both families, as everybody expects of it, whatever the system's default.
  if (ok && address_.ss_family == AF_INET6) ok = Set(fd_, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (ok && user_timeout_ms_ > 0) {
    ok = Set(fd_, IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout_ms_);
  }
  ok = ok && bind(fd_, address, length_) == 0 && listen(fd_, SOMAXCONN) == 0;
  // The port that was chosen, so that opening again takes the same.
  socklen_t length = sizeof(address_);
  if (ok && getsockname(fd_, address, &length) == 0) return 0;
  const int error = errno;
  Close();
  return error;
}

HostPort ListeningSocket::address() const {
  char host[NI_MAXHOST] = "";
  char port[NI_MAXSERV] = "0";
  // Numbers only, so nothing is asked for, and cannot fail.
  (void)getnameinfo(reinterpret_cast<const sockaddr*>(&address_), length_, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
  return {host, std::atoi(port)};
}

absl::StatusOr<std::vector<ListeningSocket>> OpenListeningSockets(const HostPort& address,
                                                                  int user_timeout_ms) {
  const absl::StatusOr<Addresses> found = Resolve(address);
  if (!found.ok()) return found.status();
  int error = 0;
  for (int attempt = 0; attempt < kPortAttempts; ++attempt) {
    std::vector<ListeningSocket> sockets;
    error = OpenAll(found->get(), address.port, user_timeout_ms, &sockets);
    if (error == 0) return sockets;
    if (address.port != 0 || error != EADDRINUSE) break;
  }
  return CannotListen(address, std::strerror(error));
}

}  // namespace isthmus
