// A hook of gRPC's that sees each socket of a channel before it connects.
#ifndef ISTHMUS_COMMON_TRANSPORT_SOCKET_MUTATOR_H_
#define ISTHMUS_COMMON_TRANSPORT_SOCKET_MUTATOR_H_

#include <string>

namespace grpc {
class ChannelArguments;
}  // namespace grpc

namespace isthmus {

// Connections of a channel with these arguments have that congestion control, by its name
// (congestion_control.h); empty: the system's. Nothing happens with a gRPC that does not have the
// hook as we know it.
void SetChannelCongestionControl(const std::string& name, grpc::ChannelArguments* args);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_SOCKET_MUTATOR_H_
