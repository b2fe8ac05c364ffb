#include "cli/status/status_client.h"

#include <absl/strings/str_cat.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <utility>

#include "isthmus/v1/control.grpc.pb.h"

namespace isthmus {

struct StatusClient::Impl {
  std::unique_ptr<v1::Control::Stub> stub;
};

StatusClient::StatusClient(std::string address)
    : address_(std::move(address)), impl_(std::make_unique<Impl>()) {
  grpc::ChannelArguments arguments;
  // A proxy of the environment is for the web, not for a coordinator.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  impl_->stub = v1::Control::NewStub(
      grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments));
}

StatusClient::~StatusClient() = default;

absl::StatusOr<v1::GetStatusReply> StatusClient::Get(absl::Duration timeout) {
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
  v1::GetStatusReply reply;
  const grpc::Status status = impl_->stub->GetStatus(&context, v1::GetStatusRequest(), &reply);
  if (status.ok()) return reply;
  return absl::UnavailableError(absl::StrCat("no coordinator answers at ", address_, " within ",
                                             absl::FormatDuration(timeout), " (",
                                             status.error_message(), ")"));
}

}  // namespace isthmus
