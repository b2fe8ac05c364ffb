// A ReadyRequest as it came from the network. Protobuf would make an object of every entry of its
// layout, and two bytes may be one: millions, before anybody could refuse them.
#ifndef ISTHMUS_SERVER_RPC_READY_REQUEST_H_
#define ISTHMUS_SERVER_RPC_READY_REQUEST_H_

#include <absl/status/statusor.h>
#include <grpcpp/support/byte_buffer.h>

#include "isthmus/v1/control.pb.h"

namespace isthmus {

// Counts the layout's entries first, which takes no memory. Errors: INVALID_ARGUMENT for more than
// a layout may have, or for what is no ReadyRequest.
absl::StatusOr<v1::ReadyRequest> DecodeReady(const grpc::ByteBuffer& bytes);

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_RPC_READY_REQUEST_H_
