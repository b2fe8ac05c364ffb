#include "tests/net/tcp_copy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <string>
#include <utility>

#include "common/base/clock.h"
#include "common/base/status_macros.h"

namespace isthmus::net {
namespace {

constexpr size_t kPiece = 256 << 10;

sockaddr_in AddressOf(const std::string& host, uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  return address;
}

absl::StatusOr<UniqueFd> Socket(const NetNamespace& space) {
  UniqueFd fd;
  ISTHMUS_RETURN_IF_ERROR(space.Run([&] {
    fd = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int one = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd.valid() ? absl::OkStatus() : absl::ErrnoToStatus(errno, "socket");
  }));
  return fd;
}

// Both ends of a connection from a site to the hub, made without sending anything.
struct Connection {
  UniqueFd site;
  UniqueFd hub;
};

struct Listener {
  UniqueFd fd;
  uint16_t port = 0;
};

absl::StatusOr<Listener> Listen(const NetNamespace& hub) {
  Listener listener;
  ISTHMUS_ASSIGN_OR_RETURN(listener.fd, Socket(hub));
  sockaddr_in address = AddressOf("0.0.0.0", 0);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener.fd.get(), generic, size) != 0 || ::listen(listener.fd.get(), 16) != 0 ||
      ::getsockname(listener.fd.get(), generic, &size) != 0) {
    return absl::ErrnoToStatus(errno, "listen");
  }
  listener.port = ntohs(address.sin_port);
  return listener;
}

absl::StatusOr<Connection> Connect(const ThinLinks& links, int site, const Listener& listener) {
  Connection made;
  ISTHMUS_ASSIGN_OR_RETURN(made.site, Socket(links.site(site)));
  const sockaddr_in address = AddressOf(ThinLinks::HubAddress(site), listener.port);
  if (::connect(made.site.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
      0) {
    return absl::ErrnoToStatus(errno, "connect");
  }
  made.hub = UniqueFd(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!made.hub.valid()) return absl::ErrnoToStatus(errno, "accept");
  return made;
}

absl::Status Send(const UniqueFd& to, const char* data, uint64_t bytes) {
  while (bytes > 0) {
    const ssize_t sent = ::send(to.get(), data, bytes, MSG_NOSIGNAL);
    if (sent < 0) return absl::ErrnoToStatus(errno, "send");
    data += sent;
    bytes -= static_cast<uint64_t>(sent);
  }
  return absl::OkStatus();
}

absl::Status SendAny(const UniqueFd& to, uint64_t bytes) {
  const std::string piece(kPiece, 'x');
  for (; bytes > 0; bytes -= std::min<uint64_t>(bytes, kPiece)) {
    ISTHMUS_RETURN_IF_ERROR(Send(to, piece.data(), std::min<uint64_t>(bytes, kPiece)));
  }
  return absl::OkStatus();
}

// Passes them on to `on`, if that is not null.
absl::Status Receive(const UniqueFd& from, uint64_t bytes, const UniqueFd* on) {
  std::string piece(kPiece, 0);
  while (bytes > 0) {
    const ssize_t size = ::recv(from.get(), piece.data(), std::min<uint64_t>(bytes, kPiece), 0);
    if (size < 0) return absl::ErrnoToStatus(errno, "recv");
    if (size == 0) return absl::DataLossError("the connection ended");
    if (on != nullptr) {
      ISTHMUS_RETURN_IF_ERROR(Send(*on, piece.data(), static_cast<uint64_t>(size)));
    }
    bytes -= static_cast<uint64_t>(size);
  }
  return absl::OkStatus();
}

using Pending = std::future<absl::Status>;

template <typename F>
Pending Start(F f) {
  return std::async(std::launch::async, std::move(f));
}

}  // namespace

absl::StatusOr<absl::Duration> CopyThroughHub(const ThinLinks& links, uint64_t bytes) {
  ISTHMUS_ASSIGN_OR_RETURN(const Listener listener, Listen(links.hub()));
  ISTHMUS_ASSIGN_OR_RETURN(const Connection to, Connect(links, 1, listener));
  Pending received = Start([&] { return Receive(to.site, bytes, nullptr); });
  const absl::Time begin = Clock::Real().Now();
  absl::Status status;
  const auto from = Connect(links, 0, listener);
  if (from.ok()) {
    Pending passed = Start([&] { return Receive(from->hub, bytes, &to.hub); });
    status = SendAny(from->site, bytes);
    status.Update(passed.get());
  } else {
    status = from.status();
  }
  if (!status.ok()) ::shutdown(to.hub.get(), SHUT_RDWR);
  status.Update(received.get());
  ISTHMUS_RETURN_IF_ERROR(status);
  return Clock::Real().Now() - begin;
}

absl::StatusOr<std::vector<absl::Duration>> Exchange(const ThinLinks& links, int sites,
                                                     uint64_t up_bytes, uint64_t down_bytes,
                                                     int rounds) {
  ISTHMUS_ASSIGN_OR_RETURN(const Listener listener, Listen(links.hub()));
  std::vector<Connection> connections;
  for (int site = 0; site < sites; ++site) {
    ISTHMUS_ASSIGN_OR_RETURN(connections.emplace_back(), Connect(links, site, listener));
  }
  std::vector<absl::Duration> times;
  for (int round = 0; round < rounds; ++round) {
    const absl::Time begin = Clock::Real().Now();
    absl::Status status;
    const auto all = [&](auto work) {
      std::vector<Pending> pending;
      for (const Connection& c : connections)
        pending.push_back(Start([&, work] { return work(c); }));
      for (Pending& p : pending) status.Update(p.get());
    };
    std::vector<Pending> sent;
    for (const Connection& c : connections) {
      sent.push_back(Start([&] { return SendAny(c.site, up_bytes); }));
    }
    all([&](const Connection& c) { return Receive(c.hub, up_bytes, nullptr); });
    for (const Connection& c : connections) {
      sent.push_back(Start([&] { return SendAny(c.hub, down_bytes); }));
    }
    all([&](const Connection& c) { return Receive(c.site, down_bytes, nullptr); });
    for (Pending& p : sent) status.Update(p.get());
    ISTHMUS_RETURN_IF_ERROR(status);
    times.push_back(Clock::Real().Now() - begin);
  }
  return times;
}

}  // namespace isthmus::net
