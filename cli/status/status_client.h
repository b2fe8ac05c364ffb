// Asks a coordinator how the run is going. gRPC stays in the .cc.
#ifndef ISTHMUS_CLI_STATUS_STATUS_CLIENT_H_
#define ISTHMUS_CLI_STATUS_STATUS_CLIENT_H_

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <memory>
#include <string>

namespace isthmus {

namespace v1 {
class GetStatusReply;
}

// Thread-compatible. Keeps one connection, which reconnects by itself.
class StatusClient {
 public:
  explicit StatusClient(std::string address);
  ~StatusClient();

  // Blocks for at most `timeout`, waiting for a coordinator to come up as well.
  // UNAVAILABLE, naming the address, if none answered in time.
  absl::StatusOr<v1::GetStatusReply> Get(absl::Duration timeout);

 private:
  struct Impl;
  const std::string address_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_STATUS_STATUS_CLIENT_H_
