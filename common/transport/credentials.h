// How the two ends of a connection prove who they are: the one place that makes gRPC's credentials.
//
// Today nobody proves anything. Mutual TLS becomes another Create here, of an identity's files;
// what asks for channels, servers and addresses already goes by the object it is given.
#ifndef ISTHMUS_COMMON_TRANSPORT_CREDENTIALS_H_
#define ISTHMUS_COMMON_TRANSPORT_CREDENTIALS_H_

#include <memory>

namespace grpc {
class ChannelCredentials;
class ServerCredentials;
}  // namespace grpc

namespace isthmus {

// A value, cheap to copy; thread-safe. Both sides come from one object, since a process has one
// identity: a worker that leads a site shows its followers the same one as the coordinator.
class Credentials {
 public:
  // Plain TCP: either end is whoever answers.
  static Credentials Insecure();

  std::shared_ptr<grpc::ChannelCredentials> channel() const { return channel_; }
  std::shared_ptr<grpc::ServerCredentials> server() const { return server_; }
  // Whether a stranger is kept out. If not, listening beyond loopback needs --insecure (P27).
  bool authenticates() const { return authenticates_; }

 private:
  Credentials(std::shared_ptr<grpc::ChannelCredentials> channel,
              std::shared_ptr<grpc::ServerCredentials> server, bool authenticates);

  std::shared_ptr<grpc::ChannelCredentials> channel_;
  std::shared_ptr<grpc::ServerCredentials> server_;
  bool authenticates_ = false;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_CREDENTIALS_H_
