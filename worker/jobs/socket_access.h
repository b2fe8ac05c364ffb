// Who may connect to a job socket, beside its daemon's own user.
#ifndef ISTHMUS_WORKER_JOBS_SOCKET_ACCESS_H_
#define ISTHMUS_WORKER_JOBS_SOCKET_ACCESS_H_

#include <absl/status/statusor.h>
#include <sys/types.h>

#include <optional>
#include <string>

namespace isthmus {

// Whoever may connect trains the site's model, and reads it. On Linux that takes write permission
// for the file.
struct SocketAccess {
  mode_t mode = 0600;          // of the socket file, whatever the umask is
  std::optional<gid_t> group;  // of the socket file; none: the process' own
};

// From flags; empty ones say nothing. `mode` is octal, `group` a name or a number, and a group
// alone means mode 0660. Errors: INVALID_ARGUMENT for a mode that is none, or shuts out the
// daemon's own user; NOT_FOUND for a group that the system does not know.
absl::StatusOr<SocketAccess> ParseSocketAccess(const std::string& mode, const std::string& group);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_JOBS_SOCKET_ACCESS_H_
