// What the coordinator does and waits for, for people.

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <vector>

#include "server/core/coordinator.h"

namespace isthmus {

Coordinator::State Coordinator::state(absl::Time now) const {
  if (ended_) return State::kEnded;
  if (!training_) {
    const bool agreeing = std::any_of(membership_.groups().begin(), membership_.groups().end(),
                                      [](const auto& entry) { return entry.second.in_sync; });
    return agreeing ? State::kAgreeing : State::kWaitingForGroups;
  }
  uint32_t able = 0;
  for (const auto& [id, group] : membership_.groups()) {
    if (group.active_or_graced(now, config_.reconnect_grace)) ++able;
  }
  return able < config_.run.min_groups ? State::kWaitingForQuorum : State::kTraining;
}

std::string Coordinator::WaitingAfterEnd() const {
  bool joiner = false, donor = false;
  for (const auto& [id, group] : membership_.groups()) {
    joiner |= group.ready && group.stream && !group.in_sync;
    donor |= group.in_sync && group.stream;
  }
  if (!joiner) return "";
  return donor ? "the run has ended: a group that joins is getting its parameters"
               : "the run has ended, and no group that holds its parameters is connected";
}

std::string Coordinator::WaitingReason(absl::Time now) const {
  if (ended_) return WaitingAfterEnd();
  uint32_t ready = 0;
  uint32_t active = 0;
  for (const auto& [id, group] : membership_.groups()) {
    if (group.ready && group.stream) ++ready;
    if (group.active()) ++active;
  }
  if (!training_ && ready < config_.run.start_groups) {
    return absl::StrCat("waiting for groups: ", ready, " of start_groups ",
                        config_.run.start_groups, " are ready");
  }
  if (!training_ && config_.run.initial_donor) {
    const auto donor = membership_.groups().find(*config_.run.initial_donor);
    if (donor == membership_.groups().end() || !donor->second.ready || !donor->second.stream) {
      return absl::StrCat("waiting for groups: group ", config_.run.initial_donor->value(),
                          ", whose parameters all start from (initial_donor), is not ready");
    }
  }
  if (!training_) {
    return absl::StrCat("agreeing on initial parameters: ", active, " of ", ready,
                        " groups have them");
  }
  if (active == 0 && ready > 0) {
    const bool donor = std::any_of(
        membership_.groups().begin(), membership_.groups().end(), [&](const auto& entry) {
          const GroupState& g = entry.second;
          return g.in_sync && (g.stream || now < g.stream_lost + config_.reconnect_grace);
        });
    return donor ? "a group that joins is getting a snapshot"
                 : "no group in sync is left to give a snapshot";
  }
  if (active < config_.run.min_groups) {
    return absl::StrCat("waiting for quorum: ", active, " of min_groups ", config_.run.min_groups,
                        " are active");
  }
  for (uint32_t b = 0; b < round_.bucket_count(); ++b) {
    const BucketRound& bucket = round_.bucket(BucketIndex(b));
    if (bucket.sequence()) continue;
    std::vector<Straggler> pending;
    for (const GroupId id : bucket.pending()) {
      pending.push_back({id, PhaseText(membership_.groups().at(id))});
    }
    const std::string why = isthmus::WaitingFor(round_.Tally(BucketIndex(b), now, wait_rule()),
                                                pending, config_.run.min_groups);
    if (!why.empty()) {
      return absl::StrCat("round ", round_.round().value(), " bucket ", b, ": ", why);
    }
  }
  return "";
}

}  // namespace isthmus
