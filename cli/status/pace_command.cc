#include "cli/status/pace_command.h"

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <optional>
#include <ostream>

#include "cli/base/exit_codes.h"
#include "cli/status/status_client.h"
#include "common/base/host_port.h"
#include "common/base/printable.h"

namespace isthmus {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(5);

}  // namespace

int RunPace(const PaceOptions& options, Signals& signals, std::ostream& out, std::ostream& errors) {
  if (const auto address = ParseDialAddress(options.coordinator); !address.ok()) {
    errors << "isthmus pace: --coordinator: " << address.status().message() << std::endl;
    return kExitUsage;
  }
  StatusClient client(options.coordinator, Credentials::Insecure());
  std::optional<int> ended;
  const absl::Status told = client.FreezePace(options.freeze, kTimeout, [&] {
    const std::optional<int> signal = signals.Wait(absl::ZeroDuration());
    if (signal && Signals::AsksToEnd(*signal)) ended = signal;
    return ended.has_value();
  });
  if (ended) return Signals::ExitCode(*ended);
  if (absl::IsFailedPrecondition(told)) {
    errors << "isthmus pace: " << Printable(told.message()) << std::endl;
    return kExitFailure;
  }
  if (!told.ok()) {
    errors << "isthmus pace: " << client.Explain(told).message() << std::endl;
    return kExitUnreachable;
  }
  out << (options.freeze ? "frozen: rounds keep the settings that they have"
                         : "thawed: the pace chooses again")
      << std::endl;
  return kExitOk;
}

}  // namespace isthmus
