#include "server/core/membership.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

namespace isthmus {
namespace {

absl::Status Fenced(GroupId group) {
  return absl::AbortedError(
      absl::StrCat("group ", group.value(), ": fenced, a newer process has registered for it"));
}

}  // namespace

std::string PhaseText(const GroupState& group) {
  switch (group.phase) {
    case WorkPhase::kUnknown:
      return "";
    case WorkPhase::kCompute:
      return "its job computes";
    case WorkPhase::kCompress:
      return "it compresses";
    case WorkPhase::kLink:
      return "it sends, or waits for an update";
    case WorkPhase::kApply:
      return "it applies an update";
  }
  return "";
}

std::string GroupText(const GroupState& group) {
  return absl::StrCat("group ", group.id.value(), " incarnation ", group.incarnation.value());
}

void Membership::Restore(const std::vector<GroupRecord>& groups, Epoch epoch, absl::Time now) {
  epoch_ = epoch.next();
  for (const GroupRecord& record : groups) {
    GroupState& group = groups_[record.id];
    static_cast<GroupRecord&>(group) = record;
    group.stream_lost = now;
    group.last_event = "the coordinator was started again";
  }
}

absl::StatusOr<Membership::Registration> Membership::Register(GroupId group, uint64_t nonce,
                                                              const std::string& label,
                                                              uint32_t ranks) {
  const auto it = groups_.find(group);
  if (it == groups_.end() && groups_.size() >= max_groups_) {
    return absl::ResourceExhaustedError(absl::StrCat("group ", group.value(),
                                                     ": this coordinator "
                                                     "takes at most ",
                                                     max_groups_, " groups"));
  }
  GroupState& state = groups_[group];
  if (it != groups_.end() && state.nonce == nonce) {
    if (state.left) Touch();
    state.left = false;
    return Registration{&state, false, std::nullopt};
  }
  // A zombie is told the truth.
  const std::vector<uint64_t>& past = state.past_nonces;
  if (std::find(past.begin(), past.end(), nonce) != past.end()) return Fenced(group);
  Registration result{&state, true, state.stream};
  if (state.stream) streams_.erase(*state.stream);
  GroupState before = std::exchange(state, GroupState{});
  if (it != groups_.end()) {
    state.past_nonces = std::move(before.past_nonces);
    state.past_nonces.push_back(before.nonce);
    if (state.past_nonces.size() > kMaxPastNonces)
      state.past_nonces.erase(state.past_nonces.begin());
  }
  state.id = group;
  state.incarnation = before.incarnation.next();
  state.nonce = nonce;
  state.label = label;
  state.ranks = ranks;
  // Of the group, whatever processes it has had.
  state.contributions_merged = before.contributions_merged;
  state.contributions_late = before.contributions_late;
  Touch();
  return result;
}

absl::StatusOr<GroupState*> Membership::Find(Member member) {
  const auto it = groups_.find(member.group);
  if (it == groups_.end() || member.incarnation > it->second.incarnation) {
    return absl::FailedPreconditionError(absl::StrCat("group ", member.group.value(),
                                                      " incarnation ", member.incarnation.value(),
                                                      " has not registered with this coordinator"));
  }
  if (member.incarnation < it->second.incarnation) return Fenced(member.group);
  return &it->second;
}

GroupState* Membership::FindByStream(StreamId stream) {
  const auto at = streams_.find(stream);
  return at == streams_.end() ? nullptr : &groups_.at(at->second);
}

void Membership::Attach(GroupState& group, StreamId stream) {
  group.stream = stream;
  streams_[stream] = group.id;
}

void Membership::Detach(GroupState& group, absl::Time now) {
  streams_.erase(*group.stream);
  group.stream.reset();
  group.stream_lost = now;
}

}  // namespace isthmus
