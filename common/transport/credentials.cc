#include "common/transport/credentials.h"

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <utility>

namespace isthmus {

Credentials::Credentials(std::shared_ptr<grpc::ChannelCredentials> channel,
                         std::shared_ptr<grpc::ServerCredentials> server, bool authenticates)
    : channel_(std::move(channel)), server_(std::move(server)), authenticates_(authenticates) {}

Credentials Credentials::Insecure() {
  return {grpc::InsecureChannelCredentials(), grpc::InsecureServerCredentials(), false};
}

}  // namespace isthmus
