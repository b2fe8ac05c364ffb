// One call of a probe after the other to a coordinator. gRPC stays in the .cc.
#ifndef ISTHMUS_CLI_PROBE_PATH_CLIENT_H_
#define ISTHMUS_CLI_PROBE_PATH_CLIENT_H_

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <functional>
#include <memory>
#include <string>

#include "cli/probe/path.h"
#include "common/transport/credentials.h"

namespace isthmus {

// Thread-compatible. One connection, set up as a worker's stream is.
class PathClient {
 public:
  PathClient(const std::string& address, const Credentials& credentials);
  ~PathClient();

  // How long such a call takes. Blocks for as long, a minute at most. Errors: gRPC's or the
  // coordinator's; CANCELLED soon after `stop`, asked now and then by the calling thread, has said
  // so.
  absl::StatusOr<absl::Duration> Call(const ProbeSize& size, const std::function<bool()>& stop);

  // Of its connection, by its name; empty: not known.
  const std::string& congestion_control() const { return congestion_control_; }

 private:
  struct Impl;
  const std::string congestion_control_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_PROBE_PATH_CLIENT_H_
