// An update on the wire and as a plain value.
#ifndef ISTHMUS_WORKER_RPC_UPDATE_MESSAGE_H_
#define ISTHMUS_WORKER_RPC_UPDATE_MESSAGE_H_

#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/exchange/messages.h"
#include "common/transport/convert.h"
#include "isthmus/v1/types.pb.h"

namespace isthmus {

// Errors: as FromProto() of its header.
inline absl::StatusOr<ReceivedUpdate> ToReceived(v1::Update message) {
  ISTHMUS_ASSIGN_OR_RETURN(UpdateHeader header, FromProto(message));
  ReceivedUpdate update{std::move(header), std::move(*message.mutable_payload()), {}};
  for (v1::EncodedContribution& from : *message.mutable_contributions()) {
    ReceivedUpdate::Contribution& to = update.contributions.emplace_back();
    to.contributor = from.contributor();
    for (std::string& part : *from.mutable_parts()) to.parts.push_back(std::move(part));
  }
  return update;
}

inline void ToMessage(const ReceivedUpdate& update, v1::Update* message) {
  ToProto(update.header, message);
  message->set_payload(update.payload);
  for (const ReceivedUpdate::Contribution& from : update.contributions) {
    v1::EncodedContribution* to = message->add_contributions();
    to->set_contributor(from.contributor);
    for (const std::string& part : from.parts) to->add_parts(part);
  }
}

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_RPC_UPDATE_MESSAGE_H_
