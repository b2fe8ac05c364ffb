#include "server/rpc/services.h"

#include <absl/strings/str_cat.h>

#include <string>
#include <utility>

#include "common/transport/convert.h"
#include "common/transport/status.h"
#include "server/rpc/engine_messages.h"
#include "server/rpc/exchange_stream.h"
#include "server/rpc/ready_request.h"

namespace isthmus {
namespace {

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

Member MemberOf(const v1::Identity& identity) {
  return {GroupId(identity.group_id()), Incarnation(identity.incarnation())};
}

// Probes are of nobody who is known: an answer is so large at most, and all that are under way so
// large together.
constexpr uint32_t kMostProbeBytes = 4 << 20;
constexpr uint64_t kMostOfAllProbes = 4 * kMostProbeBytes;

// Ends a call, and counts its bytes out of `under_way` once it is over: a little later than its
// caller has them, who may have asked again by then.
class ProbeReactor : public grpc::ServerUnaryReactor {
 public:
  ProbeReactor(const absl::Status& status, uint64_t bytes, std::atomic<uint64_t>* under_way)
      : bytes_(bytes), under_way_(under_way) {
    Finish(ToGrpc(status));
  }
  void OnDone() override {
    *under_way_ -= bytes_;
    delete this;
  }

 private:
  const uint64_t bytes_;
  std::atomic<uint64_t>* const under_way_;
};

}  // namespace

grpc::ServerUnaryReactor* ControlService::Register(grpc::CallbackServerContext* context,
                                                   const v1::RegisterRequest* request,
                                                   v1::RegisterReply* reply) {
  Coordinator::RegisterArgs args;
  args.versions = {request->versions().min(), request->versions().max()};
  args.group = GroupId(request->group_id());
  args.nonce = request->nonce();
  args.label = request->label();
  args.ranks = request->ranks();
  args.instance = request->instance();
  args.expect.assign(request->expect().begin(), request->expect().end());
  const auto registered = engine_->Register(args);
  if (!registered.ok()) return Answer(context, registered.status());
  reply->set_version(registered->version);
  reply->set_instance(engine_->config().instance);
  reply->set_incarnation(registered->incarnation.value());
  reply->set_epoch(registered->epoch.value());
  ToProto(engine_->config().run, reply->mutable_run());
  return Answer(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ControlService::Ready(grpc::CallbackServerContext* context,
                                                const grpc::ByteBuffer* bytes,
                                                grpc::ByteBuffer* reply) {
  const auto request = DecodeReady(*bytes);
  if (!request.ok()) return Answer(context, request.status());
  const auto layout = FromProto(request->layout());
  if (!layout.ok()) return Answer(context, layout.status());
  const grpc::Slice empty;  // as ReadyReply is
  *reply = grpc::ByteBuffer(&empty, 1);
  return Answer(context, engine_->Ready(MemberOf(request->identity()), request->change(), *layout));
}

grpc::ServerUnaryReactor* ControlService::NotReady(grpc::CallbackServerContext* context,
                                                   const v1::NotReadyRequest* request,
                                                   v1::NotReadyReply*) {
  return Answer(context, engine_->NotReady(MemberOf(request->identity()), request->change(),
                                           request->reason().substr(0, 512)));
}

grpc::ServerUnaryReactor* ControlService::Heartbeat(grpc::CallbackServerContext* context,
                                                    const v1::HeartbeatRequest* request,
                                                    v1::HeartbeatReply* reply) {
  const auto answer = engine_->Heartbeat(MemberOf(request->identity()), FromProto(*request));
  if (!answer.ok()) return Answer(context, answer.status());
  reply->set_epoch(answer->epoch.value());
  reply->set_running(answer->running);
  reply->set_waiting(answer->waiting);
  return Answer(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ControlService::Leave(grpc::CallbackServerContext* context,
                                                const v1::LeaveRequest* request, v1::LeaveReply*) {
  return Answer(context,
                engine_->Leave(MemberOf(request->identity()), request->reason().substr(0, 512)));
}

grpc::ServerUnaryReactor* ControlService::GetStatus(grpc::CallbackServerContext* context,
                                                    const v1::GetStatusRequest*,
                                                    v1::GetStatusReply* reply) {
  ToProto(engine_->Status(), reply);
  const auto [counts, congestion_control] = connections_();
  v1::ConnectionStatus* connections = reply->mutable_connections();
  connections->set_taken(counts.taken);
  connections->set_turned_away(counts.turned_away);
  connections->set_listener_reopened(counts.reopened);
  connections->set_congestion_control(congestion_control);
  return Answer(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ControlService::FreezePace(grpc::CallbackServerContext* context,
                                                     const v1::FreezePaceRequest* request,
                                                     v1::FreezePaceReply*) {
  return Answer(context, engine_->FreezePace(request->frozen()));
}

grpc::ServerUnaryReactor* ControlService::Probe(grpc::CallbackServerContext*,
                                                const v1::ProbeRequest* request,
                                                v1::ProbeReply* reply) {
  const uint32_t bytes = request->reply_bytes();
  if (bytes > kMostProbeBytes) {
    const absl::Status status = absl::InvalidArgumentError(
        absl::StrCat("reply_bytes: expected at most ", kMostProbeBytes, ", got ", bytes));
    return new ProbeReactor(status, 0, &probe_bytes_);
  }
  if ((probe_bytes_ += bytes) > kMostOfAllProbes) {
    probe_bytes_ -= bytes;
    const absl::Status status = absl::ResourceExhaustedError(absl::StrCat(
        "answers of ", kMostOfAllProbes, " bytes to probes are under way, as many as may be"));
    return new ProbeReactor(status, 0, &probe_bytes_);
  }
  reply->set_padding(std::string(bytes, '\0'));
  return new ProbeReactor(absl::OkStatus(), bytes, &probe_bytes_);
}

grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* ExchangeService::Connect(
    grpc::CallbackServerContext*) {
  return ExchangeStream::Start(engine_);
}

}  // namespace isthmus
