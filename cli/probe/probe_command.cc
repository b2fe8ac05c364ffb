#include "cli/probe/probe_command.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "cli/base/exit_codes.h"
#include "cli/base/format.h"
#include "cli/probe/path.h"
#include "cli/probe/path_client.h"
#include "cli/status/status_client.h"
#include "common/base/host_port.h"
#include "common/base/printable.h"

namespace isthmus {
namespace {

std::string Seconds(absl::Duration time) { return FormatSeconds(absl::ToDoubleSeconds(time)); }

std::string Table(const PathFigures& path, const std::string& congestion_control) {
  return FormatColumns(
      {{"round trip",
        absl::StrCat(Seconds(path.median()), ", from ", Seconds(path.round_trips.front()), " to ",
                     Seconds(path.round_trips.back()))},
       {"up", FormatRate(path.up / 8)},
       {"down", FormatRate(path.down / 8)},
       {"congestion control", congestion_control.empty() ? "not known" : congestion_control},
       {"as a link", path.Link()}});
}

nlohmann::ordered_json Json(const PathFigures& path, const std::string& congestion_control) {
  return {{"round_trip_seconds",
           {{"least", absl::ToDoubleSeconds(path.round_trips.front())},
            {"median", absl::ToDoubleSeconds(path.median())},
            {"most", absl::ToDoubleSeconds(path.round_trips.back())}}},
          {"up_bits_per_second", path.up},
          {"down_bits_per_second", path.down},
          {"congestion_control", congestion_control},
          {"link", path.Link()}};
}

absl::Status InWords(const std::string& coordinator, const absl::Status& failure) {
  if (absl::IsResourceExhausted(failure)) return failure;
  if (absl::IsUnimplemented(failure)) {
    return absl::UnavailableError(
        absl::StrCat("whoever answers at ", coordinator,
                     " knows no probes: an older coordinator, or another kind of server"));
  }
  return StatusClient(coordinator, Credentials::Insecure()).Explain(failure);
}

}  // namespace

int RunProbe(const ProbeOptions& options, Signals& signals, std::ostream& out,
             std::ostream& errors) {
  const bool plans = !options.plan.parameters.empty() || !options.plan.step.empty();
  absl::Status usage = ParseDialAddress(options.coordinator).status();
  if (usage.ok() && plans) usage = ParsePlanFlags(options.plan).status();
  if (!usage.ok()) {
    errors << "isthmus probe: " << usage.message() << std::endl;
    return kExitUsage;
  }
  PathClient client(options.coordinator, Credentials::Insecure());
  std::optional<int> ended;
  const absl::StatusOr<PathFigures> path = MeasurePath([&](const ProbeSize& size) {
    return client.Call(size, [&] {
      const std::optional<int> signal = signals.Wait(absl::ZeroDuration());
      if (signal && Signals::AsksToEnd(*signal)) ended = signal;
      return ended.has_value();
    });
  });
  if (ended) return Signals::ExitCode(*ended);
  if (!path.ok()) {
    errors << "isthmus probe: " << Printable(InWords(options.coordinator, path.status()).message())
           << std::endl;
    return kExitUnreachable;
  }
  if (options.json) {
    out << Json(*path, client.congestion_control()).dump(2) << std::endl;
    return kExitOk;
  }
  out << Table(*path, client.congestion_control());
  if (!plans) return kExitOk;
  out << "\nSites with such links:\n\n";
  PlanFlags plan = options.plan;
  plan.links = path->Link();
  return RunPlan(plan, out, errors);
}

}  // namespace isthmus
