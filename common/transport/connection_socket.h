// How the kernel treats the socket of a connection. Two things decide how much of a far link is
// used (docs/links.md, "Real TCP"):
//
// - the congestion control: one that waits for losses (cubic) begins from a small window again
// after
//   each pause for computing, one that keeps a model of the path (bbr) does not;
// - how much waits in the kernel unsent. What is short, an acknowledgement above all, goes before
//   frames (common/exchange/pump.h), but not before what the kernel has taken: a round's whole
//   contribution, without a bound. The peer, whose window waits for it, would stand still.
#ifndef ISTHMUS_COMMON_TRANSPORT_CONNECTION_SOCKET_H_
#define ISTHMUS_COMMON_TRANSPORT_CONNECTION_SOCKET_H_

#include <absl/status/statusor.h>

#include <cstdint>
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

struct ConnectionOptions {
  std::string congestion_control;     // by its name; empty: the system's
  uint64_t max_bytes_per_second = 0;  // that are sent, headers included; 0: as the link allows
  // The kernel takes little that it cannot send yet; a network within a site may want more.
  bool little_unsent = false;
};

// Makes the TCP socket `fd` a connection's. Best effort: a connection works without.
void ConfigureConnection(int fd, const ConnectionOptions& options);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_CONNECTION_SOCKET_H_
