#include "cli/status/status_command.h"

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <optional>
#include <ostream>

#include "cli/base/exit_codes.h"
#include "cli/status/status_client.h"
#include "cli/status/status_table.h"

namespace isthmus {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(5);
constexpr const char* kClearScreen = "\x1b[H\x1b[2J";

}  // namespace

int RunStatus(const StatusOptions& options, Signals& signals, bool terminal, std::ostream& out,
              std::ostream& errors) {
  StatusClient client(options.coordinator);
  const bool watch = options.watch_seconds > 0;
  while (true) {
    const absl::StatusOr<v1::GetStatusReply> reply = client.Get(kTimeout);
    if (!reply.ok()) {
      errors << "isthmus status: " << reply.status().message() << std::endl;
      return kExitUnreachable;
    }
    if (watch && terminal && !options.json) out << kClearScreen;
    out << (options.json ? FormatStatusJson(*reply, /*pretty=*/!watch) : FormatStatusTable(*reply));
    out.flush();
    if (!watch || !out) return kExitOk;
    const std::optional<int> signal = signals.Wait(absl::Seconds(options.watch_seconds));
    if (signal && Signals::AsksToEnd(*signal)) return kExitOk;
    if (!terminal && !options.json) out << '\n';
  }
}

}  // namespace isthmus
