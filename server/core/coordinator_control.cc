// The coordinator's control plane: who registers, is ready, leaves.

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "server/core/coordinator.h"

namespace isthmus {

absl::Status Coordinator::CheckSpeaks(GroupId group, uint32_t version) const {
  const bool changes = config_.formats_change() || formats_.last() > Round(0);
  if (!changes || version >= kChangesFormats) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("protocol versions: formats of this run change: expected version ",
                   kChangesFormats, " or later, group ", group.value(), " speaks up to ", version));
}

absl::StatusOr<Coordinator::Registered> Coordinator::Register(const RegisterArgs& args,
                                                              absl::Time now, Actions& out) {
  const uint32_t version = std::min(args.versions.max, kProtocolVersions.max);
  if (version < std::max(args.versions.min, kProtocolVersions.min)) {
    return absl::FailedPreconditionError(
        absl::StrCat("protocol versions: the coordinator speaks ", kProtocolVersions.min, " to ",
                     kProtocolVersions.max, ", group ", args.group.value(), " speaks ",
                     args.versions.min, " to ", args.versions.max));
  }
  ISTHMUS_RETURN_IF_ERROR(CheckSpeaks(args.group, version));
  if (args.nonce == 0) return absl::InvalidArgumentError("nonce: expected non-zero, got 0");
  if (args.label.size() > kMaxLabelBytes) {
    return absl::InvalidArgumentError(absl::StrCat("label: expected at most ", kMaxLabelBytes,
                                                   " bytes, got ", args.label.size()));
  }
  if (!IsPrintable(args.label)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "label: expected text without control characters, got '", Printable(args.label), "'"));
  }
  if (args.ranks == 0) return absl::InvalidArgumentError("ranks: expected at least 1, got 0");
  if (args.instance != 0 && args.instance != config_.instance) {
    return absl::FailedPreconditionError(
        absl::StrCat("instance: group ", args.group.value(),
                     " holds updates of coordinator instance ", args.instance,
                     ", this one is instance ", config_.instance, ": it cannot continue that run"));
  }
  ISTHMUS_RETURN_IF_ERROR(CheckExpectations(config_.run, args.expect));
  ISTHMUS_ASSIGN_OR_RETURN(const Membership::Registration registration,
                           membership_.Register(args.group, args.nonce, args.label, args.ranks));
  GroupState& group = *registration.group;
  group.version = version;
  if (registration.new_incarnation) {
    out.push_back(
        Happened{Joined{MemberOf(group), group.label, group.incarnation > Incarnation(1)}});
  }
  if (registration.new_incarnation && group.incarnation > Incarnation(1)) {
    ++counters_.fenced;
    group.last_event = absl::StrCat("incarnation ", group.incarnation.value(),
                                    " replaced incarnation ", group.incarnation.value() - 1);
    StopAwaiting(group, "a newer process registered", out);
    for (uint32_t b = 0; b < round_.bucket_count(); ++b) {
      if (!round_.bucket(BucketIndex(b)).DropIncomplete(group.id)) continue;
      out.push_back(DropContribution{group.id, round_.round(), BucketIndex(b)});
    }
  }
  if (registration.fenced_stream) {
    out.push_back(CloseStream{
        *registration.fenced_stream,
        absl::AbortedError(absl::StrCat("group ", group.id.value(),
                                        ": fenced, a newer process has registered for it"))});
    AbortTransfersOf(*registration.fenced_stream, group.id, "was fenced", out);
  }
  Advance(now, out);
  return Registered{version, group.incarnation, membership_.epoch()};
}

absl::Status Coordinator::AcceptLayout(const Layout& layout, const GroupState& group) {
  const bool others_ready =
      std::any_of(membership_.groups().begin(), membership_.groups().end(),
                  [&](const auto& entry) { return entry.first != group.id && entry.second.ready; });
  if (layout_ && (training_ || others_ready)) {
    const std::string difference = layout_->DifferenceFrom(layout);
    if (difference.empty()) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(GroupText(group), ": the layout differs from the run's: ", difference));
  }
  return UseLayout(layout);
}

absl::Status Coordinator::UseLayout(const Layout& layout) {
  ISTHMUS_ASSIGN_OR_RETURN(Buckets buckets,
                           Buckets::Create(layout.length(), config_.run.bucket_length));
  layout_ = layout;
  buckets_ = buckets;
  commits_.assign(buckets_.count(), 0);
  return absl::OkStatus();
}

absl::Status Coordinator::Ready(Member member, uint64_t change, const Layout& layout,
                                absl::Time now, Actions& out) {
  ISTHMUS_ASSIGN_OR_RETURN(GroupState * group, membership_.Find(member));
  if (change <= group->last_change) return absl::OkStatus();
  ISTHMUS_RETURN_IF_ERROR(AcceptLayout(layout, *group));
  ISTHMUS_RETURN_IF_ERROR(CheckNotOver());
  group->last_change = change;
  membership_.Touch();
  group->ready = true;
  group->started = false;
  group->left = false;
  group->last_event = "ready";
  out.push_back(Happened{JobReady{member}});
  Advance(now, out);
  return absl::OkStatus();
}

absl::Status Coordinator::NotReady(Member member, uint64_t change, const std::string& reason,
                                   absl::Time now, Actions& out) {
  ISTHMUS_ASSIGN_OR_RETURN(GroupState * group, membership_.Find(member));
  if (change <= group->last_change) return absl::OkStatus();
  group->last_change = change;
  membership_.Touch();
  group->ready = false;
  // Before Start the masters are still the job's own and may change with the next job.
  if (!group->started && !training_) {
    group->in_sync = false;
    if (group->stream) {
      AbortTransfersOf(*group->stream, group->id, "lost its job", out);
      out.push_back(SendUpdates{*group->stream, Sequence(0)});
    }
  }
  group->last_event = reason;
  out.push_back(Happened{JobGone{member, reason}});
  StopAwaiting(*group, reason, out);
  Advance(now, out);
  return absl::OkStatus();
}

absl::Status Coordinator::Leave(Member member, const std::string& reason, absl::Time now,
                                Actions& out) {
  ISTHMUS_ASSIGN_OR_RETURN(GroupState * group, membership_.Find(member));
  membership_.Touch();
  group->ready = false;
  group->left = true;
  group->last_event = absl::StrCat("left: ", reason);
  out.push_back(Happened{Left{member, reason}});
  StopAwaiting(*group, group->last_event, out);
  Advance(now, out);
  return absl::OkStatus();
}

absl::Status Coordinator::Heartbeat(Member member, uint64_t samples, WorkPhase phase,
                                    absl::Time now, Actions& out) {
  ISTHMUS_ASSIGN_OR_RETURN(GroupState * group, membership_.Find(member));
  group->phase = phase;
  due_clock_.Heard(member, samples);
  if (training_) SendDues(now, out);
  return absl::OkStatus();
}

}  // namespace isthmus
