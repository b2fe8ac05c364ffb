// Which of the kernel's congestion controls a connection has. Over links with delay it decides how
// much of them is used: one that waits for losses (cubic) begins from a small window again after
// each pause for computing, one that keeps a model of the path (bbr) does not
// (docs/links.md, "Real TCP").
#ifndef ISTHMUS_COMMON_TRANSPORT_CONGESTION_CONTROL_H_
#define ISTHMUS_COMMON_TRANSPORT_CONGESTION_CONTROL_H_

#include <absl/status/statusor.h>

#include <functional>
#include <string>

namespace isthmus {

// What a flag may say beside the name of one: bbr where the kernel offers it, else the system's.
inline constexpr char kAutoCongestion[] = "auto";
// The system's default.
inline constexpr char kSystemCongestion[] = "system";

// The name of what connections with that choice will have: it is tried on a socket. Empty if the
// kernel does not say. INVALID_ARGUMENT for one that it does not give this process, naming those
// that it has.
absl::StatusOr<std::string> ResolveCongestionControl(const std::string& choice);
// For flags that say such a choice (common/program/flags.h): what is wrong with it.
std::function<std::string(const std::string& text)> CongestionControl();

// Gives the TCP socket `fd` that one, by its name; empty changes nothing. Best effort: a connection
// works with any.
void SetCongestionControl(int fd, const std::string& name);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_CONGESTION_CONTROL_H_
