// absl::Status <-> grpc::Status: the same codes, the same words.
#ifndef ISTHMUS_COMMON_TRANSPORT_STATUS_H_
#define ISTHMUS_COMMON_TRANSPORT_STATUS_H_

#include <absl/status/status.h>
#include <grpcpp/support/status.h>

namespace isthmus {

grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_STATUS_H_
