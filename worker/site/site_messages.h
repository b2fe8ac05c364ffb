// Job events and answers on the wire between daemons of one site, and as worker/jobs has them.
#ifndef ISTHMUS_WORKER_SITE_SITE_MESSAGES_H_
#define ISTHMUS_WORKER_SITE_SITE_MESSAGES_H_

#include <absl/status/status.h>

#include <string>
#include <vector>

#include "common/transport/convert.h"
#include "isthmus/v1/site.pb.h"
#include "worker/jobs/job_server.h"

namespace isthmus {

inline void ToMessage(const std::vector<RankStep>& steps, v1::JobStepped* message) {
  for (const RankStep& step : steps) {
    v1::JobStepped::Rank* rank = message->add_ranks();
    rank->mutable_lr()->Assign(step.lr.begin(), step.lr.end());
    rank->mutable_weight_decay()->Assign(step.weight_decay.begin(), step.weight_decay.end());
    rank->set_samples(step.samples);
    rank->set_loss(step.loss);
    rank->set_skip(step.skip);
  }
}

inline std::vector<RankStep> FromMessage(const v1::JobStepped& message) {
  std::vector<RankStep> steps;
  for (const v1::JobStepped::Rank& rank : message.ranks()) {
    steps.push_back({.lr = {rank.lr().begin(), rank.lr().end()},
                     .weight_decay = {rank.weight_decay().begin(), rank.weight_decay().end()},
                     .samples = rank.samples(),
                     .loss = rank.loss(),
                     .skip = rank.skip()});
  }
  return steps;
}

// All but first_rank and world_size, which a follower knows.
inline void ToMessage(const AttachReply& reply, v1::SessionAttached* message) {
  message->set_group_id(reply.group_id);
  message->set_group_index(reply.group_index);
  message->set_group_count(reply.group_count);
  message->set_round(reply.round);
  message->set_rounds(reply.rounds);
  ToProto(reply.totals, message->mutable_totals());
}

inline AttachReply FromMessage(const v1::SessionAttached& message) {
  return {.group_id = message.group_id(),
          .group_index = message.group_index(),
          .group_count = message.group_count(),
          .round = message.round(),
          .rounds = message.rounds(),
          .totals = FromProto(message.totals())};
}

inline void ToMessage(const StepReply& reply, v1::SessionStepped* message) {
  message->set_round(reply.round);
  message->set_contributors(reply.contributors);
  message->set_merged_here(reply.merged_here);
  message->set_buckets(reply.buckets);
  message->set_loss(reply.loss);
  message->set_blocked_seconds(reply.blocked_seconds);
  message->set_local_seconds(reply.local_seconds);
  message->set_peer_wait_seconds(reply.peer_wait_seconds);
  message->set_link_wait_seconds(reply.link_wait_seconds);
  message->set_end(reply.end);
  ToProto(reply.totals, message->mutable_totals());
}

inline StepReply FromMessage(const v1::SessionStepped& message) {
  return {.round = message.round(),
          .contributors = message.contributors(),
          .merged_here = message.merged_here(),
          .buckets = message.buckets(),
          .loss = message.loss(),
          .blocked_seconds = message.blocked_seconds(),
          .local_seconds = message.local_seconds(),
          .peer_wait_seconds = message.peer_wait_seconds(),
          .link_wait_seconds = message.link_wait_seconds(),
          .end = message.end(),
          .totals = FromProto(message.totals())};
}

// Of any message with a code and a reason.
template <typename Message>
void ToMessage(const absl::Status& status, Message* message) {
  message->set_code(static_cast<uint32_t>(status.code()));
  message->set_reason(std::string(status.message()));
}
template <typename Message>
absl::Status StatusOf(const Message& message) {
  return {static_cast<absl::StatusCode>(message.code()), message.reason()};
}

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_SITE_SITE_MESSAGES_H_
