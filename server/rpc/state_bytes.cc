#include "server/rpc/state_bytes.h"

#include <absl/strings/str_cat.h>

#include <span>
#include <utility>

#include "common/base/crc32c.h"
#include "common/base/status_macros.h"
#include "common/transport/convert.h"
#include "isthmus/v1/state.pb.h"

namespace isthmus {
namespace {

constexpr uint32_t kUnsaidVersion =
    3;  // of the protocol; what all spoke as states were first written

uint32_t CrcOf(const std::string& bytes) {
  return Crc32c(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

absl::Status Repeated(const char* what, uint64_t id) {
  return absl::InvalidArgumentError(
      absl::StrCat("coordinator state: ", what, ": expected each once, got ", id, " again"));
}

// --- processes ---------------------------------------------------------------------------------

void ToProto(GroupId group, Incarnation incarnation, v1::SavedProcess* out) {
  out->set_group_id(group.value());
  out->set_incarnation(incarnation.value());
}

void ToProto(const GroupRecord& group, v1::SavedGroup* out) {
  out->set_group_id(group.id.value());
  out->set_incarnation(group.incarnation.value());
  out->set_nonce(group.nonce);
  out->mutable_past_nonces()->Assign(group.past_nonces.begin(), group.past_nonces.end());
  out->set_label(group.label);
  out->set_ranks(group.ranks);
  out->set_last_change(group.last_change);
  out->set_ready(group.ready);
  out->set_left(group.left);
  out->set_in_sync(group.in_sync);
  out->set_synced_at(group.synced_at.value());
  if (group.source) ToProto(group.source->group, group.source->incarnation, out->mutable_source());
  out->set_agreed(group.agreed.value());
  out->set_resync(group.resync.value_or(Round(0)).value());
  out->set_silent(group.silent);
  out->set_too_slow(group.too_slow.value_or(Round(0)).value());
  out->set_contributions_merged(group.contributions_merged);
  out->set_contributions_late(group.contributions_late);
  out->set_last_loss(group.last_loss);
  if (group.version != kUnsaidVersion) out->set_version(group.version);
}

std::optional<Round> RoundUnlessZero(uint64_t round) {
  return round == 0 ? std::nullopt : std::optional(Round(round));
}

GroupRecord FromProto(const v1::SavedGroup& in) {
  GroupRecord group;
  group.id = GroupId(in.group_id());
  group.incarnation = Incarnation(in.incarnation());
  group.nonce = in.nonce();
  group.past_nonces.assign(in.past_nonces().begin(), in.past_nonces().end());
  group.label = in.label();
  group.ranks = in.ranks();
  group.last_change = in.last_change();
  group.ready = in.ready();
  group.left = in.left();
  group.in_sync = in.in_sync();
  group.synced_at = Sequence(in.synced_at());
  if (in.has_source()) {
    group.source = Member{GroupId(in.source().group_id()), Incarnation(in.source().incarnation())};
  }
  group.agreed = Round(in.agreed());
  group.resync = RoundUnlessZero(in.resync());
  group.silent = in.silent();
  group.too_slow = RoundUnlessZero(in.too_slow());
  group.contributions_merged = in.contributions_merged();
  group.contributions_late = in.contributions_late();
  group.last_loss = in.last_loss();
  group.version = in.version() == 0 ? kUnsaidVersion : in.version();
  return group;
}

// --- audits ------------------------------------------------------------------------------------

void ToProto(Round round, const AuditRecord& audit, v1::SavedAudit* out) {
  out->set_round(round.value());
  out->set_sequence(audit.sequence.value());
  for (const auto& [group, incarnation] : audit.expected) {
    ToProto(group, incarnation, out->add_expected());
  }
  out->set_decided(audit.decided);
  out->mutable_right()->Assign(audit.right.begin(), audit.right.end());
  out->set_compared(audit.compared);
}

absl::StatusOr<AuditRecord> FromProto(const v1::SavedAudit& in) {
  AuditRecord audit;
  audit.sequence = Sequence(in.sequence());
  for (const v1::SavedProcess& p : in.expected()) {
    if (audit.expected.emplace(p.group_id(), p.incarnation()).second) continue;
    return Repeated("groups of an audit", p.group_id());
  }
  audit.decided = in.decided();
  audit.right.assign(in.right().begin(), in.right().end());
  audit.compared = in.compared();
  return audit;
}

// --- counters ----------------------------------------------------------------------------------

static_assert(sizeof(CoordinatorCounters) == 13 * sizeof(uint64_t), "written and read below, all");

void ToProto(const CoordinatorCounters& counters, v1::SavedCounters* out) {
  out->set_rounds_committed(counters.rounds_committed);
  out->set_contributions_merged(counters.contributions_merged);
  out->set_contributions_late(counters.contributions_late);
  out->set_contributions_repeated(counters.contributions_repeated);
  out->set_abstentions(counters.abstentions);
  out->set_groups_silent(counters.groups_silent);
  out->set_groups_too_slow(counters.groups_too_slow);
  out->set_scalar_mismatches(counters.scalar_mismatches);
  out->set_losses_left_out(counters.losses_left_out);
  out->set_fenced(counters.fenced);
  out->set_snapshots(counters.snapshots);
  out->set_audits(counters.audits);
  out->set_audit_mismatches(counters.audit_mismatches);
}

CoordinatorCounters FromProto(const v1::SavedCounters& in) {
  return {.rounds_committed = in.rounds_committed(),
          .contributions_merged = in.contributions_merged(),
          .contributions_late = in.contributions_late(),
          .contributions_repeated = in.contributions_repeated(),
          .abstentions = in.abstentions(),
          .groups_silent = in.groups_silent(),
          .groups_too_slow = in.groups_too_slow(),
          .scalar_mismatches = in.scalar_mismatches(),
          .losses_left_out = in.losses_left_out(),
          .fenced = in.fenced(),
          .snapshots = in.snapshots(),
          .audits = in.audits(),
          .audit_mismatches = in.audit_mismatches()};
}

// --- the whole ---------------------------------------------------------------------------------

v1::CoordinatorState ToProto(const CoordinatorState& state) {
  v1::CoordinatorState out;
  out.set_instance(state.instance);
  out.set_restarts(state.restarts);
  ToProto(state.run, out.mutable_run());
  if (state.layout) ToProto(*state.layout, out.mutable_layout());
  out.set_epoch(state.epoch.value());
  for (const GroupRecord& group : state.groups) ToProto(group, out.add_groups());
  out.set_round(state.round.value());
  for (const GroupId id : state.awaited) out.add_awaited(id.value());
  out.set_last_sequence(state.last_sequence.value());
  for (const BucketRecord& bucket : state.buckets) {
    out.add_commits(bucket.commits);
    out.add_sequences(bucket.sequence.value_or(Sequence(0)).value());
  }
  for (const auto& [round, audit] : state.audits) ToProto(round, audit, out.add_audits());
  ToProto(state.counters, out.mutable_counters());
  out.set_last_loss(state.last_loss);
  if (state.totals != RunTotals()) ToProto(state.totals, out.mutable_totals());
  for (const FormatChange& change : state.formats) ToProto(change, out.add_formats());
  return out;
}

absl::StatusOr<CoordinatorState> FromProto(const v1::CoordinatorState& in) {
  CoordinatorState state;
  state.instance = in.instance();
  state.restarts = in.restarts();
  ISTHMUS_ASSIGN_OR_RETURN(state.run, isthmus::FromProto(in.run()));
  if (in.has_layout()) {
    ISTHMUS_ASSIGN_OR_RETURN(state.layout, isthmus::FromProto(in.layout()));
  }
  state.epoch = Epoch(in.epoch());
  for (const v1::SavedGroup& group : in.groups()) state.groups.push_back(FromProto(group));
  state.round = Round(in.round());
  for (const uint32_t id : in.awaited()) {
    if (!state.awaited.emplace(id).second) return Repeated("awaited groups", id);
  }
  state.last_sequence = Sequence(in.last_sequence());
  if (in.commits_size() != in.sequences_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("coordinator state: sequences: expected one per bucket (", in.commits_size(),
                     "), got ", in.sequences_size()));
  }
  for (int b = 0; b < in.commits_size(); ++b) {
    BucketRecord& bucket = state.buckets.emplace_back();
    bucket.commits = in.commits(b);
    if (in.sequences(b) != 0) bucket.sequence = Sequence(in.sequences(b));
  }
  for (const v1::SavedAudit& saved : in.audits()) {
    ISTHMUS_ASSIGN_OR_RETURN(AuditRecord audit, FromProto(saved));
    if (!state.audits.emplace(saved.round(), std::move(audit)).second) {
      return Repeated("audits", saved.round());
    }
  }
  state.counters = FromProto(in.counters());
  state.last_loss = in.last_loss();
  state.totals = isthmus::FromProto(in.totals());
  ISTHMUS_ASSIGN_OR_RETURN(state.formats, isthmus::FromProto(in.formats()));
  return state;
}

}  // namespace

std::string EncodeState(const CoordinatorState& state) {
  v1::SavedState saved;
  saved.set_version(kStateVersion);
  saved.set_state(ToProto(state).SerializeAsString());
  saved.set_crc32c(CrcOf(saved.state()));
  return saved.SerializeAsString();
}

absl::StatusOr<CoordinatorState> DecodeState(const std::string& bytes) {
  v1::SavedState saved;
  if (!saved.ParseFromString(bytes)) {
    return absl::DataLossError(absl::StrCat("saved state: expected an encoded SavedState, got ",
                                            bytes.size(), " other bytes"));
  }
  if (saved.version() != kStateVersion) {
    return absl::FailedPreconditionError(absl::StrCat("saved state: this build reads version ",
                                                      kStateVersion, ", got ", saved.version()));
  }
  v1::CoordinatorState message;
  if (CrcOf(saved.state()) != saved.crc32c() || !message.ParseFromString(saved.state())) {
    return absl::DataLossError(
        absl::StrCat("saved state: ", saved.state().size(), " bytes with a wrong checksum"));
  }
  ISTHMUS_ASSIGN_OR_RETURN(CoordinatorState state, FromProto(message));
  ISTHMUS_RETURN_IF_ERROR(Check(state));
  return state;
}

}  // namespace isthmus
