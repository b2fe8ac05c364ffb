#include "worker/jobs/job_server.h"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "common/base/status_macros.h"
#include "worker/jobs/server_thread.h"

namespace isthmus {
namespace {

constexpr uint32_t kMaxRanks = 1024;

uint64_t MachineMemoryBytes() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_bytes = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_bytes <= 0) return ~uint64_t{0};
  return static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_bytes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobServer>> JobServer::Start(Options options, JobEvents* events) {
  if (options.ranks == 0 || options.ranks > kMaxRanks) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.name, ": ranks: expected 1 to ", kMaxRanks, ", got ", options.ranks));
  }
  if (!options.devices.empty() && options.devices.size() != options.ranks) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.name, ": devices: expected one for each of ", options.ranks,
                     " ranks, got ", options.devices.size()));
  }
  ISTHMUS_ASSIGN_OR_RETURN(UnixListener listener, UnixListener::Listen(options.socket_path));
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return absl::ErrnoToStatus(errno, "eventfd");
  SessionCore::Options core;
  core.ranks = options.ranks;
  core.name = std::move(options.name);
  core.handshake_timeout = options.handshake_timeout;
  core.max_pending = options.max_pending;
  core.device_memory = !options.devices.empty();
  core.max_session_bytes =
      options.max_session_bytes == 0 ? MachineMemoryBytes() : options.max_session_bytes;
  return std::make_unique<ServerThread>(std::move(core), options.clock, std::move(options.devices),
                                        std::move(listener), std::move(wake), events);
}

}  // namespace isthmus
