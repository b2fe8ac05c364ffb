// A gRPC server on one address, its connections taken in by our own listener (acceptor.h).
#ifndef ISTHMUS_COMMON_TRANSPORT_RPC_SERVER_H_
#define ISTHMUS_COMMON_TRANSPORT_RPC_SERVER_H_

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <memory>
#include <string>

#include "common/base/host_port.h"
#include "common/transport/acceptor.h"
#include "common/transport/credentials.h"

namespace grpc {
class ServerBuilder;
}  // namespace grpc

namespace isthmus {

// Thread-safe but for Shutdown and destruction.
class RpcServer {
 public:
  struct Options {
    std::string listen;     // HOST:PORT; port 0: any free one
    bool insecure = false;  // any address, although strangers are not kept out (P27)
    Credentials credentials = Credentials::Insecure();
    // Connections have descriptors below this number, so that they are fewer; and below what the
    // process may have, less some for everything else. Whoever comes beyond is turned away at once,
    // and others go on. A process that opens much besides leaves it alone.
    int max_descriptors = 1 << 16;
    ConnectionOptions connections;
  };
  // Serves what `builder` has got: services, settings (ConfigureServer), but no address. Errors:
  // those of CheckListenAddress and of Acceptor::Open; UNAVAILABLE if gRPC will not start.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const Options& options,
                                                          grpc::ServerBuilder* builder);
  virtual ~RpcServer() = default;  // as Shutdown(0)

  // As bound, port and all.
  virtual HostPort address() const = 0;
  virtual AcceptorCounts connections() const = 0;
  // Says NOT_SERVING if there is a health service, takes nothing new, ends calls after `grace`.
  // Blocks until the last has ended. Twice is once.
  virtual void Shutdown(absl::Duration grace) = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_RPC_SERVER_H_
