#include "worker/rpc/control_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <set>

#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/transport/convert.h"
#include "common/transport/deadline.h"
#include "common/transport/status.h"
#include "isthmus/v1/control.grpc.pb.h"

namespace isthmus {
namespace {

constexpr absl::Duration kLeaveDeadline = absl::Seconds(1);

void SetIdentity(ControlClient::Self self, v1::Identity* identity) {
  identity->set_group_id(self.group.value());
  identity->set_incarnation(self.incarnation.value());
}

class Client : public ControlClient {
 public:
  Client(std::shared_ptr<grpc::Channel> channel, absl::Duration call_deadline)
      : stub_(v1::Control::NewStub(channel)), call_deadline_(call_deadline) {}

  absl::StatusOr<Registration> Register(GroupId group, uint64_t nonce, const std::string& label,
                                        uint32_t ranks, uint64_t instance,
                                        const std::vector<std::string>& expect) override {
    v1::RegisterRequest request;
    request.mutable_versions()->set_min(kProtocolVersions.min);
    request.mutable_versions()->set_max(kProtocolVersions.max);
    request.set_group_id(group.value());
    request.set_nonce(nonce);
    request.set_label(label);
    request.set_ranks(ranks);
    request.set_instance(instance);
    for (const std::string& item : expect) request.add_expect(item);
    v1::RegisterReply reply;
    ISTHMUS_RETURN_IF_ERROR(Call(&v1::Control::Stub::Register, request, &reply));
    ISTHMUS_ASSIGN_OR_RETURN(RunSpec run, FromProto(reply.run()));
    return Registration{reply.instance(), Incarnation(reply.incarnation()), run};
  }

  absl::Status Ready(Self self, uint64_t change, const Layout& layout) override {
    v1::ReadyRequest request;
    SetIdentity(self, request.mutable_identity());
    request.set_change(change);
    ToProto(layout, request.mutable_layout());
    v1::ReadyReply reply;
    return Call(&v1::Control::Stub::Ready, request, &reply);
  }

  absl::Status NotReady(Self self, uint64_t change, const std::string& reason) override {
    v1::NotReadyRequest request;
    SetIdentity(self, request.mutable_identity());
    request.set_change(change);
    request.set_reason(reason);
    v1::NotReadyReply reply;
    return Call(&v1::Control::Stub::NotReady, request, &reply);
  }

  absl::StatusOr<std::string> Heartbeat(Self self, const WorkerReport& report) override {
    v1::HeartbeatRequest request;
    SetIdentity(self, request.mutable_identity());
    request.set_applied_round(report.applied_round.value());
    request.set_hash_round(report.hash_round.value());
    request.set_state_hash(report.state_hash);
    request.set_step_seconds(report.step_seconds);
    request.set_compute_seconds(report.compute_seconds);
    request.set_link_wait_seconds(report.link_wait_seconds);
    request.set_peer_wait_seconds(report.peer_wait_seconds);
    request.set_communication_ratio(report.communication_ratio);
    request.set_exchange_wait_seconds(report.exchange_wait_seconds);
    request.set_exchange_wait_since(report.exchange_wait_since.value());
    request.set_congestion_control(report.congestion_control);
    request.set_steps(report.steps);
    request.set_samples(report.samples);
    request.set_nonfinite_buckets(report.nonfinite_buckets);
    request.set_nonfinite_losses(report.nonfinite_losses);
    request.set_returned_contributions(report.returned_contributions);
    ToProto(report.down, request.mutable_down());
    request.set_waiting(report.waiting);
    request.set_exchange_seconds(report.exchange_seconds);
    request.set_phase(static_cast<v1::HeartbeatRequest::Phase>(report.phase));
    v1::HeartbeatReply reply;
    ISTHMUS_RETURN_IF_ERROR(Call(&v1::Control::Stub::Heartbeat, request, &reply));
    return reply.waiting();
  }

  absl::Status Leave(Self self, const std::string& reason) override {
    v1::LeaveRequest request;
    SetIdentity(self, request.mutable_identity());
    request.set_reason(reason);
    v1::LeaveReply reply;
    return Run(&v1::Control::Stub::Leave, request, &reply, std::min(call_deadline_, kLeaveDeadline),
               true);
  }

  void Cancel() override {
    MutexLock lock(&mu_);
    cancelled_ = true;
    for (grpc::ClientContext* context : under_way_) context->TryCancel();
  }

 private:
  template <typename Request, typename Reply>
  using Method = grpc::Status (v1::Control::Stub::*)(grpc::ClientContext*, const Request&, Reply*);

  template <typename Request, typename Reply>
  absl::Status Call(Method<Request, Reply> method, const Request& request, Reply* reply) {
    return Run(method, request, reply, call_deadline_, false);
  }

  // `last`: even after Cancel().
  template <typename Request, typename Reply>
  absl::Status Run(Method<Request, Reply> method, const Request& request, Reply* reply,
                   absl::Duration deadline, bool last) {
    grpc::ClientContext context;
    context.set_deadline(DeadlineIn(deadline));
    {
      MutexLock lock(&mu_);
      if (cancelled_ && !last) return absl::CancelledError("this worker stops");
      under_way_.insert(&context);
    }
    const absl::Status status = FromGrpc((stub_.get()->*method)(&context, request, reply));
    MutexLock lock(&mu_);
    under_way_.erase(&context);
    return status;
  }

  const std::unique_ptr<v1::Control::Stub> stub_;
  const absl::Duration call_deadline_;
  Mutex mu_;
  std::set<grpc::ClientContext*> under_way_ ABSL_GUARDED_BY(mu_);
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace

std::unique_ptr<ControlClient> ControlClient::Make(std::shared_ptr<grpc::Channel> channel,
                                                   absl::Duration call_deadline) {
  return std::make_unique<Client>(std::move(channel), call_deadline);
}

}  // namespace isthmus
