// Asks a coordinator how the run is going. gRPC stays in the .cc.
#ifndef ISTHMUS_CLI_STATUS_STATUS_CLIENT_H_
#define ISTHMUS_CLI_STATUS_STATUS_CLIENT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <functional>
#include <memory>
#include <string>

#include "common/transport/credentials.h"

namespace isthmus {

namespace v1 {
class GetStatusReply;
}

// Thread-compatible. Keeps one connection, which reconnects by itself.
class StatusClient {
 public:
  // `address`: HOST:PORT, as ParseDialAddress takes it.
  StatusClient(std::string address, const Credentials& credentials);
  ~StatusClient();

  // Blocks for at most `timeout`, and not at all for somebody who cannot be connected to now. The
  // errors are gRPC's, or the coordinator's; CANCELLED soon after `stop`, asked now and then by the
  // calling thread, has said so.
  absl::StatusOr<v1::GetStatusReply> Get(
      absl::Duration timeout, const std::function<bool()>& stop = [] { return false; });

  // Has the pace keep the settings that rounds have, or go on; the same otherwise. Errors:
  // FAILED_PRECONDITION for a run that is not paced.
  absl::Status FreezePace(
      bool frozen, absl::Duration timeout,
      const std::function<bool()>& stop = [] { return false; });

  // Why Get() or FreezePace() has failed, found out anew with a connection of its own: UNAVAILABLE,
  // naming the address, in words for people. Blocks for about a second at most, name service aside.
  absl::Status Explain(const absl::Status& failure) const;

 private:
  struct Impl;
  const std::string address_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_STATUS_STATUS_CLIENT_H_
