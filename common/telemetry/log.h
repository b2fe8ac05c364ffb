// The program's log: lines on stderr, "time level text". Thread-safe; never blocks a step for long.
#ifndef ISTHMUS_COMMON_TELEMETRY_LOG_H_
#define ISTHMUS_COMMON_TELEMETRY_LOG_H_

#include <absl/status/status.h>

#include <string>

namespace isthmus {

// `level`: debug, info, warning, error or off. INVALID_ARGUMENT for others.
absl::Status SetLogLevel(const std::string& level);

// One line each: what a terminal would obey is replaced (common/base/printable.h).
void LogDebug(const std::string& text);
void LogInfo(const std::string& text);
void LogWarning(const std::string& text);
void LogError(const std::string& text);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TELEMETRY_LOG_H_
