#include "cli/link/link_command.h"

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <memory>
#include <optional>
#include <ostream>

#include "cli/base/exit_codes.h"
#include "cli/base/format.h"
#include "cli/link/forwarder.h"
#include "cli/link/link_spec.h"
#include "common/base/host_port.h"

namespace isthmus {
namespace {

int Fail(std::ostream& errors, const char* flag, const absl::Status& status) {
  errors << "isthmus link: " << flag << status.message() << std::endl;
  return status.code() == absl::StatusCode::kInvalidArgument ? kExitUsage : kExitFailure;
}

}  // namespace

int RunLink(const LinkOptions& options, Signals& signals, std::ostream& out, std::ostream& errors) {
  const absl::StatusOr<LinkSpec> link = ParseLinkSpec(options.link);
  if (!link.ok()) return Fail(errors, "--link: ", link.status());
  if (const auto listen = ParseHostPort(options.listen); !listen.ok()) {
    return Fail(errors, "--listen: ", listen.status());
  }
  if (const auto to = ParseDialAddress(options.to); !to.ok()) {
    return Fail(errors, "--to: ", to.status());
  }
  LinkLoop loop;
  const absl::StatusOr<std::unique_ptr<Forwarder>> forwarder =
      Forwarder::Start(&loop, options.listen, options.to, *link);
  if (!forwarder.ok()) return Fail(errors, "", forwarder.status());
  out << (*forwarder)->address() << " -> " << options.to << " over " << link->ToString()
      << std::endl;
  while (true) {
    const std::optional<int> signal = signals.Wait(absl::Hours(1));
    if (signal && Signals::AsksToEnd(*signal)) break;
  }
  const LinkCounters counters = (*forwarder)->counters();
  out << FormatBytes(static_cast<double>(counters.bytes_up)) << " up, "
      << FormatBytes(static_cast<double>(counters.bytes_down)) << " down" << std::endl;
  return kExitOk;
}

}  // namespace isthmus
