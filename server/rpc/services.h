// The two services of the coordinator. They decode, call the engine, and answer.
#ifndef ISTHMUS_SERVER_RPC_SERVICES_H_
#define ISTHMUS_SERVER_RPC_SERVICES_H_

#include <atomic>
#include <functional>
#include <string>
#include <utility>

#include "common/transport/acceptor.h"
#include "isthmus/v1/control.grpc.pb.h"
#include "isthmus/v1/exchange.grpc.pb.h"
#include "server/engine/engine.h"

namespace isthmus {

// What status says of the server's connections.
struct ConnectionsSeen {
  AcceptorCounts counts;
  std::string congestion_control;  // by its name; empty: not known
};

// Ready() decodes for itself (ready_request.h).
class ControlService
    : public v1::Control::WithRawCallbackMethod_Ready<v1::Control::CallbackService> {
 public:
  // `connections`: of the server; called from any thread, while calls are served.
  ControlService(Engine* engine, std::function<ConnectionsSeen()> connections)
      : engine_(engine), connections_(std::move(connections)) {}
  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context,
                                     const v1::RegisterRequest* request,
                                     v1::RegisterReply* reply) override;
  grpc::ServerUnaryReactor* Ready(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* reply) override;
  grpc::ServerUnaryReactor* NotReady(grpc::CallbackServerContext* context,
                                     const v1::NotReadyRequest* request,
                                     v1::NotReadyReply* reply) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context,
                                      const v1::HeartbeatRequest* request,
                                      v1::HeartbeatReply* reply) override;
  grpc::ServerUnaryReactor* Leave(grpc::CallbackServerContext* context,
                                  const v1::LeaveRequest* request, v1::LeaveReply* reply) override;
  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const v1::GetStatusRequest* request,
                                      v1::GetStatusReply* reply) override;
  grpc::ServerUnaryReactor* FreezePace(grpc::CallbackServerContext* context,
                                       const v1::FreezePaceRequest* request,
                                       v1::FreezePaceReply* reply) override;
  grpc::ServerUnaryReactor* Probe(grpc::CallbackServerContext* context,
                                  const v1::ProbeRequest* request, v1::ProbeReply* reply) override;

 private:
  Engine* const engine_;
  const std::function<ConnectionsSeen()> connections_;
  std::atomic<uint64_t> probe_bytes_ = 0;  // of answers under way
};

class ExchangeService : public v1::Exchange::CallbackService {
 public:
  explicit ExchangeService(Engine* engine) : engine_(engine) {}
  grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* Connect(
      grpc::CallbackServerContext* context) override;

 private:
  Engine* const engine_;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_RPC_SERVICES_H_
