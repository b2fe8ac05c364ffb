#include "server/rpc/engine_messages.h"

#include <utility>
#include <variant>

#include "common/run/spec_fields.h"
#include "common/transport/convert.h"

namespace isthmus {
namespace {

// Fills a message, one function for each thing that is said.
struct Filler {
  v1::CoordinatorMessage& message;

  void operator()(const SayWelcome& what) {
    message.mutable_welcome()->set_epoch(what.epoch.value());
    message.mutable_welcome()->set_next_sequence(what.next.value());
    message.mutable_welcome()->set_probe(what.probe);
  }
  void operator()(const SayStart& what) {
    message.mutable_start()->set_group_index(what.group_index);
    message.mutable_start()->set_group_count(what.group_count);
    message.mutable_start()->set_open_round(what.open_round.value());
  }
  void operator()(const SayDue& what) { message.mutable_due()->set_round(what.round.value()); }
  void operator()(const SayClosed& what) {
    message.mutable_closed()->set_round(what.round.value());
    message.mutable_closed()->set_bucket(what.bucket.value());
  }
  void operator()(const SayRefused& what) {
    message.mutable_refused()->set_round(what.round.value());
    message.mutable_refused()->set_bucket(what.bucket.value());
    message.mutable_refused()->set_reason(what.reason);
  }
  void operator()(const AskForSnapshot& what) {
    message.mutable_snapshot_request()->set_transfer(what.transfer.value());
    message.mutable_snapshot_request()->set_window_bytes(what.window_bytes);
    message.mutable_snapshot_request()->set_min_sequence(what.at_least.value());
  }
  void operator()(const OfferSnapshot& what) {
    message.mutable_snapshot_offer()->set_transfer(what.transfer.value());
  }
  void operator()(const SaySnapshotTaken& what) {
    message.mutable_snapshot_ack()->set_transfer(what.transfer.value());
    message.mutable_snapshot_ack()->set_taken_bytes(what.bytes);
  }
  void operator()(const SaySnapshotAborted& what) {
    message.mutable_snapshot_aborted()->set_transfer(what.transfer.value());
    message.mutable_snapshot_aborted()->set_reason(what.reason);
  }
};

v1::GetStatusReply::State ToProto(Coordinator::State state) {
  switch (state) {
    case Coordinator::State::kWaitingForGroups:
      return v1::GetStatusReply::WAITING_FOR_GROUPS;
    case Coordinator::State::kAgreeing:
      return v1::GetStatusReply::AGREEING;
    case Coordinator::State::kTraining:
      return v1::GetStatusReply::TRAINING;
    case Coordinator::State::kWaitingForQuorum:
      return v1::GetStatusReply::WAITING_FOR_QUORUM;
    case Coordinator::State::kEnded:
      return v1::GetStatusReply::ENDED;
  }
  return v1::GetStatusReply::STATE_UNSPECIFIED;
}

void ToProto(const GroupView& view, const WorkerReport& report, v1::HeartbeatRequest* out) {
  out->mutable_identity()->set_group_id(view.id.value());
  out->mutable_identity()->set_incarnation(view.incarnation.value());
  out->set_applied_round(report.applied_round.value());
  out->set_hash_round(report.hash_round.value());
  out->set_state_hash(report.state_hash);
  out->set_step_seconds(report.step_seconds);
  out->set_compute_seconds(report.compute_seconds);
  out->set_link_wait_seconds(report.link_wait_seconds);
  out->set_peer_wait_seconds(report.peer_wait_seconds);
  out->set_communication_ratio(report.communication_ratio);
  out->set_steps(report.steps);
  out->set_samples(report.samples);
  out->set_nonfinite_buckets(report.nonfinite_buckets);
  out->set_nonfinite_losses(report.nonfinite_losses);
  out->set_returned_contributions(report.returned_contributions);
  ToProto(report.down, out->mutable_down());
  out->set_exchange_wait_seconds(report.exchange_wait_seconds);
  out->set_exchange_wait_since(report.exchange_wait_since.value());
  out->set_congestion_control(report.congestion_control);
  out->set_waiting(report.waiting);
  out->set_exchange_seconds(report.exchange_seconds);
  out->set_phase(static_cast<v1::HeartbeatRequest::Phase>(report.phase));
}

void ToProto(const GroupView& view, v1::GroupStatus* out) {
  out->set_group_id(view.id.value());
  out->set_label(view.label);
  out->set_incarnation(view.incarnation.value());
  out->set_state(view.state);
  out->set_connected(view.connected);
  out->set_awaited(view.awaited);
  out->set_buckets_received(view.buckets_received);
  out->set_ranks(view.ranks);
  out->set_bytes_up(view.bytes_up);
  out->set_bytes_down(view.bytes_down);
  ToProto(view.up, out->mutable_up());
  if (view.round_trip) out->set_round_trip_seconds(absl::ToDoubleSeconds(*view.round_trip));
  out->set_contributions_merged(view.contributions_merged);
  out->set_contributions_late(view.contributions_late);
  out->set_loss(view.loss);
  out->set_last_event(view.last_event);
  if (view.since_heard) out->set_seconds_since_heard(absl::ToDoubleSeconds(*view.since_heard));
  if (view.report) ToProto(view, *view.report, out->mutable_heartbeat());
}

void ToProto(const PastRound& past, v1::PastRound* out) {
  RunSpec with;
  with.format = past.format;
  out->set_round(past.round.value());
  out->set_seconds(absl::ToDoubleSeconds(past.took));
  out->set_chunk_size(past.format.chunk_size);
  out->set_k(past.format.all.k);
  out->set_values(Name(past.format.all.values));
  out->set_every(FindSpecField("every")->text(with));
  out->set_group_formats(FindSpecField("group_formats")->text(with));
  out->set_bytes_up(past.bytes_up);
  out->set_bytes_down(past.bytes_down);
}

void ToProto(const std::optional<PaceDecision>& decision, v1::PaceStatus* out) {
  out->set_reason(Name(decision ? decision->reason : PaceReason::kUnmeasured));
  out->set_target_met(!decision || decision->target_met);
  if (!decision || !decision->expected) return;
  const Prediction& predicted = *decision->expected;
  out->set_exchange_seconds(absl::ToDoubleSeconds(predicted.exchange));
  out->set_communication_ratio(predicted.cost.ratio);
  out->set_step_seconds(absl::ToDoubleSeconds(predicted.cost.step));
}

}  // namespace

v1::CoordinatorMessage ToMessage(const ToWorker& what) {
  v1::CoordinatorMessage message;
  std::visit(Filler{message}, what);
  return message;
}

void ToProto(const StatusView& view, v1::GetStatusReply* out) {
  out->set_instance(view.instance);
  out->set_epoch(view.epoch.value());
  out->set_state(ToProto(view.state));
  out->set_waiting_reason(view.waiting_reason);
  out->set_round(view.round.value());
  static_assert(sizeof(CoordinatorCounters) == 13 * sizeof(uint64_t), "each is set below");
  out->set_rounds_committed(view.counters.rounds_committed);
  out->set_sequence(view.sequence.value());
  ToProto(view.run, out->mutable_run());
  out->set_parameters(view.parameters);
  out->set_buckets(view.buckets);
  out->set_contributions_merged(view.counters.contributions_merged);
  out->set_contributions_late(view.counters.contributions_late);
  out->set_contributions_rejected(view.rejected);
  out->set_abstentions(view.counters.abstentions);
  out->set_scalar_mismatches(view.counters.scalar_mismatches);
  out->set_contributions_repeated(view.counters.contributions_repeated);
  out->set_groups_silent(view.counters.groups_silent);
  out->set_groups_too_slow(view.counters.groups_too_slow);
  out->set_nonfinite_losses(view.counters.losses_left_out);
  out->set_fenced(view.counters.fenced);
  out->set_snapshots(view.counters.snapshots);
  out->set_audits(view.counters.audits);
  out->set_audit_mismatches(view.counters.audit_mismatches);
  out->set_uptime_seconds(absl::ToDoubleSeconds(view.uptime));
  out->set_loss(view.loss);
  out->set_samples_per_second(view.samples_per_second);
  out->set_ring_bytes(view.log_bytes);
  if (view.deadline < absl::InfiniteDuration()) {
    out->set_deadline_seconds(absl::ToDoubleSeconds(view.deadline));
  }
  for (const GroupView& group : view.groups) ToProto(group, out->add_groups());
  for (const PastEvent& past : view.events) {
    v1::PastEvent* event = out->add_events();
    event->set_number(past.number);
    event->set_seconds_ago(absl::ToDoubleSeconds(view.now - past.at));
    event->set_kind(EventKind(past.event));
    event->set_text(EventText(past.event));
  }
  for (const PastRound& past : view.rounds) ToProto(past, out->add_rounds());
  if (!view.paced) return;
  ToProto(view.decision, out->mutable_pace());
  out->mutable_pace()->set_frozen(view.pace_frozen);
}

WorkerReport FromProto(const v1::HeartbeatRequest& in) {
  WorkerReport report;
  report.applied_round = Round(in.applied_round());
  report.hash_round = Round(in.hash_round());
  report.state_hash = in.state_hash();
  report.step_seconds = in.step_seconds();
  report.compute_seconds = in.compute_seconds();
  report.link_wait_seconds = in.link_wait_seconds();
  report.peer_wait_seconds = in.peer_wait_seconds();
  report.communication_ratio = in.communication_ratio();
  report.exchange_wait_seconds = in.exchange_wait_seconds();
  report.exchange_seconds = in.exchange_seconds();
  report.exchange_wait_since = Round(in.exchange_wait_since());
  report.steps = in.steps();
  report.samples = in.samples();
  report.nonfinite_buckets = in.nonfinite_buckets();
  report.nonfinite_losses = in.nonfinite_losses();
  report.returned_contributions = in.returned_contributions();
  report.down = FromProto(in.down());
  report.congestion_control = in.congestion_control().substr(0, 32);
  report.waiting = in.waiting().substr(0, 512);
  // A newer worker may have more of them.
  if (v1::HeartbeatRequest::Phase_IsValid(in.phase())) {
    report.phase = static_cast<WorkPhase>(in.phase());
  }
  return report;
}

std::string ProtoUpdateEncoder::Update(const UpdateHeader& header, std::string payload) const {
  v1::Update update;
  ToProto(header, &update);
  update.set_payload(std::move(payload));
  return update.SerializeAsString();
}

std::string ProtoUpdateEncoder::Contribution(uint32_t contributor,
                                             const std::vector<StoredPart>& parts) const {
  v1::Update piece;  // a message with this field alone
  v1::EncodedContribution* contribution = piece.add_contributions();
  contribution->set_contributor(contributor);
  for (const StoredPart& part : parts) contribution->add_parts(part.payload);
  return piece.SerializeAsString();
}

}  // namespace isthmus
