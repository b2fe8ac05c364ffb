#include "cli/probe/path_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <utility>

#include "common/base/clock.h"
#include "common/transport/connection_socket.h"
#include "common/transport/deadline.h"
#include "common/transport/endpoints.h"
#include "common/transport/status.h"
#include "common/transport/unless_stopped.h"
#include "isthmus/v1/control.grpc.pb.h"

namespace isthmus {
namespace {

constexpr absl::Duration kTimeout = absl::Minutes(1);

}  // namespace

struct PathClient::Impl {
  std::unique_ptr<v1::Control::Stub> stub;
};

PathClient::PathClient(const std::string& address, const Credentials& credentials)
    : congestion_control_(ResolveCongestionControl(kAutoCongestion).value_or(std::string())),
      impl_(std::make_unique<Impl>()) {
  impl_->stub = v1::Control::NewStub(
      MakeChannel(address, credentials, kMaxMessageBytes,
                  {.congestion_control = congestion_control_, .little_unsent = true}));
}

PathClient::~PathClient() = default;

absl::StatusOr<absl::Duration> PathClient::Call(const ProbeSize& size,
                                                const std::function<bool()>& stop) {
  v1::ProbeRequest request;
  request.set_padding(std::string(size.up, '\0'));
  request.set_reply_bytes(static_cast<uint32_t>(size.down));
  v1::ProbeReply reply;
  grpc::ClientContext context;
  context.set_deadline(DeadlineIn(kTimeout));
  const absl::Time begin = Clock::Real().Now();
  const auto [status, at] = CallUnlessStopped(context, stop, [&](auto ended) {
    impl_->stub->async()->Probe(&context, &request, &reply, std::move(ended));
  });
  if (!status.ok()) return FromGrpc(status);
  return at - begin;
}

}  // namespace isthmus
