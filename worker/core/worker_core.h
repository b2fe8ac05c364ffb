// A worker daemon's decisions: join, train, recover. Events in, actions out; no network, clock,
// thread or parameter. worker/daemon performs the actions; worker/step does the arithmetic, each
// rank in exactly the order in which actions are emitted here.
//
// The rules it keeps (docs/protocol.md, P8, P12, P13, P15, P16, P22): updates are applied in
// sequence, each once; a step joins the oldest round known to be open, answers every bucket of it
// that is still open, once, and ends when the round is applied; what was extracted stays in flight
// until the update of its (round, bucket) says whether it was merged, and goes back into the
// momentum if it was not; what the coordinator refused is never sent again, and ends the step that
// made it; the state is hashed at the end of audited rounds. With overlap (P29, P31) a step ends
// once what it has is taken in, and a later one waits for the round.
#ifndef ISTHMUS_WORKER_CORE_WORKER_CORE_H_
#define ISTHMUS_WORKER_CORE_WORKER_CORE_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/ids.h"
#include "common/run/round_format.h"
#include "common/run/run_spec.h"
#include "common/run/update.h"
#include "worker/core/step_wants.h"

namespace isthmus {

// --- actions -----------------------------------------------------------------------------------

// Control plane, in this order and retried until answered.
struct AnnounceReady {};
struct AnnounceNotReady {
  std::string reason;
};

// Data plane. Contributions and abstentions are kept until ForgetAnswer and sent again, from
// their first byte, by ResendAnswers.
struct SendHello {
  Sequence applied;
};
struct SendAbstain {
  Round round;
  BucketIndex bucket;
  AbstainReason reason;
};
struct StopSending {
  Round round;
  BucketIndex bucket;
};
struct ForgetAnswer {
  Round round;
  BucketIndex bucket;
};
struct ResendAnswers {};
struct SendCaughtUp {
  TransferId transfer;
  Sequence sequence;
};

// Arithmetic: every rank performs these in the order emitted.
//
// What becomes of the way that a job has gone since it was taken in (job_goes_on).
enum class Gathering : uint8_t {
  kWithWay,  // it is added; none, if the job did not go on
  kAnchor,   // it is dropped
  kShow      // it stays, and what the job goes by as well: its buffers hold the anchor for a while
};
// Masters become the job's parameters: this group may be the one that all start from.
struct AdoptJobParameters {};
// The job's buffers become the masters.
struct LoadJob {};
// Reduce-scatter of `bucket`, momentum update, and, if `extract`, extraction and sending. With
// `job_goes_on` the job steps on from what its buffers hold, until a GatherBucket or ApplyUpdate
// that gathers.
struct ProcessBucket {
  Round round;
  BucketIndex bucket;
  bool extract = false;
  bool job_goes_on = false;
};
enum class Credit : uint8_t {
  kNone,    // nothing of ours was in flight for this bucket
  kMerged,  // it was merged: forget what was taken
  kReturn,  // it was not: add back exactly what was taken
};
// Apply the update that arrived with this sequence; then, if `gather`, all-gather the bucket into
// the job's buffers.
struct ApplyUpdate {
  Sequence sequence;
  BucketIndex bucket;
  Credit credit = Credit::kNone;
  bool gather = false;
};
// The bucket of the job's buffers becomes the masters.
struct GatherBucket {
  BucketIndex bucket;
  Gathering how = Gathering::kWithWay;
};
// Copy the state as of `sequence` and send it as transfer `transfer`.
struct GiveSnapshot {
  TransferId transfer;
  Sequence sequence;
  Round round;
  std::vector<Round> applied_rounds;  // per bucket
  RunTotals totals;
  std::vector<FormatChange> formats;  // of rounds after `round`, as far as they are known
};
// The masters become the state that arrived as `transfer`; what was taken for a bucket is
// forgotten up to the round that the state holds, and with `reset_momentum` all of it and the
// momentum too.
struct InstallSnapshot {
  TransferId transfer;
  bool reset_momentum = false;
  std::vector<Round> applied_rounds;  // per bucket
  std::vector<FormatChange> formats;
};
// Hash the masters, bucket by bucket; `round` is the last one applied. The whole goes with the
// heartbeat, and with `audit` the hashes of the buckets over the stream.
struct ReportHash {
  Round round;
  bool audit = false;
};

// The job. After what was emitted before them has been done.
struct FinishAttach {
  uint32_t group_index = 0;
  uint32_t group_count = 0;
  Round round;
  RunTotals totals;    // of the run, that round included
  uint32_t every = 1;  // steps of the job to its next exchange
  uint32_t overlap = 0;
};
struct FinishStep {
  Round round;
  bool end = false;
  bool shown = false;         // the anchor, and nothing else
  bool gave = true;           // the round is in the job's parameters; else there is nothing below
  uint32_t contributors = 0;  // of the first bucket
  uint32_t merged_here = 0;   // buckets that this group is part of
  float loss = 0;             // mean over contributors, by samples (common/run/loss.h)
  absl::Duration peer_wait;
  uint32_t nonfinite = 0;  // buckets of it that this group could not take in
  RunTotals totals;      // of the run, `round` included; or one more that this group had no part in
  uint32_t every = 0;    // steps of the job from this exchange to the next; 0: as it was
  uint32_t overlap = 0;  // of that next one
};
// The step will not be finished: the job is told why, and its session ends.
struct FailStep {
  absl::Status status;
};
// Its ranks are to stop at the next step that they can agree on, and begin an exchange.
struct NameStep {};

using WorkerAction =
    std::variant<AnnounceReady, AnnounceNotReady, SendHello, SendAbstain, StopSending, ForgetAnswer,
                 ResendAnswers, SendCaughtUp, AdoptJobParameters, LoadJob, ProcessBucket,
                 ApplyUpdate, GatherBucket, GiveSnapshot, InstallSnapshot, ReportHash, FinishAttach,
                 FinishStep, FailStep, NameStep>;
using WorkerActions = std::vector<WorkerAction>;

// --- the machine -------------------------------------------------------------------------------

struct WorkerCoreConfig {
  GroupId group;
  Incarnation incarnation;
  Round last_round;           // the run ends with it; 0: no end
  uint32_t audit_rounds = 0;  // the state is audited after every multiple of it; 0: never
  bool job_steps = false;     // the job's parameters move between rounds as well
  bool names_steps = false;   // and the coordinator says when they are to be taken in
  RunSpec run;                // whose rounds' formats may change
};

// Single-threaded. Errors are the coordinator's: the stream should be ended and opened again.
class WorkerCore {
 public:
  explicit WorkerCore(WorkerCoreConfig config)
      : config_(std::move(config)), formats_(config_.run) {}

  // --- the stream ------------------------------------------------------------------------------
  void StreamOpened(WorkerActions& out);
  void StreamLost();
  // `next` is the sequence from which updates will follow; 0: a snapshot or Start comes first.
  // Errors: INTERNAL if updates would leave a gap.
  absl::Status Welcomed(Sequence next, WorkerActions& out);
  void Started(uint32_t group_index, uint32_t group_count, WorkerActions& out);
  // Errors: DATA_LOSS for a gap in the sequence or the rounds, or formats that cannot follow.
  absl::Status UpdateArrived(const UpdateHeader& update, absl::Duration peer_wait,
                             WorkerActions& out);
  // The round is to be taken in, if this group has not done so yet.
  void DueArrived(Round round, WorkerActions& out);
  void ClosedArrived(Round round, BucketIndex bucket, WorkerActions& out);
  // The coordinator will never take this contribution: an abstention takes its place. What was
  // extracted for it stays in flight until the update, which does not list it, gives it back (P12).
  // The step that made it fails; who made it may be gone by now.
  void ContributionRefused(Round round, BucketIndex bucket, const std::string& reason,
                           WorkerActions& out);
  // Gives a snapshot as soon as `at_least` is applied, which may be now. One is asked for at a
  // time. Errors: FAILED_PRECONDITION when there is no state to give.
  absl::Status SnapshotAsked(TransferId transfer, Sequence at_least, WorkerActions& out);
  // Nobody waits for it any more.
  void SnapshotAborted(TransferId transfer);
  // All of a snapshot is here. A new joiner's momentum is zero; that of a worker that had fallen
  // behind stays, only what it had in flight for rounds within the snapshot is forgotten, since
  // nobody can tell any more whether it was merged. What is still undecided stays in flight and is
  // sent again: others may be waiting for it. Errors: INVALID_ARGUMENT for another number of
  // buckets, formats that cannot follow, or a snapshot of less than has been applied: who went back
  // would answer rounds twice.
  // That happens when one was given up after it had come whole; the next Hello says how far it led.
  absl::Status SnapshotArrived(TransferId transfer, Sequence sequence,
                               std::vector<Round> applied_rounds, const RunTotals& totals,
                               std::vector<FormatChange> formats, WorkerActions& out);

  // --- the job ---------------------------------------------------------------------------------
  // All ranks have attached; the flat vector has `buckets` buckets.
  void JobAttached(uint32_t buckets, WorkerActions& out);
  void JobLost(const std::string& reason, WorkerActions& out);
  // Another layout will take the place of a state that was not yet the run's: until the next
  // JobAttached there is nothing to give.
  void DropBuckets();
  // All ranks handed over what they have; `skip`: it is unusable.
  void StepBegun(const StepWants& wants, bool skip, WorkerActions& out);

  // --- the arithmetic --------------------------------------------------------------------------
  // The reduced gradient of a bucket held NaN or Inf: its momentum is untouched, nothing is sent.
  void NonFinite(Round round, BucketIndex bucket, WorkerActions& out);

  // --- status ----------------------------------------------------------------------------------
  // The masters are the run's, no longer the job's own.
  bool has_state() const { return has_state_; }
  bool ended() const {
    return config_.last_round != Round(0) && AppliedRound() >= config_.last_round;
  }
  // The coordinator's stream is open to answers.
  bool in_sync() const { return connected_ && in_sync_; }
  // A contribution to (round, bucket) is still undecided: what is extracted for it is to be sent.
  bool Wanted(Round round, BucketIndex bucket) const {
    const Bucket& b = buckets_[bucket.value()];
    return b.answer == round && b.contributed && !b.refused;
  }
  bool job_attached() const { return job_attached_; }
  Sequence applied_sequence() const { return applied_; }
  Round AppliedRound() const;  // the last round applied in full
  bool in_step() const { return step_.has_value(); }
  std::string WaitingFor() const;  // in words; empty: nothing
  uint32_t undecided() const;      // answers that no update has decided yet
  uint64_t returned() const { return returned_; }
  uint64_t nonfinite() const { return nonfinite_; }
  // As far as they have been said in updates that are applied.
  const RoundFormats& formats() const { return formats_; }

 private:
  struct Bucket {
    Round applied;                // last round closed for it
    std::optional<Round> answer;  // contributed or abstained, not yet decided
    bool contributed = false;     // the answer is a contribution
    bool refused = false;         // and will not be taken
    bool of_step = false;         // and was made by the step under way
    bool stale = false;           // the job's buffer lags behind the masters
  };
  // A step under way goes through what it wants, one after the other, as far as updates let it.
  struct Step {
    StepWants wants;  // still
    bool skip = false;
    FinishStep finish = {.gave = false};
  };
  // What came of the round that was taken in last.
  struct Outcome {
    Round round;
    uint32_t contributors = 0;
    uint32_t merged_here = 0;
    float loss = 0;
    absl::Duration peer_wait;
    uint32_t nonfinite = 0;
    bool given = false;    // to the job
    absl::Status refused;  // why the coordinator will never take this group's part in it
  };
  void Answer(Bucket& bucket, Round round, bool contributed);
  void FinishRound(Round round, WorkerActions& out);
  void GiveSnapshotIfDue(WorkerActions& out);
  // The job waits for updates, each of which is written to its buffers as it comes.
  bool Giving() const { return step_ && (step_->wants.give_first || step_->wants.give); }
  // The job's steps are rounds, and each is given what came of the one before (P31).
  bool OverlapsRounds() const { return !config_.job_steps && config_.run.format.overlap > 0; }
  void Advance(WorkerActions& out);
  FinishStep Given();
  bool FailIfRefused(WorkerActions& out);  // the job's step, if it was
  void Take(WorkerActions& out);
  void AbstainFromOpen(Round round, WorkerActions& out);
  void GatherStale(WorkerActions& out);
  void GatherAll(Gathering how, WorkerActions& out);
  bool InOneRound() const;
  // Once for each exchange.
  void NameStepIfDue(WorkerActions& out);
  void FinishRun(WorkerActions& out);

  const WorkerCoreConfig config_;
  bool connected_ = false;
  bool in_sync_ = false;  // as far as the coordinator has said
  bool has_state_ = false;
  bool job_attached_ = false;
  bool job_loaded_ = false;
  Sequence applied_;
  std::vector<Bucket> buckets_;
  std::optional<Step> step_;
  Outcome outcome_;
  RunTotals totals_;      // of the run, as far as first buckets have been applied
  RoundFormats formats_;  // as far
  Round due_;             // the last that is said to be
  bool named_ = false;    // the job has been asked to stop, and has not yet
  std::optional<std::pair<TransferId, Sequence>> asked_;  // for a snapshot as of that, or later
  uint64_t returned_ = 0;
  uint64_t nonfinite_ = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_CORE_WORKER_CORE_H_
