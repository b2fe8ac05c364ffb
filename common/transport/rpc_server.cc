#include "common/transport/rpc_server.h"

#include <absl/strings/str_cat.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <utility>

#include "common/base/process_limits.h"
#include "common/base/status_macros.h"
#include "common/transport/deadline.h"
#include "common/transport/endpoints.h"

namespace isthmus {
namespace {

using External = grpc::experimental::ExternalConnectionAcceptor;

// Kept from connections: what gRPC opens as it goes (epoll sets, wake-ups), jobs' sockets of a
// worker, files.
constexpr int kReservedDescriptors = 16;
class Server : public RpcServer {
 public:
  Server(std::unique_ptr<Acceptor> acceptor, std::unique_ptr<External> external)
      : external_(std::move(external)), acceptor_(std::move(acceptor)) {}
  ~Server() override { Shutdown(absl::ZeroDuration()); }

  absl::Status Serve(grpc::ServerBuilder* builder) {
    server_ = builder->BuildAndStart();
    if (server_ == nullptr) {
      return absl::UnavailableError(
          absl::StrCat("cannot serve on ", ToString(acceptor_->address())));
    }
    // Not before: gRPC would drop what it gets earlier, and keep its descriptor.
    return acceptor_->Run([this](int fd, int listener) {
      External::NewConnectionParameters connection;
      connection.listener_fd = listener;
      connection.fd = fd;
      external_->HandleNewConnection(&connection);
    });
  }

  HostPort address() const override { return address_; }
  AcceptorCounts connections() const override { return acceptor_->counts(); }

  void Shutdown(absl::Duration grace) override {
    if (server_ == nullptr) return;
    if (auto* health = server_->GetHealthCheckService()) health->SetServingStatus(false);
    acceptor_->Stop();  // for the same reason: gRPC must not get any once it ends
    server_->Shutdown(DeadlineIn(grace));
    server_->Wait();
    server_.reset();
  }

 private:
  const std::unique_ptr<External> external_;
  const std::unique_ptr<Acceptor> acceptor_;
  const HostPort address_ = acceptor_->address();
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const Options& options,
                                                            grpc::ServerBuilder* builder) {
  ISTHMUS_RETURN_IF_ERROR(
      CheckListenAddress(options.listen, options.insecure || options.credentials.authenticates()));
  ISTHMUS_ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(options.listen));
  ISTHMUS_ASSIGN_OR_RETURN(
      std::unique_ptr<Acceptor> acceptor,
      Acceptor::Open({.address = address,
                      .descriptor_bound = std::min(DescriptorLimit() - kReservedDescriptors,
                                                   options.max_descriptors),
                      .user_timeout_ms = kKeepaliveTimeoutMs,
                      .connections = options.connections}));
  using Experimental = grpc::ServerBuilder::experimental_type;
  auto external = builder->experimental().AddExternalConnectionAcceptor(
      Experimental::ExternalConnectionType::FROM_FD, options.credentials.server());
  auto server = std::make_unique<Server>(std::move(acceptor), std::move(external));
  ISTHMUS_RETURN_IF_ERROR(server->Serve(builder));
  return server;
}

}  // namespace isthmus
