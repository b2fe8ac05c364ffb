// Finds out why a coordinator does not answer, in the words of who has to mend it: gRPC only knows
// that it "failed to connect".
#ifndef ISTHMUS_CLI_STATUS_PROBE_H_
#define ISTHMUS_CLI_STATUS_PROBE_H_

#include <absl/strings/string_view.h>
#include <absl/time/time.h>

#include <string>

#include "common/base/host_port.h"

namespace isthmus {

// What is at an address, as far as plain TCP shows.
struct ProbeResult {
  bool http2 = false;  // it speaks what gRPC is built on
  std::string words;   // "connection refused: nothing listens there"
};

// Resolves, connects, says what an HTTP/2 client says first, and looks at the answer. Blocks for at
// most about `patience`.
ProbeResult Probe(const HostPort& address, absl::Duration patience);

// What speaks like that, from the first bytes that came; empty: it has closed. Pure.
ProbeResult DescribeGreeting(absl::string_view bytes);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_STATUS_PROBE_H_
