// Network namespaces without names: each lives as long as somebody holds its descriptor or runs in
// it, so that nothing is left behind by a test that is killed, and tests that run at the same time
// cannot meet. Needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN) and /dev/net/tun.
#ifndef ISTHMUS_TESTS_NET_NET_NAMESPACE_H_
#define ISTHMUS_TESTS_NET_NET_NAMESPACE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "worker/jobs/unique_fd.h"

namespace isthmus::net {

// Move-only. Thread-safe.
class NetNamespace {
 public:
  // With its loopback device up. Errors: PERMISSION_DENIED without root; what the system says.
  static absl::StatusOr<NetNamespace> Create();

  // Runs `f` in a thread of its own that is in the namespace, and waits for it. What sockets it
  // makes stay there.
  absl::Status Run(const std::function<absl::Status()>& f) const;

  // A packet device there, as a file: what is written to it arrives, what leaves by it is read,
  // one packet each, without blocking. `address` is its own, with the /24 around it behind it.
  absl::StatusOr<UniqueFd> OpenTun(const std::string& name, const std::string& address) const;

  // Starts a program in it; its output is appended to `log_path`. The kernel kills it when the
  // calling thread ends, whatever ends that.
  absl::StatusOr<pid_t> Spawn(const std::vector<std::string>& argv,
                              const std::string& log_path) const;

 private:
  explicit NetNamespace(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// Why this process cannot make any of the above, or OK.
absl::Status CheckCanUseNamespaces();

}  // namespace isthmus::net

#endif  // ISTHMUS_TESTS_NET_NET_NAMESPACE_H_
