#include "server/rpc/coordinator_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/transport/endpoints.h"
#include "common/transport/rpc_server.h"
#include "server/rpc/engine_messages.h"
#include "server/rpc/services.h"

namespace isthmus {
namespace {

// A worker has two, and for a while two more when it comes back before the old ones are given up.
constexpr int kConnectionsPerGroup = 4;
// For status, health checks and those who will be refused; and for what the process itself has
// open: a coordinator has no files, and gRPC some ten descriptors.
constexpr int kOtherDescriptors = 256 + 64;

int MaxDescriptors(const CoordinatorServer::Options& options) {
  constexpr uint32_t kMost = 1 << 20;
  return static_cast<int>(std::min(options.engine.core.max_groups, kMost)) * kConnectionsPerGroup +
         kOtherDescriptors;
}

class Server : public CoordinatorServer {
 public:
  Server(Options options, const Clock& clock)
      : options_(std::move(options)),
        engine_(options_.engine, encoder_, clock),
        control_(&engine_,
                 [this] {
                   return ConnectionsSeen{rpc_->connections(), congestion_control_};
                 }),
        exchange_(&engine_) {}
  ~Server() override { Shutdown(absl::ZeroDuration()); }

  absl::Status Listen() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    ConfigureServer(&builder);
    builder.RegisterService(&control_);
    builder.RegisterService(&exchange_);
    ISTHMUS_ASSIGN_OR_RETURN(congestion_control_,
                             ResolveCongestionControl(options_.congestion_control));
    ISTHMUS_ASSIGN_OR_RETURN(
        rpc_, RpcServer::Start({.listen = options_.listen,
                                .insecure = options_.insecure,
                                .credentials = options_.credentials,
                                .max_descriptors = MaxDescriptors(options_),
                                .connections = {.congestion_control = congestion_control_,
                                                .little_unsent = true}},
                               &builder));
    return absl::OkStatus();
  }

  HostPort address() const override { return rpc_->address(); }
  int port() const override { return rpc_->address().port; }
  Engine& engine() override { return engine_; }

  void Shutdown(absl::Duration grace) override {
    if (rpc_ != nullptr) rpc_->Shutdown(grace);
  }

 private:
  const Options options_;
  const ProtoUpdateEncoder encoder_;
  Engine engine_;
  ControlService control_;
  ExchangeService exchange_;
  std::string congestion_control_;  // by its name
  std::unique_ptr<RpcServer> rpc_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinatorServer>> CoordinatorServer::Start(Options options,
                                                                            const Clock& clock) {
  ISTHMUS_RETURN_IF_ERROR(Validate(options.engine.core.run));
  auto server = std::make_unique<Server>(std::move(options), clock);
  ISTHMUS_RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace isthmus
