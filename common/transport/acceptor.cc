#include "common/transport/acceptor.h"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/telemetry/log.h"
#include "common/transport/listening_sockets.h"

namespace isthmus {
namespace {

// How long to leave the queue alone when the system has no room. Peers wait in it meanwhile.
constexpr int kPauseMs = 100;
// From one try to open a lost socket again to the next.
constexpr int kReopenMs = 1000;
// Connections of one socket before the others and the wish to stop are looked at again.
constexpr int kBatch = 64;

int OpenSpare() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

// Said at the first and then ever more rarely: a peer that connects in a loop must not fill the
// log.
bool WorthSaying(uint64_t count) { return (count & (count - 1)) == 0; }

class SocketAcceptor : public Acceptor {
 public:
  SocketAcceptor(const Options& options, std::vector<ListeningSocket> sockets)
      : options_(options), sockets_(std::move(sockets)), spare_(OpenSpare()) {}

  ~SocketAcceptor() override {
    Stop();
    if (wake_ >= 0) close(wake_);
    if (spare_ >= 0) close(spare_);
  }

  absl::Status CheckRoom() const {
    if (wake_ >= 0 && spare_ >= 0 && spare_ + 1 < options_.descriptor_bound)
      return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot listen on ", ToString(options_.address),
                     ": connections would have the ", "descriptors from ", spare_ + 1, " to below ",
                     options_.descriptor_bound, "; see `ulimit -n`"));
  }

  absl::Status Run(Take take) override {
    take_ = std::move(take);
    try {
      thread_ = std::thread([this] { Loop(); });
    } catch (const std::system_error& error) {
      return absl::ResourceExhaustedError(
          absl::StrCat("no thread to accept connections: ", error.what()));
    }
    return absl::OkStatus();
  }

  void Stop() override {
    if (thread_.joinable()) {
      const uint64_t one = 1;
      // An eventfd takes eight bytes always.
      while (write(wake_, &one, sizeof(one)) < 0 && errno == EINTR) {
      }
      thread_.join();
    }
    sockets_.clear();
  }

  HostPort address() const override { return address_; }

  AcceptorCounts counts() const override {
    return {.taken = taken_, .turned_away = turned_away_, .reopened = reopened_};
  }

 private:
  // Only the loop's thread touches sockets_, spare_ and pausing_ from here on.
  void Loop() {
    while (Wait()) {
      for (ListeningSocket& socket : sockets_) {
        if (socket.fd() < 0) Reopen(&socket);
        if (socket.fd() >= 0) Drain(&socket);
      }
    }
  }

  // Until there is something to do. False: to stop.
  bool Wait() {
    std::vector<pollfd> polled = {{.fd = wake_, .events = POLLIN, .revents = 0}};
    int timeout_ms = -1;
    for (const ListeningSocket& socket : sockets_) {
      if (socket.fd() < 0) timeout_ms = kReopenMs;
      // A queue that cannot be served stays readable: polling it would spin.
      if (!pausing_) polled.push_back({.fd = socket.fd(), .events = POLLIN, .revents = 0});
    }
    if (pausing_) timeout_ms = kPauseMs;
    pausing_ = false;
    // EINTR and the like: looking once too often does no harm.
    (void)poll(polled.data(), polled.size(), timeout_ms);
    return polled[0].revents == 0;
  }

  void Drain(ListeningSocket* socket) {
    for (int i = 0; i < kBatch; ++i) {
      const int fd = accept4(socket->fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= options_.descriptor_bound) {
        TurnAway(fd);
      } else if (fd >= 0) {
        ++taken_;
        ConfigureConnection(fd, options_.connections);
        take_(fd, socket->fd());
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return;
      } else if (!Survive(socket, errno)) {
        return;
      }
    }
  }

  // After a failed accept(): true to go on with this socket at once.
  bool Survive(ListeningSocket* socket, int error) {
    switch (JudgeAcceptFailure(error)) {
      case AcceptFailure::kNext:
        return true;
      case AcceptFailure::kPause:
        if (TurnAwayWithSpare(socket)) return true;
        if (WorthSaying(++pauses_)) {
          LogWarning(absl::StrCat("cannot take connections in for the moment: ",
                                  std::strerror(error), " (", pauses_, " times so far)"));
        }
        pausing_ = true;
        return false;
      case AcceptFailure::kReopen:
        LogError(absl::StrCat("the listening socket of ", ToString(socket->address()),
                              " is lost: ", std::strerror(error), "; opening another"));
        Reopen(socket);
        return false;
    }
    return false;
  }

  // With no descriptor left, whoever waits would wait for ever without knowing why. One that is
  // kept for this lets the connection be taken and closed, which its peer understands.
  bool TurnAwayWithSpare(ListeningSocket* socket) {
    if (spare_ < 0) spare_ = OpenSpare();
    if (spare_ < 0) return false;
    close(spare_);
    const int fd = accept4(socket->fd(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) TurnAway(fd);
    // Another thread may have been quicker: then there is none until one comes back.
    spare_ = OpenSpare();
    return fd >= 0;
  }

  // Counted first: whoever sees the connection closed may ask at once.
  void TurnAway(int fd) {
    const uint64_t count = ++turned_away_;
    close(fd);
    if (!WorthSaying(count)) return;
    LogWarning(absl::StrCat("turned a connection away, ", count,
                            " so far: as many descriptors are in use as connections may have"));
  }

  // For as long as it takes: those who are connected are served meanwhile, and ending the process
  // would end them too.
  void Reopen(ListeningSocket* socket) {
    if (const int error = socket->Open(); error != 0) {
      if (WorthSaying(++failures_)) {
        LogError(absl::StrCat("nobody can connect to ", ToString(socket->address()), ": ",
                              std::strerror(error), " (tried ", failures_, " times so far)"));
      }
      return;
    }
    failures_ = 0;
    ++reopened_;
    LogInfo(absl::StrCat("listening on ", ToString(socket->address()), " again"));
  }

  const Options options_;
  std::vector<ListeningSocket> sockets_;
  const HostPort address_ = sockets_.front().address();
  int spare_;
  const int wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  bool pausing_ = false;
  uint64_t pauses_ = 0;
  uint64_t failures_ = 0;
  std::atomic<uint64_t> taken_{0};
  std::atomic<uint64_t> turned_away_{0};
  std::atomic<uint64_t> reopened_{0};
  Take take_;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace

AcceptFailure JudgeAcceptFailure(int error) {
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return AcceptFailure::kPause;
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
    case EFAULT:
      return AcceptFailure::kReopen;
    default:
      // EINTR, ECONNABORTED, EPERM (a firewall), and what Linux passes on of the network below:
      // accept(2) says to treat all of those as "try again".
      return AcceptFailure::kNext;
  }
}

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::Open(const Options& options) {
  ISTHMUS_ASSIGN_OR_RETURN(std::vector<ListeningSocket> sockets,
                           OpenListeningSockets(options.address, options.user_timeout_ms));
  auto acceptor = std::make_unique<SocketAcceptor>(options, std::move(sockets));
  ISTHMUS_RETURN_IF_ERROR(acceptor->CheckRoom());
  return acceptor;
}

}  // namespace isthmus
