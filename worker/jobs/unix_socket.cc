#include "worker/jobs/unix_socket.h"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "client/job_wire.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace isthmus {
namespace {

constexpr int kBacklog = 128;

absl::Status SystemError(const std::string& what) { return absl::ErrnoToStatus(errno, what); }

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const size_t limit = sizeof(address.sun_path) - 1;
  if (path.empty() || path.size() > limit || path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("socket path '", path, "': expected 1 to ",
                                                   limit, " bytes, got ", path.size()));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

int Connect(int fd, const sockaddr_un& address) {
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

UniqueFd NewSocket() {
  return UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

// Removes a socket that a killed daemon left behind; nobody listens there.
absl::Status RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat status;
  if (::lstat(path.c_str(), &status) != 0) {
    return errno == ENOENT ? absl::OkStatus() : SystemError(path);
  }
  if (!S_ISSOCK(status.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat("'", path, "': expected a socket or nothing, got another kind of file"));
  }
  const UniqueFd probe = NewSocket();
  if (!probe.valid()) return SystemError("socket");
  const int error = Connect(probe.get(), address) == 0 ? 0 : errno;
  switch (error) {
    case ECONNREFUSED:
    case ENOENT:  // its owner has removed it since
      break;
    case 0:
    case EAGAIN:  // its backlog is full
      return absl::AlreadyExistsError(absl::StrCat("'", path, "': another daemon listens there"));
    case EPROTOTYPE:
      return absl::AlreadyExistsError(
          absl::StrCat("'", path, "': another program listens there, and no Isthmus daemon"));
    default:
      return absl::ErrnoToStatus(
          error, absl::StrCat("'", path, "': a socket of user ", status.st_uid,
                              " is there, and whether anybody listens cannot be told"));
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return SystemError(path);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UnixListener> UnixListener::Listen(std::string path, const SocketAccess& access) {
  ISTHMUS_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  ISTHMUS_RETURN_IF_ERROR(RemoveStale(path, address));
  UniqueFd fd = NewSocket();
  if (!fd.valid()) return SystemError("socket");
  // Before bind, so that the file never has a wider mode than it is to have. (What is wider than
  // the owner's comes once the group is right.)
  if (::fchmod(fd.get(), 0600) != 0) return SystemError("fchmod of the socket");
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno == EADDRINUSE) {
      return absl::AlreadyExistsError(absl::StrCat("'", path, "': another daemon took it"));
    }
    return SystemError(absl::StrCat("bind to '", path, "'"));
  }
  struct stat status;
  absl::Status set;
  if (access.group && ::chown(path.c_str(), static_cast<uid_t>(-1), *access.group) != 0) {
    set = SystemError(absl::StrCat("give '", path, "' to group ", *access.group));
  } else if (::chmod(path.c_str(), access.mode) != 0 || ::lstat(path.c_str(), &status) != 0 ||
             ::listen(fd.get(), kBacklog) != 0) {
    set = SystemError(absl::StrCat("listen at '", path, "'"));
  }
  if (!set.ok()) {
    ::unlink(path.c_str());
    return set;
  }
  return UnixListener(std::move(fd), std::move(path), status.st_dev, status.st_ino);
}

UnixListener::~UnixListener() {
  if (!fd_.valid()) return;
  struct stat status;
  if (::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
}

absl::StatusOr<std::optional<UniqueFd>> UnixListener::Accept() {
  for (;;) {
    UniqueFd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.valid()) return fd;
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
    return absl::ResourceExhaustedError(absl::StrCat("accept: ", std::strerror(errno)));
  }
}

absl::StatusOr<UniqueFd> OpenPeerProcess(int socket) {
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid <= 0) {
    return UniqueFd();
  }
#ifdef SYS_pidfd_open
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  if (!process.valid() && (errno == EMFILE || errno == ENFILE)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no descriptor to watch the job's process with: ", std::strerror(errno),
                     "; raise the daemon's limit (ulimit -n)"));
  }
  return process;
#else
  return UniqueFd();
#endif
}

absl::Status SendPacket(int socket, std::span<const std::byte> packet, std::span<const int> fds) {
  ISTHMUS_CHECK(fds.size() <= ISTHMUS_WIRE_BUFFER_FDS);
  iovec data = {const_cast<std::byte*>(packet.data()), packet.size()};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(ISTHMUS_WIRE_BUFFER_FDS * sizeof(int))] = {};
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(part), fds.data(), fds.size_bytes());
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return absl::OkStatus();
    if (errno == EINTR) continue;
    if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) {
      return absl::UnavailableError(absl::StrCat("went away: ", std::strerror(errno)));
    }
    return absl::ResourceExhaustedError(absl::StrCat("send: ", std::strerror(errno)));
  }
}

void ShutDownSending(int socket) {
  // Fails only for a peer that is gone.
  [[maybe_unused]] const int done = ::shutdown(socket, SHUT_WR);
}

Received ReceivePacket(int socket, std::span<std::byte> buffer) {
  for (;;) {
    const ssize_t size = ::recv(socket, buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC);
    // An empty packet cannot be told from the end, and nobody following the protocol sends one.
    if (size > 0) return {Received::kPacket, static_cast<size_t>(size)};
    if (size == 0) return {Received::kClosed};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {Received::kNothingYet};
    if (errno != EINTR) return {Received::kClosed};
  }
}

}  // namespace isthmus
