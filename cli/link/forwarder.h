// A TCP forwarder that behaves like a thin link: rate, one-way delay and a bounded queue in each
// direction. Needs no root, so a deployment can be rehearsed anywhere.
//
// The TCP handshake itself is not delayed, and nothing is ever lost: this is a slow link behind a
// patient router.
#ifndef ISTHMUS_CLI_LINK_FORWARDER_H_
#define ISTHMUS_CLI_LINK_FORWARDER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "cli/link/link_spec.h"

namespace isthmus {

// Runs all forwarders of a process on one thread. Outlives them.
class LinkLoop {
 public:
  LinkLoop();
  ~LinkLoop();
  LinkLoop(const LinkLoop&) = delete;
  LinkLoop& operator=(const LinkLoop&) = delete;

 private:
  friend class Forwarder;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// TCP payload put on the link since the start, HTTP/2 framing and all.
struct LinkCounters {
  uint64_t bytes_up = 0;  // from the connecting client to the server
  uint64_t bytes_down = 0;
};

// The link of one site: any number of connections (at most 256 at a time) share it. Thread-safe,
// but for construction and destruction, and must not be called from the loop's own thread.
class Forwarder {
 public:
  // Listens on `listen` and connects to `target`, both HOST:PORT; port 0 lets the system choose.
  // INVALID_ARGUMENT for an address that is none, UNAVAILABLE if listening fails.
  static absl::StatusOr<std::unique_ptr<Forwarder>> Start(LinkLoop* loop, const std::string& listen,
                                                          const std::string& target,
                                                          const LinkSpec& link);
  // Resets what is connected.
  ~Forwarder();

  // Where clients connect, HOST:PORT.
  const std::string& address() const;
  LinkCounters counters() const;
  // Resets every connection, loses what is under way, and resets whoever connects until Heal(). In
  // force on return.
  void Cut();
  void Heal();
  // The link is another on return; connections stay. Kernel buffers are those of the first link.
  void Become(const LinkSpec& link);

 private:
  struct Impl;
  explicit Forwarder(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;  // shared with pending accepts
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_LINK_FORWARDER_H_
