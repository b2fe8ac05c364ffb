#include "tests/e2e/raw_coordinator.h"

#include <absl/strings/str_cat.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include "common/transport/convert.h"
#include "common/transport/status.h"

namespace isthmus::e2e {

RawCoordinator::RawCoordinator(const RunSpec& run, std::function<absl::Status(Stream&)> serve)
    : run_(run), serve_(std::move(serve)) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(static_cast<v1::Control::Service*>(this));
  builder.RegisterService(static_cast<v1::Exchange::Service*>(this));
  server_ = builder.BuildAndStart();
}

RawCoordinator::~RawCoordinator() { server_->Shutdown(std::chrono::system_clock::now()); }

std::string RawCoordinator::address() const { return absl::StrCat("127.0.0.1:", port_); }

grpc::Status RawCoordinator::Register(grpc::ServerContext*, const v1::RegisterRequest*,
                                      v1::RegisterReply* reply) {
  ++registrations_;
  reply->set_version(1);
  reply->set_instance(7);
  reply->set_incarnation(1);
  ToProto(run_, reply->mutable_run());
  return grpc::Status::OK;
}

grpc::Status RawCoordinator::Ready(grpc::ServerContext*, const v1::ReadyRequest*, v1::ReadyReply*) {
  ++readies_;
  return grpc::Status::OK;
}

grpc::Status RawCoordinator::NotReady(grpc::ServerContext*, const v1::NotReadyRequest*,
                                      v1::NotReadyReply*) {
  return grpc::Status::OK;
}

grpc::Status RawCoordinator::Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest*,
                                       v1::HeartbeatReply*) {
  return grpc::Status::OK;
}

grpc::Status RawCoordinator::Leave(grpc::ServerContext*, const v1::LeaveRequest*, v1::LeaveReply*) {
  return grpc::Status::OK;
}

grpc::Status RawCoordinator::Connect(grpc::ServerContext*, Stream* stream) {
  ++streams_;
  return ToGrpc(serve_(*stream));
}

}  // namespace isthmus::e2e
