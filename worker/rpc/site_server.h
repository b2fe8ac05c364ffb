// Where the daemons of a site that follow reach the one that leads: streams in, streams out. Who
// may join, and what messages mean, is worker/site's.
#ifndef ISTHMUS_WORKER_RPC_SITE_SERVER_H_
#define ISTHMUS_WORKER_RPC_SITE_SERVER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/transport/credentials.h"
#include "isthmus/v1/site.pb.h"

namespace isthmus {

// One follower's stream. Thread-safe; does nothing once it has ended.
class FollowerStream {
 public:
  virtual ~FollowerStream() = default;
  // Returns at once; in order.
  virtual void Send(std::function<void(v1::LeaderMessage*)> fill) = 0;
};

// Called by a thread per stream, one call of a stream at a time. An error ends the stream with it.
class SiteServerEvents {
 public:
  virtual ~SiteServerEvents() = default;
  // The first message. `stream` may be kept.
  virtual absl::Status OnJoin(std::shared_ptr<FollowerStream> stream, const v1::Join& join) = 0;
  // After OnJoin returned OK.
  virtual absl::Status OnMessage(uint32_t machine, v1::FollowerMessage& message) = 0;
  // The last call for `machine`, after OnJoin returned OK. `reason` is never OK.
  virtual void OnGone(uint32_t machine, const absl::Status& reason) = 0;
};

class SiteServer {
 public:
  struct Options {
    std::string listen;  // HOST:PORT; port 0: any
    bool insecure = false;
    Credentials credentials = Credentials::Insecure();
    uint32_t max_streams = 1;  // of followers; a few more are answered that they are not wanted
  };
  // `events` outlives it. Errors: those of RpcServer::Start.
  static absl::StatusOr<std::unique_ptr<SiteServer>> Start(Options options,
                                                           SiteServerEvents* events);
  virtual ~SiteServer() = default;  // shuts down
  virtual int port() const = 0;
  // Takes no more streams, gives those that are there a second to end by themselves, ends them, and
  // blocks until the last event.
  virtual void Shutdown() = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_RPC_SITE_SERVER_H_
