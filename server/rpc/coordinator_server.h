// A whole coordinator: engine, services, health and reflection, on one port.
#ifndef ISTHMUS_SERVER_RPC_COORDINATOR_SERVER_H_
#define ISTHMUS_SERVER_RPC_COORDINATOR_SERVER_H_

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <memory>
#include <string>

#include "common/base/host_port.h"
#include "common/transport/connection_socket.h"
#include "common/transport/credentials.h"
#include "server/engine/engine.h"

namespace isthmus {

// Thread-safe.
class CoordinatorServer {
 public:
  struct Options {
    std::string listen = "127.0.0.1:0";  // port 0: any free one
    bool insecure = false;               // allow addresses other than loopback
    Credentials credentials = Credentials::Insecure();
    // Of connections: auto, system or a name (common/transport/connection_socket.h).
    std::string congestion_control = kAutoCongestion;
    Engine::Options engine;
  };
  // Listens and serves. Errors: INVALID_ARGUMENT for the run spec or the congestion control; those
  // of RpcServer::Start.
  static absl::StatusOr<std::unique_ptr<CoordinatorServer>> Start(Options options,
                                                                  const Clock& clock);
  virtual ~CoordinatorServer() = default;  // as Shutdown(0)

  // As bound.
  virtual HostPort address() const = 0;
  virtual int port() const = 0;
  virtual Engine& engine() = 0;
  // Says NOT_SERVING, takes no new calls, ends the streams after `grace`. Blocks until done.
  virtual void Shutdown(absl::Duration grace) = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_RPC_COORDINATOR_SERVER_H_
