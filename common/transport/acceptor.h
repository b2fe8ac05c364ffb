// Takes TCP connections in on one address, and stays able to: what a server's listener must
// survive.
//
// gRPC 1.51 has a listener of its own, but gives it up for good the first time that accept() fails,
// be it because descriptors ran out for a moment or because a peer changed its mind; from then on
// the process serves whom it has and is deaf to everybody else. This one pauses, turns away or
// reopens, and says so (docs/decisions/2026-11-27-own-listener.md).
#ifndef ISTHMUS_COMMON_TRANSPORT_ACCEPTOR_H_
#define ISTHMUS_COMMON_TRANSPORT_ACCEPTOR_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "common/base/host_port.h"
#include "common/transport/connection_socket.h"

namespace isthmus {

// What to do after accept() has failed.
enum class AcceptFailure : uint8_t {
  kNext,    // that connection is no more, or there is none: others follow
  kPause,   // the system has no room now: give some back, look again in a moment
  kReopen,  // the listening socket itself is of no use any more
};
// By `error`, an errno. Pure.
AcceptFailure JudgeAcceptFailure(int error);

struct AcceptorCounts {
  uint64_t taken = 0;        // connections, since the start
  uint64_t turned_away = 0;  // closed at once, since there were as many as may be
  uint64_t reopened = 0;     // listening sockets that were lost and opened again
};

// Thread-safe but for Run, Stop and destruction.
class Acceptor {
 public:
  struct Options {
    HostPort address;  // port 0: any free one
    // Connections get descriptors below this number. The system gives the lowest that is free, so
    // that this bounds all that is open, and leaves those above to everything else.
    int descriptor_bound = 0;
    int user_timeout_ms = 0;  // TCP_USER_TIMEOUT of connections; 0: the system's
    ConnectionOptions connections;
  };
  // Owns `fd`, which does not block. `listener` is the socket that it came in on.
  using Take = std::function<void(int fd, int listener)>;

  // Listens on every address that the host has; nobody is taken before Run(). "localhost" is both
  // families, [::] all of both, 0.0.0.0 all of IPv4. Blocks while names are resolved. Errors:
  // UNAVAILABLE, naming the address and why; RESOURCE_EXHAUSTED for too few descriptors.
  static absl::StatusOr<std::unique_ptr<Acceptor>> Open(const Options& options);
  virtual ~Acceptor() = default;  // stops

  // Starts the thread that calls `take`. Once. RESOURCE_EXHAUSTED if there is no thread.
  virtual absl::Status Run(Take take) = 0;
  // Closes the listening sockets. Returns when `take` is not running and will not be. Twice is
  // once.
  virtual void Stop() = 0;
  // What was bound: the first of its addresses, and the port that it got.
  virtual HostPort address() const = 0;
  virtual AcceptorCounts counts() const = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_ACCEPTOR_H_
