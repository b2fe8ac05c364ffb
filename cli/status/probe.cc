#include "cli/status/probe.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "common/base/clock.h"
#include "common/base/printable.h"

namespace isthmus {
namespace {

// RFC 9113, 3.4: the client's preface, and an empty SETTINGS frame.
constexpr absl::string_view kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
constexpr size_t kFrameHeader = 9;
constexpr size_t kShown = 40;

class Socket {
 public:
  explicit Socket(const addrinfo& at)
      : fd_(socket(at.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // Returns 0 or an errno; ETIMEDOUT once `deadline` has passed.
  int Connect(const addrinfo& at, absl::Time deadline) {
    if (fd_ < 0) return errno;
    if (connect(fd_, at.ai_addr, at.ai_addrlen) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    if (!Await(POLLOUT, deadline)) return ETIMEDOUT;
    int error = 0;
    socklen_t length = sizeof(error);
    getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &length);
    return error;
  }

  // The first bytes that the other end sends after `text`, a frame header's worth if there are as
  // many. Returns 0 or an errno.
  int Greet(absl::string_view text, absl::Time deadline, std::string* answer) {
    if (send(fd_, text.data(), text.size(), MSG_NOSIGNAL) < 0) return errno;
    while (answer->size() < kFrameHeader) {
      if (!Await(POLLIN, deadline)) return answer->empty() ? ETIMEDOUT : 0;
      char bytes[64];
      const ssize_t got = recv(fd_, bytes, sizeof(bytes), 0);
      if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      // What came before a reset counts; without anything, the reset does.
      if (got < 0) return answer->empty() ? errno : 0;
      if (got == 0) return 0;
      answer->append(bytes, static_cast<size_t>(got));
    }
    return 0;
  }

 private:
  bool Await(short events, absl::Time deadline) const {
    const absl::Duration left = deadline - Clock::Real().Now();
    pollfd polled{.fd = fd_, .events = events, .revents = 0};
    return left > absl::ZeroDuration() &&
           poll(&polled, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1) > 0;
  }

  const int fd_;
};

std::string DescribeError(int error) {
  switch (error) {
    case ECONNREFUSED:
      return "connection refused: nothing listens there";
    case ETIMEDOUT:
      return "no answer to a connection: a firewall, a wrong address, or a host that is down";
    default:
      return std::strerror(error);
  }
}

ProbeResult ProbeAddress(const addrinfo& at, absl::Time deadline) {
  Socket socket(at);
  if (const int error = socket.Connect(at, deadline); error != 0) {
    return {.words = DescribeError(error)};
  }
  std::string answer;
  const int error = socket.Greet(kPreface, deadline, &answer);
  if (error == ETIMEDOUT) {
    return {.words =
                "it takes connections and says nothing: another kind of server, or one that hangs"};
  }
  return DescribeGreeting(error == 0 ? answer : "");
}

}  // namespace

ProbeResult DescribeGreeting(absl::string_view bytes) {
  if (bytes.empty()) {
    return {.words =
                "it closes connections at once: it has as many as it may, or is another kind "
                "of server"};
  }
  // A server's first frame is SETTINGS, of stream 0.
  if (bytes.size() >= kFrameHeader && bytes[0] == '\0' && bytes[3] == '\4' &&
      bytes.substr(5, 4) == absl::string_view("\0\0\0\0", 4)) {
    return {.http2 = true, .words = "it speaks HTTP/2, but does not answer"};
  }
  // Some answer a version that they do not know with a page and nothing else.
  if (absl::StartsWith(bytes, "HTTP/") || absl::StartsWithIgnoreCase(bytes, "<!doctype") ||
      absl::StartsWithIgnoreCase(bytes, "<html")) {
    return {.words = "it speaks HTTP/1, as web servers do, and no gRPC"};
  }
  // A record of type alert or handshake, version 3.x.
  if (bytes.size() >= 2 && (bytes[0] == '\x15' || bytes[0] == '\x16') && bytes[1] == '\3') {
    return {.words = "it speaks TLS, which this program does not"};
  }
  return {.words = absl::StrCat("it speaks something else: it begins with '",
                                Printable(bytes.substr(0, kShown)), "'")};
}

ProbeResult Probe(const HostPort& address, absl::Duration patience) {
  const absl::Time deadline = Clock::Real().Now() + patience;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* first = nullptr;
  const int error =
      getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &first);
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> found(first, &freeaddrinfo);
  if (error != 0 || first == nullptr) {
    return {.words = absl::StrCat(
                "no address for host '", address.host,
                "': ", error == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(error))};
  }
  ProbeResult result;
  for (const addrinfo* at = first; at != nullptr; at = at->ai_next) {
    result = ProbeAddress(*at, deadline);
    if (result.http2) break;
  }
  return result;
}

}  // namespace isthmus
