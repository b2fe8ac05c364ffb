// What follows from events: agreement on the start, rounds, commits, the end; time.

#include "server/core/coordinator.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>

#include "common/run/loss.h"

namespace isthmus {
namespace {

ParameterGroupScalars Scalars(float lr, float weight_decay) {
  return {lr, static_cast<float>(1.0 - static_cast<double>(lr) * weight_decay)};
}

}  // namespace

Coordinator::Coordinator(CoordinatorConfig config)
    : config_(std::move(config)),
      membership_(config_.max_groups),
      deadline_(config_.deadline),
      due_clock_(config_.run.format.every),
      formats_(config_.run) {}

// --- time --------------------------------------------------------------------------------------

void Coordinator::Tick(absl::Time now, Actions& out) {
  last_tick_ = now;
  for (auto& [id, group] : membership_.groups()) {
    if (group.stream || now < group.stream_lost + config_.reconnect_grace) continue;
    StopAwaiting(group, "no stream within the grace period", out);
    // Nobody may come back with masters that the others, meanwhile, no longer start from.
    if (!training_ && group.in_sync) {
      group.in_sync = false;
      membership_.Touch();
    }
  }
  std::vector<TransferId> stalled;
  for (const auto& [id, t] : transfers_.all()) {
    if (now >= t.last_progress + config_.transfer_timeout) stalled.push_back(id);
  }
  for (TransferId id : stalled) TransferFailed(id, "no progress", now, out);
  Advance(now, out);
}

absl::Time Coordinator::NextWakeup() const {
  absl::Time next = absl::InfiniteFuture();
  if (training_ && !ended_ && !due_) next = due_clock_.NextAt();
  const bool mending =
      std::any_of(membership_.groups().begin(), membership_.groups().end(),
                  [](const auto& entry) { return entry.second.resync.has_value(); });
  for (const auto& [id, group] : membership_.groups()) {
    if (group.stream) continue;
    bool audited = false;
    for (const auto& [round, audit] : audits_) {
      audited |= !audit.decided() && OwesReport(round, audit, group);
    }
    const absl::Time gone = group.stream_lost + config_.reconnect_grace;
    if (round_.awaited().contains(id) || (group.in_sync && !training_) || audited ||
        (group.in_sync && mending && gone > last_tick_)) {
      next = std::min(next, gone);
    }
  }
  for (uint32_t b = 0; b < round_.bucket_count(); ++b) {
    if (round_.bucket(BucketIndex(b)).sequence()) continue;
    const absl::Time deadline = round_.WaitsUntil(BucketIndex(b), wait_rule());
    if (deadline > last_tick_) next = std::min(next, deadline);  // else it waits for groups
  }
  for (const auto& [id, t] : transfers_.all()) {
    next = std::min(next, t.last_progress + config_.transfer_timeout);
  }
  return next;
}

// --- what follows ------------------------------------------------------------------------------

void Coordinator::StopAwaiting(GroupState& group, const std::string& why, Actions& out) {
  arrivals_.Forget(group.id);
  if (!round_.StopAwaiting(group.id)) return;
  membership_.Touch();
  out.push_back(Happened{NotAwaited{round_.round(), group.id, why}});
}

absl::Status Coordinator::CheckNotOver() const {
  if (!ended_) return absl::OkStatus();
  for (const auto& [id, group] : membership_.groups()) {
    if (group.in_sync && !group.left) return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the run ended with round ", round_.round().value(),
                   ", and every group that held its parameters has left: a new run takes a new "
                   "coordinator"));
}

void Coordinator::TurnAwayLateJoiners(absl::Time now, Actions& out) {
  const absl::Status over = CheckNotOver();
  if (over.ok()) return;
  for (auto& [id, group] : membership_.groups()) {
    if (!group.ready || !group.stream || group.in_sync) continue;
    if (transfers_.Joining(id)) continue;  // whose donor may still give the rest
    const StreamId stream = *group.stream;
    group.ready = false;
    group.last_event = std::string(over.message());
    membership_.Touch();
    DetachStream(group, now, out);
    out.push_back(CloseStream{stream, over});
  }
}

void Coordinator::Advance(absl::Time now, Actions& out) {
  wakeup_moved_ = true;  // what leads here may have changed anything
  if (!layout_) return;
  TurnAwayLateJoiners(now, out);
  if (!training_) AgreeOnStart(now, out);
  DecideAudits(now, out);
  Reinstate(now, out);
  StartTransfers(now, out);
  if (training_) {
    SendStarts(out);
    SendDues(now, out);
    CommitWhatCan(now, out);
  }
}

void Coordinator::AgreeOnStart(absl::Time now, Actions& out) {
  uint32_t active = 0;
  std::vector<GroupState*> candidates;
  bool agreed = false;
  for (auto& [id, group] : membership_.groups()) {
    if (group.active()) ++active;
    if (group.in_sync) agreed = true;
    if (group.ready && group.stream) candidates.push_back(&group);
  }
  if (active >= config_.run.start_groups) {
    training_ = true;
    due_clock_.Begin(now);
    OpenNextRound(now, out);
    return;
  }
  if (agreed || candidates.size() < config_.run.start_groups) return;
  GroupState* donor = candidates.front();
  if (config_.run.initial_donor) {
    const auto named = std::find_if(candidates.begin(), candidates.end(), [&](GroupState* g) {
      return g->id == *config_.run.initial_donor;
    });
    if (named == candidates.end()) return;
    donor = *named;
  }
  donor->in_sync = true;
  membership_.Touch();
  out.push_back(SendUpdates{*donor->stream, Sequence(1)});
  out.push_back(Happened{ChosenDonor{donor->id}});
  AgreeOnStart(now, out);
}

void Coordinator::StartTransfers(absl::Time now, Actions& out) {
  for (auto& [id, joiner] : membership_.groups()) {
    if (!joiner.ready || !joiner.stream || joiner.in_sync || transfers_.Joining(id)) continue;
    // Who differed gets the state of who agreed; only if they are all gone, one not yet judged.
    const bool choosy = joiner.resync && SomebodyAgreed(*joiner.resync, now);
    for (auto& [donor_id, donor] : membership_.groups()) {
      if (!donor.in_sync || !donor.stream || transfers_.Donating(donor_id)) continue;
      if (choosy && donor.agreed < *joiner.resync) continue;  // it may differ as well
      const Transfer& t = transfers_.Start(donor_id, *donor.stream, id, *joiner.stream, now);
      out.push_back(StartTransfer{t.id, t.donor_stream, t.joiner_stream, joiner.applied_at_most});
      break;
    }
  }
}

absl::Duration Coordinator::DeadlineFor(const std::set<GroupId>& awaited) const {
  if (!config_.learn_deadline) return config_.deadline;
  // Who comes back within the grace has to send what was lost on the way.
  const absl::Duration least = config_.reconnect_grace + Arrivals::kSlack;
  return std::min(config_.deadline, std::max(least, arrivals_.Deadline(awaited, config_.deadline)));
}

void Coordinator::OpenNextRound(absl::Time now, Actions& out) {
  std::set<GroupId> awaited;
  for (const auto& [id, group] : membership_.groups()) {
    if (group.silent) continue;
    if (group.active_or_graced(now, config_.reconnect_grace)) awaited.insert(id);
  }
  const Round next = round_.round().next();
  deadline_ = DeadlineFor(awaited);
  round_ = OpenRound(next, ChunksOfRound(next), std::move(awaited), now);
  due_ = false;
  Pace(out);
  wakeup_moved_ |= due_clock_.needed();
  SendStarts(out);
}

void Coordinator::SendStarts(Actions& out) {
  uint32_t known = 0;
  for (const auto& [id, group] : membership_.groups()) {
    if (!group.left) ++known;
  }
  uint32_t index = 0;
  for (auto& [id, group] : membership_.groups()) {
    if (group.left) continue;
    if (group.active() && !group.started) {
      group.started = true;
      out.push_back(SendStart{*group.stream, index, std::max(known, config_.run.start_groups),
                              round_.round()});
    }
    ++index;
  }
}

void Coordinator::BecomesDue(absl::Time now, Actions& out) {
  if (!due_clock_.needed() || due_) return;
  due_ = true;
  due_clock_.Begin(now);
  SendDues(now, out);
}

void Coordinator::SendDues(absl::Time now, Actions& out) {
  if (ended_ || !due_clock_.needed()) return;
  if (!due_ && due_clock_.Due(now)) return BecomesDue(now, out);
  if (!due_) return;
  for (auto& [id, group] : membership_.groups()) {
    if (!group.active() || group.told_due == round_.round()) continue;
    group.told_due = round_.round();
    out.push_back(SendDue{*group.stream, round_.round()});
  }
}

void Coordinator::CommitWhatCan(absl::Time now, Actions& out) {
  for (uint32_t b = 0; b < round_.bucket_count(); ++b) CommitIfDue(BucketIndex(b), now, out);
}

void Coordinator::CommitIfDue(BucketIndex index, absl::Time now, Actions& out) {
  if (round_.bucket(index).sequence()) return;
  const BucketTally tally = round_.Tally(index, now, wait_rule());
  if (!MayCommit(tally, config_.run.min_groups)) return;
  if (tally.pending > 0) JudgePending(index, now, out);
  Commit(index, now, out);
}

void Coordinator::JudgePending(BucketIndex index, absl::Time now, Actions& out) {
  const std::set<GroupId> pending = round_.bucket(index).pending();  // StopAwaiting() changes it
  out.push_back(
      Happened{CommittedWithout{round_.round(), index, {pending.begin(), pending.end()}}});
  for (GroupId id : pending) {
    GroupState& group = membership_.groups().at(id);
    if (round_.Sends(id, now, deadline_)) {
      if (!group.too_slow) {
        ++counters_.groups_too_slow;
        group.last_event = absl::StrCat("too slow: late in round ", round_.round().value(),
                                        " though it sends: it should send less");
        out.push_back(Happened{FoundTooSlow{MemberOf(group), round_.round(), PhaseText(group)}});
      }
      group.too_slow = round_.round();
      continue;
    }
    // A broken stream has the grace period for itself (P9).
    if (!group.stream) continue;
    ++counters_.groups_silent;
    group.silent = true;
    group.last_event =
        absl::StrCat("silent: sent nothing within the deadline of round ", round_.round().value());
    round_.StopAwaiting(id);
    arrivals_.Forget(id);
    membership_.Touch();
    out.push_back(Happened{FoundSilent{MemberOf(group), round_.round(), PhaseText(group)}});
  }
}

void Coordinator::NoteWhoIsInTime(absl::Time now, Actions& out) {
  std::map<GroupId, absl::Duration> lags = round_.Lags();
  for (auto& [id, group] : membership_.groups()) {
    // It would have come later still.
    if (group.too_slow == round_.round()) lags[id] = 2 * deadline_;
  }
  arrivals_.RoundOver(now - round_.opened(), lags);
  for (auto& [id, group] : membership_.groups()) {
    if (!group.too_slow || *group.too_slow >= round_.round()) continue;
    if (round_.CompleteBuckets(id) < round_.bucket_count()) continue;
    group.too_slow.reset();
    group.last_event = absl::StrCat("in time again, in round ", round_.round().value());
    out.push_back(Happened{InTimeAgain{MemberOf(group), round_.round()}});
  }
}

void Coordinator::Heard(GroupState& group, Actions& out) {
  if (!group.silent) return;
  group.silent = false;
  group.last_event = "sends again";
  out.push_back(Happened{SendsAgain{MemberOf(group)}});
}

namespace {

// What a round adds to those of the run: by who has contributed to its first bucket.
RunTotals TotalsOf(const BucketRound& bucket) {
  RunTotals totals;
  for (const auto& [group, contribution] : bucket.contributions()) {
    if (!contribution.complete(bucket.chunks())) continue;
    const ContributionInfo& info = contribution.info();
    totals.Add({.samples = info.samples});
    totals.steps = std::max(totals.steps, info.steps);
  }
  return totals;
}

}  // namespace

UpdateHeader Coordinator::MakeUpdate(BucketIndex index, Actions& out) {
  const BucketRound& bucket = round_.bucket(index);
  UpdateHeader update;
  update.sequence = last_sequence_;
  update.round = round_.round();
  update.bucket = index;
  const Contribution* first = nullptr;
  for (const auto& [group, contribution] : bucket.contributions()) {  // ascending group id
    if (!contribution.complete(bucket.chunks())) continue;
    const ContributionInfo& info = contribution.info();
    update.contributors.push_back({group, contribution.incarnation(), info.samples, info.loss});
    if (first == nullptr) {
      first = &contribution;
    } else if (info.lr != first->info().lr || info.weight_decay != first->info().weight_decay) {
      ++counters_.scalar_mismatches;
      out.push_back(
          Happened{RatesDiffer{round_.round(), index, group, update.contributors.front().group}});
    }
  }
  if (index == BucketIndex(0)) {
    update.totals = totals_;
    update.totals.Add(TotalsOf(bucket));
    update.change = change_;
  }
  if (first == nullptr) return update;
  for (size_t g = 0; g < first->info().lr.size(); ++g) {
    update.scalars.push_back(Scalars(first->info().lr[g], first->info().weight_decay[g]));
  }
  const uint64_t t = commits_[index.value()] + 1;
  update.first = t == 1;
  const OptimizerSpec& optimizer = config_.run.optimizer;
  if (optimizer.kind == OptimizerKind::kAdamW) {
    const double steps = static_cast<double>(t);
    update.bias1 = static_cast<float>(1.0 - std::pow(double{optimizer.beta1}, steps));
    update.bias2_sqrt =
        static_cast<float>(std::sqrt(1.0 - std::pow(double{optimizer.beta2}, steps)));
  }
  return update;
}

void Coordinator::Commit(BucketIndex index, absl::Time now, Actions& out) {
  BucketRound& bucket = round_.bucket(index);
  ++last_sequence_;
  bucket.Commit(last_sequence_);
  in_log_queue_[last_sequence_] = index;
  MergeBucket merge{MakeUpdate(index, out), {}};
  for (const Contributor& c : merge.update.contributors) {
    merge.waited.push_back(round_.WaitedBy(c.group, now));
  }
  for (GroupId dropped : bucket.DropAllIncomplete()) {
    out.push_back(DropContribution{dropped, round_.round(), index});
  }
  out.push_back(std::move(merge));
  for (auto& [id, group] : membership_.groups()) {
    if (!group.active() || bucket.Answered(id)) continue;
    if (round_.awaited().contains(id) || group.silent) {
      ++counters_.contributions_late;
      ++group.contributions_late;
    }
    out.push_back(SendClosed{*group.stream, round_.round(), index});
  }
}

// Not before: whoever is started again decides anew what was not yet in the log.
void Coordinator::CountCommit(BucketIndex index) {
  const auto& contributions = round_.bucket(index).contributions();  // complete ones
  if (contributions.empty()) return;
  ++commits_[index.value()];
  WeightedLoss loss;
  for (const auto& [id, contribution] : contributions) {
    const ContributionInfo& info = contribution.info();
    loss.Add(info.loss, info.samples);
    GroupState& group = membership_.groups().at(id);
    ++group.contributions_merged;
    if (std::isfinite(info.loss)) group.last_loss = info.loss;
  }
  if (index == BucketIndex(0)) totals_.Add(TotalsOf(round_.bucket(index)));
  counters_.contributions_merged += contributions.size();
  counters_.losses_left_out += index == BucketIndex(0) ? loss.left_out() : 0;
  if (loss.left_out() < contributions.size()) last_loss_ = loss.Mean();
}

}  // namespace isthmus
