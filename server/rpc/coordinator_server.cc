#include "server/rpc/coordinator_server.h"

#include <absl/strings/str_cat.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "common/base/status_macros.h"
#include "common/transport/endpoints.h"
#include "server/rpc/services.h"

namespace isthmus {
namespace {

class Server : public CoordinatorServer {
 public:
  Server(Options options, const Clock& clock)
      : engine_(options.engine, clock), control_(&engine_), exchange_(&engine_) {}
  ~Server() override { Shutdown(absl::ZeroDuration()); }

  absl::Status Listen(const std::string& address) {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    ConfigureServer(&builder);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&control_);
    builder.RegisterService(&exchange_);
    server_ = builder.BuildAndStart();
    if (server_ != nullptr && port_ != 0) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("cannot listen on ", address));
  }

  int port() const override { return port_; }
  Engine& engine() override { return engine_; }

  void Shutdown(absl::Duration grace) override {
    if (server_ == nullptr) return;
    if (auto* health = server_->GetHealthCheckService()) health->SetServingStatus(false);
    server_->Shutdown(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(grace));
    server_->Wait();
    server_.reset();
  }

 private:
  Engine engine_;
  ControlService control_;
  ExchangeService exchange_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinatorServer>> CoordinatorServer::Start(Options options,
                                                                            const Clock& clock) {
  ISTHMUS_RETURN_IF_ERROR(Validate(options.engine.core.run));
  ISTHMUS_RETURN_IF_ERROR(CheckListenAddress(options.listen, options.insecure));
  auto server = std::make_unique<Server>(options, clock);
  ISTHMUS_RETURN_IF_ERROR(server->Listen(options.listen));
  return server;
}

}  // namespace isthmus
