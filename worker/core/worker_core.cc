#include "worker/core/worker_core.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/check.h"
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
  out.push_back(FinishAttach{group_index, group_count, AppliedRound()});
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
  ApplyUpdate apply{update.sequence, update.bucket, Credit::kNone, step_.has_value()};
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
  if (step_) {
    step_->peer_wait = peer_wait;
    if (listed) ++step_->merged_here;
    if (update.bucket == BucketIndex(0)) {
      step_->contributors = static_cast<uint32_t>(update.contributors.size());
      WeightedLoss loss;
      for (const Contributor& c : update.contributors) loss.Add(c.loss, c.samples);
      if (step_->contributors > 0) step_->loss = loss.Mean();
    }
  }
  FinishStepIfDone(out);
  if (AppliedRound() == update.round) FinishRound(update.round, out);
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
  if (!step_ || !bucket.of_step) return;
  step_.reset();
  if (config_.job_steps) GatherAll(out);
  out.push_back(FailStep{absl::InvalidArgumentError(absl::StrCat(
      "group ", config_.group.value(), ": the coordinator refused this step's ",
      "contribution to round ", round.value(), " bucket ", index.value(), ": ", reason))});
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
  GiveSnapshot give{asked_->first, applied_, AppliedRound(), {}};
  for (const Bucket& bucket : buckets_) give.applied_rounds.push_back(bucket.applied);
  asked_.reset();
  out.push_back(std::move(give));
}

void WorkerCore::SnapshotAborted(TransferId transfer) {
  if (asked_ && asked_->first == transfer) asked_.reset();
}

absl::Status WorkerCore::SnapshotArrived(TransferId transfer, Sequence sequence,
                                         std::vector<Round> applied_rounds, WorkerActions& out) {
  if (applied_rounds.size() != buckets_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("snapshot of ", applied_rounds.size(),
                                                   " buckets, expected ", buckets_.size()));
  }
  if (sequence < applied_) {
    return absl::InvalidArgumentError(absl::StrCat("snapshot as of update ", sequence.value(),
                                                   ": expected at least ", applied_.value()));
  }
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
  out.push_back(InstallSnapshot{transfer, !has_state_, std::move(applied_rounds)});
  out.push_back(SendCaughtUp{transfer, sequence});
  if (undecided) out.push_back(ResendAnswers{});
  applied_ = sequence;
  in_sync_ = true;
  has_state_ = true;
  if (ended()) out.push_back(ReportHash{AppliedRound()});
  if (!step_) return absl::OkStatus();
  for (size_t b = 0; b < buckets_.size(); ++b) {
    out.push_back(GatherBucket{BucketIndex(static_cast<uint32_t>(b))});
    buckets_[b].stale = false;
  }
  FinishStepIfDone(out);
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
  for (Bucket& bucket : buckets_) bucket.of_step = false;
  out.push_back(AnnounceNotReady{reason});
}

void WorkerCore::StepBegun(bool skip, WorkerActions& out) {
  if (ended()) return FinishRun(out);
  const Round round = AppliedRound().next();
  step_ = Step{.round = round};
  for (uint32_t b = 0; b < buckets_.size(); ++b) {
    Bucket& bucket = buckets_[b];
    const BucketIndex index(b);
    const bool open = bucket.applied < round && !bucket.answer;
    if (skip) {
      if (open) {
        Answer(bucket, round, false);
        out.push_back(SendAbstain{round, index, AbstainReason::kSkipped});
      }
    } else {
      out.push_back(ProcessBucket{round, index, open});
      if (open) Answer(bucket, round, true);
    }
    if (bucket.stale && bucket.applied >= round) {
      out.push_back(GatherBucket{index});
      bucket.stale = false;
    }
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
  Bucket& bucket = buckets_[index.value()];
  if (bucket.answer != round || !bucket.contributed) return;  // decided meanwhile, or not sent
  bucket.contributed = false;
  out.push_back(SendAbstain{round, index, AbstainReason::kNonFinite});
}

void WorkerCore::FinishStepIfDone(WorkerActions& out) {
  if (!step_ || AppliedRound() < step_->round) return;
  out.push_back(FinishStep{.round = AppliedRound(),
                           .end = false,
                           .contributors = step_->contributors,
                           .merged_here = step_->merged_here,
                           .loss = step_->loss,
                           .peer_wait = step_->peer_wait});
  step_.reset();
}

// Of a job that steps by itself: its way so far has been taken in, and must not be once more.
void WorkerCore::GatherAll(WorkerActions& out) {
  for (uint32_t b = 0; b < buckets_.size(); ++b) {
    out.push_back(GatherBucket{BucketIndex(b)});
    buckets_[b].stale = false;
  }
}

void WorkerCore::FinishRun(WorkerActions& out) {
  // The last updates may have come outside a step, and a job that steps by itself has gone on
  // since; it is to end with the run's parameters.
  for (uint32_t b = 0; b < buckets_.size() && !config_.job_steps; ++b) {
    if (buckets_[b].stale) out.push_back(GatherBucket{BucketIndex(b)});
    buckets_[b].stale = false;
  }
  if (config_.job_steps) GatherAll(out);
  out.push_back(FinishStep{.round = AppliedRound(), .end = true});
}

// --- status ------------------------------------------------------------------------------------

Round WorkerCore::AppliedRound() const {
  if (buckets_.empty()) return Round(0);
  return std::min_element(buckets_.begin(), buckets_.end(),
                          [](const Bucket& a, const Bucket& b) { return a.applied < b.applied; })
      ->applied;
}

std::string WorkerCore::WaitingFor() const {
  if (!job_attached_) return "waiting for all local ranks to attach";
  if (!connected_) return "waiting for the coordinator";
  if (!job_loaded_) return "waiting for the run to start";
  if (step_) return absl::StrCat("in round ", step_->round.value());
  return "";
}

}  // namespace isthmus
