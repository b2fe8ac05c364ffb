#include "cli/status/status_client.h"

#include <absl/strings/str_cat.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <utility>

#include "cli/status/probe.h"
#include "common/base/host_port.h"
#include "common/base/printable.h"
#include "common/transport/deadline.h"
#include "common/transport/endpoints.h"
#include "common/transport/status.h"
#include "common/transport/unless_stopped.h"
#include "isthmus/v1/control.grpc.pb.h"

namespace isthmus {
namespace {

constexpr absl::Duration kProbePatience = absl::Milliseconds(800);

// Said by gRPC itself, because of the connection, rather than by who is at its other end.
bool IsAboutTheConnection(const absl::Status& failure) {
  return absl::IsUnavailable(failure) || absl::IsDeadlineExceeded(failure);
}

}  // namespace

struct StatusClient::Impl {
  std::unique_ptr<v1::Control::Stub> stub;
};

StatusClient::StatusClient(std::string address, const Credentials& credentials)
    : address_(std::move(address)), impl_(std::make_unique<Impl>()) {
  impl_->stub = v1::Control::NewStub(MakeChannel(address_, credentials));
}

StatusClient::~StatusClient() = default;

absl::StatusOr<v1::GetStatusReply> StatusClient::Get(absl::Duration timeout,
                                                     const std::function<bool()>& stop) {
  grpc::ClientContext context;
  context.set_deadline(DeadlineIn(timeout));
  const v1::GetStatusRequest request;
  v1::GetStatusReply reply;
  const auto [status, at] = CallUnlessStopped(context, stop, [&](auto ended) {
    impl_->stub->async()->GetStatus(&context, &request, &reply, std::move(ended));
  });
  if (status.ok()) return reply;
  return FromGrpc(status);
}

absl::Status StatusClient::FreezePace(bool frozen, absl::Duration timeout,
                                      const std::function<bool()>& stop) {
  grpc::ClientContext context;
  context.set_deadline(DeadlineIn(timeout));
  v1::FreezePaceRequest request;
  request.set_frozen(frozen);
  v1::FreezePaceReply reply;
  const auto [status, at] = CallUnlessStopped(context, stop, [&](auto ended) {
    impl_->stub->async()->FreezePace(&context, &request, &reply, std::move(ended));
  });
  return FromGrpc(status);
}

absl::Status StatusClient::Explain(const absl::Status& failure) const {
  const auto explain = [&](absl::string_view why) {
    return absl::UnavailableError(absl::StrCat("no coordinator answers at ", address_, ": ", why));
  };
  const absl::StatusOr<HostPort> address = ParseDialAddress(address_);
  if (!address.ok()) return explain(address.status().message());
  if (!IsAboutTheConnection(failure)) {
    return explain(absl::StrCat("it speaks gRPC, but not as a coordinator of this version does (",
                                Printable(failure.message()), ")"));
  }
  const ProbeResult found = Probe(*address, kProbePatience);
  if (!found.http2) return explain(found.words);
  // Somebody is there: what gRPC says tells more.
  return explain(absl::StrCat(found.words, " (", Printable(failure.message()), ")"));
}

}  // namespace isthmus
