// A hook of gRPC's that sees each socket of a channel before it connects.
#ifndef ISTHMUS_COMMON_TRANSPORT_SOCKET_MUTATOR_H_
#define ISTHMUS_COMMON_TRANSPORT_SOCKET_MUTATOR_H_

#include "common/transport/connection_socket.h"

namespace grpc {
class ChannelArguments;
}  // namespace grpc

namespace isthmus {

// Whether this gRPC has the hook as we know it.
bool CanConfigureConnections();

// ConfigureConnection() for each connection of a channel with these arguments. Nothing happens
// where it cannot be.
void ConfigureConnections(const ConnectionOptions& options, grpc::ChannelArguments* args);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_SOCKET_MUTATOR_H_
