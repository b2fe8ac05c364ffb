#include "cli/probe/path_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <future>
#include <utility>

#include "common/base/clock.h"
#include "common/transport/connection_socket.h"
#include "common/transport/deadline.h"
#include "common/transport/endpoints.h"
#include "common/transport/status.h"
#include "isthmus/v1/control.grpc.pb.h"

namespace isthmus {
namespace {

constexpr absl::Duration kTimeout = absl::Minutes(1);
// How long a signal to end may have to wait.
constexpr absl::Duration kStopInterval = absl::Milliseconds(50);

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
  if (stop()) return absl::CancelledError("stopped");
  v1::ProbeRequest request;
  request.set_padding(std::string(size.up, '\0'));
  request.set_reply_bytes(static_cast<uint32_t>(size.down));
  v1::ProbeReply reply;
  grpc::ClientContext context;
  context.set_deadline(DeadlineIn(kTimeout));
  struct Answer {
    grpc::Status status;
    absl::Time at;
  };
  // Shared: we may be gone before set_value() is through.
  const auto promise = std::make_shared<std::promise<Answer>>();
  std::future<Answer> answered = promise->get_future();
  const absl::Time begin = Clock::Real().Now();
  impl_->stub->async()->Probe(&context, &request, &reply, [promise](grpc::Status status) {
    promise->set_value({std::move(status), Clock::Real().Now()});
  });
  while (answered.wait_for(absl::ToChronoMilliseconds(kStopInterval)) !=
         std::future_status::ready) {
    // The answer comes all the same, and says CANCELLED: what it writes to lives here.
    if (stop()) context.TryCancel();
  }
  const Answer answer = answered.get();
  if (!answer.status.ok()) return FromGrpc(answer.status);
  return answer.at - begin;
}

}  // namespace isthmus
