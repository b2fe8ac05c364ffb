#include "common/telemetry/log.h"

#include <absl/strings/str_cat.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "common/base/printable.h"

namespace isthmus {
namespace {

spdlog::logger& Logger() {
  static const auto logger = [] {
    auto made = spdlog::stderr_logger_mt("isthmus");
    made->set_pattern("%H:%M:%S.%e %^%l%$ %v");
    return made;
  }();
  return *logger;
}

}  // namespace

absl::Status SetLogLevel(const std::string& level) {
  for (const auto& [name, value] : {std::pair{"debug", spdlog::level::debug},
                                    {"info", spdlog::level::info},
                                    {"warning", spdlog::level::warn},
                                    {"error", spdlog::level::err},
                                    {"off", spdlog::level::off}}) {
    if (level != name) continue;
    Logger().set_level(value);
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("log level: expected debug, info, warning, error or off; got '", level, "'"));
}

// Labels and reasons come from peers, and a log is read on a terminal: nothing in a line may move
// its cursor, or pass for a line of its own.
void LogDebug(const std::string& text) { Logger().debug("{}", Printable(text)); }
void LogInfo(const std::string& text) { Logger().info("{}", Printable(text)); }
void LogWarning(const std::string& text) { Logger().warn("{}", Printable(text)); }
void LogError(const std::string& text) { Logger().error("{}", Printable(text)); }

}  // namespace isthmus
