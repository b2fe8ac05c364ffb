// The coordinator's state as a value, and a coordinator of it (coordinator_state.h says what is in
// it, and why what is not).

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include "common/base/status_macros.h"
#include "common/run/spec_fields.h"
#include "server/core/coordinator.h"

namespace isthmus {
namespace {

absl::Status CheckSameRun(const CoordinatorState& state, const CoordinatorConfig& config) {
  if (state.instance != config.instance) {
    return absl::FailedPreconditionError(
        absl::StrCat("instance: the saved state is of coordinator instance ", state.instance,
                     ", this one is instance ", config.instance));
  }
  std::vector<std::string> differences;
  for (const SpecField& field : SpecFields()) {
    if (field.text(state.run) == field.text(config.run)) continue;
    differences.push_back(absl::StrCat(field.name, ": the saved run has ", field.text(state.run),
                                       ", this coordinator is to run ", field.text(config.run)));
  }
  if (differences.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the run spec differs: ", absl::StrJoin(differences, "; ")));
}

}  // namespace

CoordinatorState Coordinator::Save() const {
  CoordinatorState state;
  state.instance = config_.instance;
  state.restarts = restarts_;
  state.run = config_.run;
  state.layout = layout_;
  state.epoch = membership_.epoch();
  for (const auto& [id, group] : membership_.groups()) state.groups.push_back(group);
  state.round = round_.round();
  state.awaited = round_.awaited();
  state.last_sequence = last_published_;
  for (uint32_t b = 0; b < buckets_.count(); ++b) {
    BucketRecord& bucket = state.buckets.emplace_back();
    bucket.commits = commits_[b];
    if (!training_) continue;
    const BucketRound& open = round_.bucket(BucketIndex(b));
    if (open.appended()) bucket.sequence = open.sequence();
  }
  for (const auto& [round, audit] : audits_) state.audits[round] = audit.record();
  state.counters = counters_;
  state.last_loss = last_loss_;
  state.totals = totals_;
  if (training_ && formats_.last() > Round(0)) {
    state.formats = formats_.From(state.round);
    // Nobody has heard of it before it is in the log, and who is started again decides anew.
    const bool said = round_.bucket(BucketIndex(0)).appended();
    if (change_ && !said) std::erase(state.formats, *change_);
  }
  return state;
}

absl::StatusOr<Coordinator> Coordinator::Restore(CoordinatorConfig config,
                                                 const CoordinatorState& state, absl::Time now) {
  ISTHMUS_RETURN_IF_ERROR(CheckSameRun(state, config));
  ISTHMUS_RETURN_IF_ERROR(Check(state));
  Coordinator core(std::move(config));
  ISTHMUS_RETURN_IF_ERROR(core.TakeUp(state, now));
  return core;
}

absl::Status Coordinator::TakeUp(const CoordinatorState& state, absl::Time now) {
  restarts_ = state.restarts + 1;
  transfers_ = Transfers(TransferId(uint64_t{restarts_} << 32));
  if (state.layout) ISTHMUS_RETURN_IF_ERROR(UseLayout(*state.layout));
  for (const FormatChange& change : state.formats) formats_.Change(change);
  // What rounds of before had is not kept.
  if (!state.formats.empty()) formats_.Forget(state.formats.front().from);
  membership_.Restore(state.groups, state.epoch, now);
  last_sequence_ = last_append_ = last_published_ = state.last_sequence;
  counters_ = state.counters;
  last_loss_ = state.last_loss;
  totals_ = state.totals;
  for (const auto& [round, audit] : state.audits) audits_[round] = Audit(audit);
  if (state.round == Round(0)) return absl::OkStatus();
  training_ = true;
  due_clock_.Begin(now);
  round_ = OpenRound(state.round, ChunksOfRound(state.round), state.awaited, now);
  for (uint32_t b = 0; b < round_.bucket_count(); ++b) {
    const BucketRecord& bucket = state.buckets[b];
    commits_[b] = bucket.commits;
    if (!bucket.sequence) continue;
    round_.bucket(BucketIndex(b)).Commit(*bucket.sequence);
    ended_ = round_.SetAppended(BucketIndex(b));  // all of them only in the last round
  }
  // What its first update is still to say; whoever decided it has told of it.
  Actions told;
  if (!round_.bucket(BucketIndex(0)).sequence()) Pace(told);
  return absl::OkStatus();
}

}  // namespace isthmus
