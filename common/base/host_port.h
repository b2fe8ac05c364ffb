// Network addresses as people write them. Pure: nothing is resolved.
#ifndef ISTHMUS_COMMON_BASE_HOST_PORT_H_
#define ISTHMUS_COMMON_BASE_HOST_PORT_H_

#include <absl/status/statusor.h>
#include <absl/strings/string_view.h>

#include <string>

namespace isthmus {

struct HostPort {
  std::string host;  // a name or an address; IPv6 without its brackets
  int port = 0;      // 0 to 65535
};

// "127.0.0.1:29750", "host.example:80" or "[::1]:29750" apart. INVALID_ARGUMENT, saying what was
// expected, for everything else: no port, no host, a port above 65535, a URL, IPv6 without
// brackets.
absl::StatusOr<HostPort> ParseHostPort(absl::string_view text);

// The same for who is to be connected to: port 0 is nobody's.
absl::StatusOr<HostPort> ParseDialAddress(absl::string_view text);

// Written so that ParseHostPort gives the same again.
std::string ToString(const HostPort& address);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_BASE_HOST_PORT_H_
