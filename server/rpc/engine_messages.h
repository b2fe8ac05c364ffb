// Between the engine's plain values and the wire's messages.
#ifndef ISTHMUS_SERVER_RPC_ENGINE_MESSAGES_H_
#define ISTHMUS_SERVER_RPC_ENGINE_MESSAGES_H_

#include <string>
#include <vector>

#include "common/run/worker_report.h"
#include "isthmus/v1/control.pb.h"
#include "isthmus/v1/exchange.pb.h"
#include "server/engine/engine.h"

namespace isthmus {

v1::CoordinatorMessage ToMessage(const ToWorker& what);

void ToProto(const StatusView& view, v1::GetStatusReply* out);

WorkerReport FromProto(const v1::HeartbeatRequest& in);

// A worker's message on its way to another: a frame of a snapshot, or what a joiner holds of it.
struct RelayedProto : RelayedMessage {
  explicit RelayedProto(v1::CoordinatorMessage what) : message(std::move(what)) {}
  v1::CoordinatorMessage message;
};

// Updates as isthmus.v1.Update.
class ProtoUpdateEncoder : public UpdateEncoder {
 public:
  std::string Update(const UpdateHeader& header, std::string payload) const override;
  std::string Contribution(uint32_t contributor,
                           const std::vector<StoredPart>& parts) const override;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_RPC_ENGINE_MESSAGES_H_
