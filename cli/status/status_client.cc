#include "cli/status/status_client.h"

#include <absl/strings/str_cat.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <future>
#include <utility>

#include "cli/status/probe.h"
#include "common/base/host_port.h"
#include "common/base/printable.h"
#include "common/transport/deadline.h"
#include "common/transport/endpoints.h"
#include "common/transport/status.h"
#include "isthmus/v1/control.grpc.pb.h"

namespace isthmus {
namespace {

// How long a signal to end may have to wait.
constexpr absl::Duration kStopInterval = absl::Milliseconds(50);
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
  // Shared: we may be gone before set_value() is through.
  const auto promise = std::make_shared<std::promise<grpc::Status>>();
  std::future<grpc::Status> answer = promise->get_future();
  impl_->stub->async()->GetStatus(&context, &request, &reply, [promise](grpc::Status status) {
    promise->set_value(std::move(status));
  });
  while (answer.wait_for(absl::ToChronoMilliseconds(kStopInterval)) != std::future_status::ready) {
    // The answer comes all the same, and says CANCELLED: what it writes to lives here.
    if (stop()) context.TryCancel();
  }
  const grpc::Status status = answer.get();
  if (status.ok()) return reply;
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
