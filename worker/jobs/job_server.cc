#include "worker/jobs/job_server.h"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <sys/eventfd.h>

#include <utility>

#include "common/base/status_macros.h"
#include "worker/jobs/host_memory.h"
#include "worker/jobs/server_thread.h"

namespace isthmus {
namespace {

constexpr uint32_t kMaxRanks = 1024;

// Buffers, state and a snapshot together: each may fit where all do not.
std::function<absl::Status(const Layout&, const JobTerms&)> AdmitWhatFits(
    const JobServer::Options& options) {
  return [ranks = options.ranks, engine_need = options.engine_need, limits = options.memory_limits](
             const Layout& layout, const JobTerms& terms) {
    HostNeed need = engine_need ? engine_need(layout) : HostNeed();
    const HostNeed buffers = BuffersNeed(layout, ranks, terms);
    need.buffers_bytes = buffers.buffers_bytes;
    need.largest_buffer_bytes = buffers.largest_buffer_bytes;
    return CheckHostMemory(layout, ranks, need, limits());
  };
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
  ISTHMUS_ASSIGN_OR_RETURN(UnixListener listener,
                           UnixListener::Listen(options.socket_path, options.socket_access));
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return absl::ErrnoToStatus(errno, "eventfd");
  SessionCore::Options core;
  core.ranks = options.ranks;
  core.name = std::move(options.name);
  core.handshake_timeout = options.handshake_timeout;
  core.max_pending = options.max_pending;
  core.device_memory = !options.devices.empty();
  core.admit = AdmitWhatFits(options);
  auto server =
      std::make_unique<ServerThread>(std::move(core), options.clock, std::move(options.devices),
                                     std::move(listener), std::move(wake), events);
  ISTHMUS_RETURN_IF_ERROR(server->Start());
  return server;
}

}  // namespace isthmus
