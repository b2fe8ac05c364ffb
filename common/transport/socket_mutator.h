// A hook of gRPC's that sees each socket of a channel before it connects.
#ifndef ISTHMUS_COMMON_TRANSPORT_SOCKET_MUTATOR_H_
#define ISTHMUS_COMMON_TRANSPORT_SOCKET_MUTATOR_H_

#include "common/transport/connection_socket.h"

namespace grpc {
class ChannelArguments;
}  // namespace grpc

namespace isthmus {

// ConfigureConnection() for each connection of a channel with these arguments. Nothing happens with
// a gRPC that does not have the hook as we know it.
void ConfigureConnections(const ConnectionOptions& options, grpc::ChannelArguments* args);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_SOCKET_MUTATOR_H_
