// The audit (docs/protocol.md, P22): groups' hashes of a round compared, and who differs sent back
// to get a snapshot.

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/status_macros.h"
#include "server/core/coordinator.h"

namespace isthmus {

absl::Status Coordinator::AuditArrived(StreamId stream, Round round, const BucketHashes& hashes,
                                       absl::Time now, Actions& out) {
  GroupState* group = membership_.FindByStream(stream);
  if (group == nullptr) return absl::AbortedError("this stream was replaced or fenced");
  const uint64_t every = config_.run.audit_rounds;
  if (every == 0 || round == Round(0) || round.value() % every != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(GroupText(*group), " audit: round: expected a multiple of audit_rounds ",
                     every, ", got ", round.value()));
  }
  if (round.value() > counters_.rounds_committed) {
    return absl::InvalidArgumentError(
        absl::StrCat(GroupText(*group), " audit: round: expected at most ",
                     counters_.rounds_committed, ", got ", round.value()));
  }
  if (hashes.size() != buckets_.count()) {
    return absl::InvalidArgumentError(absl::StrCat(GroupText(*group), " audit of round ",
                                                   round.value(), ": expected ", buckets_.count(),
                                                   " hashes, got ", hashes.size()));
  }
  const auto it = audits_.find(round);
  if (it == audits_.end()) return absl::OkStatus();  // so late that nobody remembers
  Audit& audit = it->second;
  // From before a snapshot: that state is gone, or about to go.
  if (!group->in_sync || group->synced_at >= audit.sequence()) return absl::OkStatus();
  if (round <= group->audited) return absl::OkStatus();  // sent again after a reconnect
  group->audited = round;
  audit.Add(group->id, group->incarnation, hashes);
  if (audit.decided()) {
    if (audit.right().empty()) audit.Decide(hashes);  // the first to say anything
    if (audit.Compares()) ++counters_.audits;
    Judge(round, audit, group->id, now, out);
  }
  Advance(now, out);
  return absl::OkStatus();
}

void Coordinator::OpenAudit(absl::Time now, Actions& out) {
  const Round round = round_.round();
  if (config_.run.audit_rounds == 0 || round.value() % config_.run.audit_rounds != 0) return;
  if (audits_.size() == kMaxAudits) {
    const auto oldest = audits_.begin();
    if (!oldest->second.decided()) DecideAudit(oldest->first, oldest->second, now, out);
    audits_.erase(oldest);
  }
  std::map<GroupId, Incarnation> expected;
  for (const auto& [id, group] : membership_.groups()) {
    if (group.holds_state(now, config_.reconnect_grace)) expected[id] = group.incarnation;
  }
  audits_[round] = Audit({.sequence = last_sequence_, .expected = std::move(expected)});
}

bool Coordinator::OwesReport(Round round, const Audit& audit, const GroupState& group) const {
  const auto it = audit.expected().find(group.id);
  return it != audit.expected().end() && it->second == group.incarnation && group.in_sync &&
         !group.left && group.synced_at < audit.sequence() && group.audited < round;
}

void Coordinator::DecideAudits(absl::Time now, Actions& out) {
  for (auto& [round, audit] : audits_) {
    if (audit.decided()) continue;
    bool waits = false;
    for (const auto& [id, group] : membership_.groups()) {
      waits |= OwesReport(round, audit, group) && group.holds_state(now, config_.reconnect_grace);
    }
    if (!waits) DecideAudit(round, audit, now, out);
  }
}

void Coordinator::DecideAudit(Round round, Audit& audit, absl::Time now, Actions& out) {
  std::set<GroupId> donors;
  for (const auto& [id, report] : audit.reports()) {
    const GroupState& group = membership_.groups().at(id);
    if (StillHolds(audit, group) && group.holds_state(now, config_.reconnect_grace)) {
      donors.insert(id);
    }
  }
  const std::map<GroupId, BucketHashes> reports = audit.hashes();
  audit.Decide(RightHashes(reports, donors));
  if (audit.Compares()) ++counters_.audits;
  // Who is right first: they are not to be taken for copies of who is not.
  for (const auto& [id, hashes] : reports) {
    if (hashes == audit.right()) Judge(round, audit, id, now, out);
  }
  for (const auto& [id, hashes] : reports) {
    if (hashes != audit.right()) Judge(round, audit, id, now, out);
  }
}

bool Coordinator::StillHolds(const Audit& audit, const GroupState& group) {
  return group.incarnation == audit.reports().at(group.id).incarnation && group.in_sync &&
         group.synced_at < audit.sequence();
}

void Coordinator::Judge(Round round, const Audit& audit, GroupId id, absl::Time now, Actions& out) {
  const Audit::Report& report = audit.reports().at(id);
  GroupState& group = membership_.groups().at(id);
  if (report.hashes == audit.right()) {
    if (!StillHolds(audit, group)) return;
    group.agreed = std::max(group.agreed, round);
    group.source.reset();
    return;
  }
  ++counters_.audit_mismatches;
  out.push_back(Happened{AuditDiffered{
      round, {id, report.incarnation}, DifferenceText(audit.right(), report.hashes)}});
  if (!SomebodyAgreed(round, now)) return;
  if (StillHolds(audit, group)) Resync(group, round, id, out);
  ResyncCopies({id, report.incarnation}, round, out);
}

void Coordinator::MendWhoDiffered(absl::Time now, Actions& out) {
  for (const auto& [round, audit] : audits_) {
    if (!audit.decided() || !SomebodyAgreed(round, now)) continue;
    for (const auto& [id, report] : audit.reports()) {
      GroupState& group = membership_.groups().at(id);
      if (report.hashes == audit.right() || group.agreed >= round) continue;
      if (StillHolds(audit, group)) Resync(group, round, id, out);
      ResyncCopies({id, report.incarnation}, round, out);
    }
  }
}

bool Coordinator::SomebodyAgreed(Round round, absl::Time now) const {
  return std::any_of(membership_.groups().begin(), membership_.groups().end(),
                     [&](const auto& entry) {
                       return entry.second.agreed >= round &&
                              entry.second.holds_state(now, config_.reconnect_grace);
                     });
}

void Coordinator::Resync(GroupState& group, Round round, GroupId source, Actions& out) {
  out.push_back(Happened{Resynced{MemberOf(group), round, source}});
  group.in_sync = false;
  group.resync = round;
  group.applied_at_most = last_published_;
  group.last_event =
      absl::StrCat("audit of round ", round.value(), ": its state differs, a snapshot follows");
  membership_.Touch();
  for (auto& [audited, audit] : audits_) {
    if (!audit.decided()) audit.Forget(group.id);
  }
  StopAwaiting(group, "its state differs", out);
  if (!group.stream) return;
  AbortTransfersOf(*group.stream, group.id, "has a state that differs", out);
  out.push_back(SendUpdates{*group.stream, Sequence(0)});
}

void Coordinator::ResyncCopies(Member source, Round round, Actions& out) {
  for (auto& [id, copy] : membership_.groups()) {
    if (!copy.in_sync || copy.source != source || copy.agreed >= round) continue;
    Resync(copy, round, source.group, out);
    ResyncCopies({id, copy.incarnation}, round, out);
  }
}

void Coordinator::Reinstate(absl::Time now, Actions& out) {
  const auto& groups = membership_.groups();
  const bool somebody_holds = std::any_of(groups.begin(), groups.end(), [&](const auto& entry) {
    return entry.second.holds_state(now, config_.reconnect_grace);
  });
  if (!training_ || somebody_holds) return;
  for (auto& [id, group] : membership_.groups()) {
    if (!group.resync || !group.stream || group.left) continue;
    group.in_sync = true;
    group.resync.reset();
    membership_.Touch();
    group.last_event = "nobody who agreed is left: it goes on with the state that it has";
    out.push_back(Happened{Reinstated{MemberOf(group)}});
    // What it has applied only it can tell: the Hello of its next stream does.
    const StreamId stream = *group.stream;
    DetachStream(group, now, out);
    out.push_back(CloseStream{
        stream, absl::CancelledError(absl::StrCat(GroupText(group), ": ", group.last_event))});
    return;
  }
}

}  // namespace isthmus
