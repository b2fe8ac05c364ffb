#include "cli/status/status_command.h"

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <optional>
#include <ostream>
#include <string>

#include "cli/base/exit_codes.h"
#include "cli/status/status_client.h"
#include "cli/status/status_table.h"
#include "common/base/host_port.h"

namespace isthmus {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(5);
constexpr const char* kClearScreen = "\x1b[H\x1b[2J";

}  // namespace

int RunStatus(const StatusOptions& options, Signals& signals, bool terminal, std::ostream& out,
              std::ostream& errors) {
  if (const auto address = ParseDialAddress(options.coordinator); !address.ok()) {
    errors << "isthmus status: --coordinator: " << address.status().message() << std::endl;
    return kExitUsage;
  }
  StatusClient client(options.coordinator, Credentials::Insecure());
  const bool watch = options.watch_seconds > 0;
  const bool redraw = watch && terminal && !options.json;
  std::string shown;
  while (true) {
    std::optional<int> ended;
    const absl::StatusOr<v1::GetStatusReply> reply = client.Get(kTimeout, [&] {
      const std::optional<int> signal = signals.Wait(absl::ZeroDuration());
      if (signal && Signals::AsksToEnd(*signal)) ended = signal;
      return ended.has_value();
    });
    if (ended) return watch ? kExitOk : Signals::ExitCode(*ended);
    if (reply.ok()) {
      shown =
          options.json ? FormatStatusJson(*reply, /*pretty=*/!watch) : FormatStatusTable(*reply);
    }
    // After a miss, the last that is known stays, with the reason below it.
    if (redraw) out << kClearScreen;
    if (reply.ok() || redraw) out << shown;
    out.flush();
    if (!reply.ok()) {
      errors << "isthmus status: " << client.Explain(reply.status()).message() << std::endl;
      if (!watch) return kExitUnreachable;
    }
    if (!watch || !out) return kExitOk;
    const std::optional<int> signal = signals.Wait(absl::Seconds(options.watch_seconds));
    if (signal && Signals::AsksToEnd(*signal)) return kExitOk;
    if (reply.ok() && !terminal && !options.json) out << '\n';
  }
}

}  // namespace isthmus
