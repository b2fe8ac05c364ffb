#include "worker/core/worker_core.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/run/loss.h"

namespace isthmus {

// --- the stream --------------------------------------------------------------------------------

void WorkerCore::StreamOpened(WorkerActions& out) {
  connected_ = true;
  in_sync_ = false;
  out.push_back(SendHello{applied_});
}

void WorkerCore::StreamLost() {
  connected_ = false;
  in_sync_ = false;
  asked_.reset();
}

absl::Status WorkerCore::Welcomed(Sequence next, WorkerActions& out) {
  if (next == Sequence(0)) return absl::OkStatus();
  if (next > applied_.next()) {
    return absl::InternalError(absl::StrCat("the coordinator would send updates from sequence ",
                                            next.value(), ", expected ", applied_.value() + 1));
  }
  in_sync_ = true;
  out.push_back(ResendAnswers{});
  return absl::OkStatus();
}

void WorkerCore::Started(uint32_t group_index, uint32_t group_count, WorkerActions& out) {
  if (buckets_.empty()) return;  // of a job that has gone: the next one's Ready leads to another
  in_sync_ = true;
  has_state_ = true;
  if (!job_attached_ || job_loaded_) return;
  job_loaded_ = true;
  for (Bucket& bucket : buckets_) bucket.stale = false;
  out.push_back(LoadJob{});
  const RoundFormat& next = formats_.At(AppliedRound().next());
  out.push_back(FinishAttach{group_index, group_count, AppliedRound(), totals_, next.every.steps,
                             next.overlap});
  NameStepIfDue(out);
}

void WorkerCore::DueArrived(Round round, WorkerActions& out) {
  due_ = std::max(due_, round);
  NameStepIfDue(out);
}

void WorkerCore::NameStepIfDue(WorkerActions& out) {
  if (!config_.names_steps || !job_loaded_ || named_) return;
  // Of a run that is over, too: the job has to hear of it.
  if (!ended() && (due_ <= outcome_.round || due_ <= AppliedRound())) return;
  named_ = true;
  out.push_back(NameStep{});
}

absl::Status WorkerCore::UpdateArrived(const UpdateHeader& update, absl::Duration peer_wait,
                                       WorkerActions& out) {
  if (update.sequence <= applied_) return absl::OkStatus();  // had it already
  if (update.sequence != applied_.next()) {
    return absl::DataLossError(absl::StrCat("update sequence ", update.sequence.value(),
                                            ": expected ", applied_.value() + 1));
  }
  if (update.bucket.value() >= buckets_.size()) {
    return absl::DataLossError(absl::StrCat("update of bucket ", update.bucket.value(),
                                            ": expected below ", buckets_.size()));
  }
  Bucket& bucket = buckets_[update.bucket.value()];
  if (update.round != bucket.applied.next()) {
    return absl::DataLossError(absl::StrCat("bucket ", update.bucket.value(), ": update of round ",
                                            update.round.value(), ", expected ",
                                            bucket.applied.value() + 1));
  }
  if (update.change) {
    const absl::Status follows = CheckFollows(config_.run, formats_, *update.change, update.round);
    if (!follows.ok()) {
      return absl::DataLossError(absl::StrCat("update sequence ", update.sequence.value(), ": ",
                                              std::string(follows.message())));
    }
    formats_.Change(*update.change);
  }
  ApplyUpdate apply{update.sequence, update.bucket, Credit::kNone, Giving()};
  const bool listed = update.Lists(config_.group, config_.incarnation);
  if (bucket.answer == update.round) {
    if (bucket.contributed) apply.credit = listed ? Credit::kMerged : Credit::kReturn;
    if (apply.credit == Credit::kReturn) ++returned_;
    bucket.answer.reset();
    out.push_back(ForgetAnswer{update.round, update.bucket});
  }
  applied_ = update.sequence;
  bucket.applied = update.round;
  bucket.stale = !apply.gather;
  out.push_back(apply);
  outcome_.peer_wait = peer_wait;
  if (listed) ++outcome_.merged_here;
  if (update.bucket == BucketIndex(0)) {
    totals_ = update.totals;
    outcome_.contributors = static_cast<uint32_t>(update.contributors.size());
    WeightedLoss loss;
    for (const Contributor& c : update.contributors) loss.Add(c.loss, c.samples);
    if (outcome_.contributors > 0) outcome_.loss = loss.Mean();
  }
  Advance(out);
  if (AppliedRound() == update.round) FinishRound(update.round, out);
  if (ended()) NameStepIfDue(out);
  GiveSnapshotIfDue(out);
  return absl::OkStatus();
}

void WorkerCore::FinishRound(Round round, WorkerActions& out) {
  const bool audit = config_.audit_rounds != 0 && round.value() % config_.audit_rounds == 0;
  if (audit || ended()) out.push_back(ReportHash{round, audit});
}

void WorkerCore::ClosedArrived(Round round, BucketIndex bucket, WorkerActions& out) {
  out.push_back(StopSending{round, bucket});
}

void WorkerCore::ContributionRefused(Round round, BucketIndex index, const std::string& reason,
                                     WorkerActions& out) {
  if (index.value() >= buckets_.size()) return;
  Bucket& bucket = buckets_[index.value()];
  if (bucket.answer != round || !bucket.contributed) return;  // decided meanwhile
  if (!bucket.refused) {
    bucket.refused = true;
    // In its place, now and after a reconnect.
    out.push_back(StopSending{round, index});
    out.push_back(SendAbstain{round, index, AbstainReason::kRefused});
  }
  if (!bucket.of_step) return;
  outcome_.refused = absl::InvalidArgumentError(absl::StrCat(
      "group ", config_.group.value(), ": the coordinator refused this step's ",
      "contribution to round ", round.value(), " bucket ", index.value(), ": ", reason));
  if (step_) FailIfRefused(out);  // else the job has gone on, and hears of it with its next step
}

// Of a job that steps by itself: its way so far has been taken in, and must not be once more.
bool WorkerCore::FailIfRefused(WorkerActions& out) {
  if (outcome_.refused.ok()) return false;
  step_.reset();
  if (config_.job_steps) GatherAll(Gathering::kAnchor, out);
  out.push_back(FailStep{std::exchange(outcome_.refused, absl::OkStatus())});
  return true;
}

absl::Status WorkerCore::SnapshotAsked(TransferId transfer, Sequence at_least, WorkerActions& out) {
  if (buckets_.empty()) {
    return absl::FailedPreconditionError("asked for a snapshot before any job has attached");
  }
  // Others start from these masters now: another job's parameters must not replace them.
  has_state_ = true;
  asked_ = {transfer, at_least};
  GiveSnapshotIfDue(out);
  return absl::OkStatus();
}

void WorkerCore::GiveSnapshotIfDue(WorkerActions& out) {
  if (!asked_ || applied_ < asked_->second) return;
  GiveSnapshot give{asked_->first, applied_, AppliedRound(), {}, totals_, {}};
  if (formats_.last() > Round(0)) give.formats = formats_.From(AppliedRound().next());
  for (const Bucket& bucket : buckets_) give.applied_rounds.push_back(bucket.applied);
  asked_.reset();
  out.push_back(std::move(give));
}

void WorkerCore::SnapshotAborted(TransferId transfer) {
  if (asked_ && asked_->first == transfer) asked_.reset();
}

absl::Status WorkerCore::SnapshotArrived(TransferId transfer, Sequence sequence,
                                         std::vector<Round> applied_rounds, const RunTotals& totals,
                                         std::vector<FormatChange> formats, WorkerActions& out) {
  if (applied_rounds.size() != buckets_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("snapshot of ", applied_rounds.size(),
                                                   " buckets, expected ", buckets_.size()));
  }
  if (sequence < applied_) {
    return absl::InvalidArgumentError(absl::StrCat("snapshot as of update ", sequence.value(),
                                                   ": expected at least ", applied_.value()));
  }
  RoundFormats following = formats_;
  for (const FormatChange& change : formats) {
    ISTHMUS_RETURN_IF_ERROR(CheckFollows(config_.run, following, change, Round(0)));
    following.Change(change);
  }
  formats_ = std::move(following);
  bool undecided = false;
  for (size_t b = 0; b < buckets_.size(); ++b) {
    Bucket& bucket = buckets_[b];
    if (bucket.answer && *bucket.answer > applied_rounds[b]) {
      undecided = true;
    } else if (bucket.answer) {
      out.push_back(ForgetAnswer{*bucket.answer, BucketIndex(static_cast<uint32_t>(b))});
      bucket.answer.reset();
    }
    bucket.applied = applied_rounds[b];
    bucket.stale = true;
  }
  out.push_back(
      InstallSnapshot{transfer, !has_state_, std::move(applied_rounds), std::move(formats)});
  out.push_back(SendCaughtUp{transfer, sequence});
  if (undecided) out.push_back(ResendAnswers{});
  applied_ = sequence;
  totals_ = totals;
  in_sync_ = true;
  has_state_ = true;
  if (ended()) out.push_back(ReportHash{AppliedRound()});
  if (Giving()) GatherStale(out);
  Advance(out);
  if (ended()) NameStepIfDue(out);
  return absl::OkStatus();
}

// --- the job -----------------------------------------------------------------------------------

void WorkerCore::JobAttached(uint32_t buckets, WorkerActions& out) {
  ISTHMUS_CHECK(buckets_.empty() || buckets_.size() == buckets || !has_state_);
  if (buckets_.size() != buckets) buckets_.assign(buckets, Bucket{});
  job_attached_ = true;
  job_loaded_ = false;
  if (!has_state_) out.push_back(AdoptJobParameters{});
  out.push_back(AnnounceReady{});
}

void WorkerCore::DropBuckets() {
  ISTHMUS_CHECK(!has_state_);
  buckets_.clear();
}

void WorkerCore::JobLost(const std::string& reason, WorkerActions& out) {
  // Gradients that all ranks have handed over are whole: what is in the pipeline goes on.
  job_attached_ = false;
  job_loaded_ = false;
  step_.reset();
  outcome_ = Outcome();
  named_ = false;
  for (Bucket& bucket : buckets_) bucket.of_step = false;
  out.push_back(AnnounceNotReady{reason});
}

void WorkerCore::StepBegun(const StepWants& wants, bool skip, WorkerActions& out) {
  if (FailIfRefused(out)) return;
  if (ended() && !wants.anchor) return FinishRun(out);
  step_ = Step{.wants = wants, .skip = skip};
  if (OverlapsRounds()) step_->wants = {.give_first = true, .take = true, .give = false};
  // What has come since the job went on.
  const StepWants& now = step_->wants;
  if (now.give_first || (now.give && !now.take)) GatherStale(out);
  Advance(out);
}

// Behind whatever may have let a step get on. What it wants is crossed out as it is done, so that a
// round which was taken in first is given first.
void WorkerCore::Advance(WorkerActions& out) {
  if (!step_) return;
  StepWants& wants = step_->wants;
  if (wants.anchor) {
    // Others may be waiting for this group, which waits for them now.
    if (!InOneRound()) return AbstainFromOpen(AppliedRound().next(), out);
    for (uint32_t b = 0; b < buckets_.size(); ++b) {
      out.push_back(GatherBucket{BucketIndex(b), Gathering::kShow});
    }
    wants.anchor = false;
    step_->finish.shown = true;
  }
  if (wants.give_first) {
    if (AppliedRound() < outcome_.round) return;
    // Else it is this job's first step, or the one before has waited for its own.
    if (outcome_.round > Round(0) && !outcome_.given) step_->finish = Given();
    wants.give_first = false;
    if (ended()) return FinishRun(out);  // there is no round to take anything into
  }
  if (wants.take) {
    // Others may have gone on without this group, and be in the midst of the round: then it, like
    // the run's last, is waited for here, so that parameters are of one round.
    const bool between_rounds = InOneRound();
    Take(out);
    wants.take = false;
    wants.give |= OverlapsRounds() && (!between_rounds || outcome_.round == config_.last_round);
  }
  if (wants.give) {
    if (AppliedRound() < outcome_.round) return;
    const uint32_t before = step_->finish.nonfinite;  // of a round that was given first
    step_->finish = Given();
    step_->finish.nonfinite += before;
  }
  step_->finish.round = AppliedRound();
  step_->finish.totals = totals_;
  // What was taken in last is exchanged already; from there to the next exchange.
  const RoundFormat& next = formats_.At(std::max(outcome_.round, AppliedRound()).next());
  step_->finish.every = next.every.steps;
  step_->finish.overlap = next.overlap;
  out.push_back(step_->finish);
  step_.reset();
}

FinishStep WorkerCore::Given() {
  outcome_.given = true;
  return {.contributors = outcome_.contributors,
          .merged_here = outcome_.merged_here,
          .loss = outcome_.loss,
          .peer_wait = outcome_.peer_wait,
          .nonfinite = outcome_.nonfinite};
}

void WorkerCore::Take(WorkerActions& out) {
  const Round round = AppliedRound().next();
  outcome_ = Outcome{.round = round};
  named_ = false;
  const bool goes_on = config_.job_steps && step_->wants.goes_on();
  if (step_->skip) AbstainFromOpen(round, out);
  for (uint32_t b = 0; b < buckets_.size(); ++b) {
    Bucket& bucket = buckets_[b];
    const BucketIndex index(b);
    const bool open = bucket.applied < round && !bucket.answer;
    if (!step_->skip) {
      out.push_back(ProcessBucket{round, index, open, goes_on});
      if (open) Answer(bucket, round, true);
    }
    // Decided already: it is given now, and not with the round. What was taken in of a job that
    // steps by itself is measured from where it is given next, so that has to be.
    if (bucket.applied >= round && (bucket.stale || (config_.job_steps && !step_->skip))) {
      out.push_back(GatherBucket{index});
      bucket.stale = false;
    }
  }
  NameStepIfDue(out);
}

void WorkerCore::AbstainFromOpen(Round round, WorkerActions& out) {
  for (uint32_t b = 0; b < buckets_.size(); ++b) {
    Bucket& bucket = buckets_[b];
    if (bucket.applied >= round || bucket.answer) continue;
    Answer(bucket, round, false);
    out.push_back(SendAbstain{round, BucketIndex(b), AbstainReason::kSkipped});
  }
}

void WorkerCore::Answer(Bucket& bucket, Round round, bool contributed) {
  bucket.answer = round;
  bucket.contributed = contributed;
  bucket.refused = false;
  bucket.of_step = true;
}

void WorkerCore::NonFinite(Round round, BucketIndex index, WorkerActions& out) {
  ++nonfinite_;
  if (round == outcome_.round) ++outcome_.nonfinite;
  Bucket& bucket = buckets_[index.value()];
  if (bucket.answer != round || !bucket.contributed) return;  // decided meanwhile, or not sent
  bucket.contributed = false;
  out.push_back(SendAbstain{round, index, AbstainReason::kNonFinite});
}

void WorkerCore::GatherStale(WorkerActions& out) {
  for (uint32_t b = 0; b < buckets_.size(); ++b) {
    if (buckets_[b].stale) out.push_back(GatherBucket{BucketIndex(b)});
    buckets_[b].stale = false;
  }
}

void WorkerCore::GatherAll(Gathering how, WorkerActions& out) {
  for (uint32_t b = 0; b < buckets_.size(); ++b) {
    out.push_back(GatherBucket{BucketIndex(b), how});
    buckets_[b].stale = false;
  }
}

// The masters are those of one round, of the last that this group takes part in or a later one.
bool WorkerCore::InOneRound() const {
  return AppliedRound() >= outcome_.round && std::ranges::all_of(buckets_, [&](const Bucket& b) {
           return b.applied == AppliedRound();
         });
}

void WorkerCore::FinishRun(WorkerActions& out) {
  step_.reset();
  // The last updates may have come outside a step, and a job that steps by itself has gone on
  // since; it is to end with the run's parameters.
  if (config_.job_steps) {
    GatherAll(Gathering::kAnchor, out);
  } else {
    GatherStale(out);
  }
  out.push_back(FinishStep{.round = AppliedRound(), .end = true, .totals = totals_});
}

// --- status ------------------------------------------------------------------------------------

Round WorkerCore::AppliedRound() const {
  if (buckets_.empty()) return Round(0);
  return std::min_element(buckets_.begin(), buckets_.end(),
                          [](const Bucket& a, const Bucket& b) { return a.applied < b.applied; })
      ->applied;
}

uint32_t WorkerCore::undecided() const {
  return static_cast<uint32_t>(std::ranges::count_if(
      buckets_, [](const Bucket& bucket) { return bucket.answer.has_value(); }));
}

std::string WorkerCore::WaitingFor() const {
  if (!job_attached_) return "waiting for all local ranks to attach";
  if (!connected_) return "waiting for the coordinator";
  if (!job_loaded_) return "waiting for the run to start";
  if (step_) return absl::StrCat("in round ", outcome_.round.value());
  return "";
}

}  // namespace isthmus
