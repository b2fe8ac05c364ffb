// The coordinator's decisions: who takes part, which round is open, when a bucket is committed,
// who gets which updates, who receives a snapshot from whom. Events and `now` in, actions out; no
// network, clock, thread or payload byte. server/rpc performs the actions.
//
// One round is open at a time. A round opens when all buckets of the one before are in the log,
// and awaits the groups active at that moment; deaths shrink that set, joiners count from the next
// round. Who joins in mid-round may answer it, and is not waited for. Each bucket commits by itself
// (quorum.h), taking the next sequence number; Append is emitted in sequence order, and only
// Appended leads to Publish: nobody is told what is not in the log.
#ifndef ISTHMUS_SERVER_CORE_COORDINATOR_H_
#define ISTHMUS_SERVER_CORE_COORDINATOR_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/pace/pacer.h"
#include "common/run/run_spec.h"
#include "common/run/update.h"
#include "common/tensor/buckets.h"
#include "common/tensor/layout.h"
#include "server/core/actions.h"
#include "server/core/arrivals.h"
#include "server/core/audit.h"
#include "server/core/coordinator_state.h"
#include "server/core/counters.h"
#include "server/core/due_clock.h"
#include "server/core/membership.h"
#include "server/core/round.h"
#include "server/core/transfers.h"

namespace isthmus {

struct CoordinatorConfig {
  RunSpec run;
  uint64_t instance = 1;                        // random, non-zero
  absl::Duration deadline = absl::Seconds(60);  // per bucket (P9); InfiniteDuration(): none
  bool learn_deadline = false;  // that is the most; less as soon as it is known when answers come
  absl::Duration reconnect_grace = absl::Seconds(5);
  absl::Duration transfer_timeout = absl::Seconds(60);  // without progress
  uint32_t max_groups = 1024;
  // What formats rounds have: as the pace decides, or as said beforehand, ascending; neither: the
  // run's.
  std::optional<Pacer::Options> pace;
  std::vector<KnownScheme> schemes;  // that it chooses between; none: KnownSchemes()
  std::vector<FormatChange> schedule;

  bool formats_change() const { return pace.has_value() || !schedule.empty(); }
};

// Single-threaded. `now` never goes back. Every call appends what must be done to `out`; errors
// are the peer's, and leave the state as it was.
class Coordinator {
 public:
  explicit Coordinator(CoordinatorConfig config);

  // --- started again ---------------------------------------------------------------------------

  // What it takes to go on after this process has ended (P14). Kept, before anybody hears of it, as
  // of every update that was appended, and as of every change of membership().epoch(): before the
  // actions of that event are performed, and before its call is answered.
  CoordinatorState Save() const;
  // The coordinator that `state` was saved of, as if every stream had broken by `now` and the
  // contributions to what is not committed had been lost with them. Errors: FAILED_PRECONDITION if
  // the state is of another instance or run than the configuration, saying where they differ;
  // INVALID_ARGUMENT as Check() for a state that cannot be.
  static absl::StatusOr<Coordinator> Restore(CoordinatorConfig config,
                                             const CoordinatorState& state, absl::Time now);

  // --- control plane ---------------------------------------------------------------------------

  struct RegisterArgs {
    VersionRange versions;
    GroupId group;
    uint64_t nonce = 0;
    std::string label;
    uint32_t ranks = 1;
    uint64_t instance = 0;  // 0: has applied nothing yet
    std::vector<std::string> expect;
  };
  struct Registered {
    uint32_t version = 0;
    Incarnation incarnation;
    Epoch epoch;
  };
  // Errors: FAILED_PRECONDITION for versions, instance or run spec that differ; INVALID_ARGUMENT;
  // ABORTED for a fenced process; RESOURCE_EXHAUSTED beyond max_groups.
  absl::StatusOr<Registered> Register(const RegisterArgs& args, absl::Time now, Actions& out);

  // All local ranks have attached. `change` counts a process' Ready and NotReady calls: one that is
  // not newer than the last is a late duplicate and changes nothing. Errors: FAILED_PRECONDITION
  // for a layout that differs from the run's, saying where; ABORTED if fenced.
  absl::Status Ready(Member member, uint64_t change, const Layout& layout, absl::Time now,
                     Actions& out);
  absl::Status NotReady(Member member, uint64_t change, const std::string& reason, absl::Time now,
                        Actions& out);
  absl::Status Leave(Member member, const std::string& reason, absl::Time now, Actions& out);
  // `samples`: that the member's jobs have seen, ever; `phase`: what keeps it. Errors: ABORTED if
  // fenced.
  absl::Status Heartbeat(Member member, uint64_t samples, WorkPhase phase, absl::Time now,
                         Actions& out);

  // --- data plane ------------------------------------------------------------------------------

  struct Hello {
    Member member;
    uint64_t instance = 0;
    Sequence applied;  // every update up to this one is in the worker's masters
  };
  // `first_available` is the oldest update that the log still holds (1 when nothing was dropped).
  // Returns the sequence from which updates follow; 0 if a snapshot or Start comes first. An older
  // stream of the same member is closed.
  absl::StatusOr<Sequence> StreamOpened(StreamId stream, const Hello& hello,
                                        Sequence first_available, absl::Time now, Actions& out);
  void StreamClosed(StreamId stream, const std::string& reason, absl::Time now, Actions& out);

  enum class PartFate {
    kStore,   // keep its bytes for (group, round, bucket)
    kRepeat,  // had it already
    kLate,    // its bucket is committed and the sender told Closed, or the sender gets a snapshot
  };
  // A whole, valid part has arrived. Errors: FAILED_PRECONDITION from a group that is not in sync
  // or for a round not yet open; INVALID_ARGUMENT for a bucket, chunk run or scalar out of place.
  absl::StatusOr<PartFate> PartArrived(StreamId stream, Round round, BucketIndex bucket,
                                       ChunkRun part, const ContributionInfo& info, absl::Time now,
                                       Actions& out);
  absl::Status Abstained(StreamId stream, Round round, BucketIndex bucket, AbstainReason reason,
                         absl::Time now, Actions& out);

  // A frame of one of the sender's contributions to `round` arrived at `when`: it is not silent.
  // May be told late, of several at once, but before Tick().
  void FrameArrived(StreamId stream, Round round, absl::Time when, absl::Time now, Actions& out);
  // The stream's group has acknowledged more of the updates sent to it, last `when`: who has yet to
  // get what came of the round before cannot answer this one (P9).
  void UpdatesTaken(StreamId stream, absl::Time when, absl::Time now);

  // The hash of every bucket of the sender's masters as of the end of `round`. Ignored if the state
  // it tells of has been, or is being, replaced by a snapshot, if it repeats another, or if the
  // round is long past. Errors: INVALID_ARGUMENT for a round that is not audited or not committed,
  // or another number of hashes.
  absl::Status AuditArrived(StreamId stream, Round round, const BucketHashes& hashes,
                            absl::Time now, Actions& out);

  // Where chunks of `bucket` lie in `round`, whose format is known. Errors: FAILED_PRECONDITION
  // before a layout is known; INVALID_ARGUMENT for a bucket out of range.
  absl::StatusOr<ChunkRun> BucketChunks(Round round, BucketIndex bucket) const;

  // --- the pace --------------------------------------------------------------------------------

  // How the group's links and its job have been measured last: what the formats of coming rounds go
  // by, each time that a round opens. Of runs that are paced.
  void Measured(GroupId group, const PacedSite& site);
  // Whether formats stay as they are from then on. Not kept: a coordinator that is started again
  // goes on.
  void Freeze(bool frozen, Actions& out);
  bool frozen() const { return frozen_; }

  // --- answers to actions ----------------------------------------------------------------------

  void Merged(Sequence sequence, absl::Time now, Actions& out);
  void Appended(Sequence sequence, absl::Time now, Actions& out);
  void TransferProgress(TransferId transfer, absl::Time now);
  void TransferFailed(TransferId transfer, const std::string& reason, absl::Time now, Actions& out);
  absl::Status CaughtUp(StreamId stream, TransferId transfer, Sequence sequence,
                        Sequence first_available, absl::Time now, Actions& out);

  // Time passes: deadlines, grace periods. Call at or after NextWakeup().
  void Tick(absl::Time now, Actions& out);
  absl::Time NextWakeup() const;
  // True if NextWakeup() may have moved since the last call: it looks at every group, and most
  // events do not touch it.
  bool TakeWakeupMoved() { return std::exchange(wakeup_moved_, false); }

  // --- status ----------------------------------------------------------------------------------

  enum class State { kWaitingForGroups, kAgreeing, kTraining, kWaitingForQuorum, kEnded };
  State state(absl::Time now) const;
  std::string WaitingReason(absl::Time now) const;
  Round open_round() const { return round_.round(); }
  // How long its buckets wait (P9).
  absl::Duration deadline() const { return deadline_; }
  Sequence last_sequence() const { return last_sequence_; }
  const CoordinatorConfig& config() const { return config_; }
  const CoordinatorCounters& counters() const { return counters_; }
  const Membership& membership() const { return membership_; }
  const OpenRound& round() const { return round_; }
  const std::optional<Layout>& layout() const { return layout_; }
  const Buckets& buckets() const { return buckets_; }
  // Of all rounds up to the open one, and of coming ones as far as they are decided.
  const RoundFormats& formats() const { return formats_; }
  // The last decision, of a paced run.
  const std::optional<PaceDecision>& paced() const { return paced_; }
  float last_loss() const { return last_loss_; }
  const RunTotals& totals() const { return totals_; }

 private:
  absl::Status AcceptLayout(const Layout& layout, const GroupState& group);
  absl::Status UseLayout(const Layout& layout);
  absl::Status TakeUp(const CoordinatorState& state, absl::Time now);
  absl::Status CheckBucket(BucketIndex bucket) const;
  // FAILED_PRECONDITION where formats may change and who speaks that version would not hear of it.
  absl::Status CheckSpeaks(GroupId group, uint32_t version) const;
  absl::Status CheckInfo(const ContributionInfo& info, Round round) const;
  absl::StatusOr<GroupState*> SenderOf(StreamId stream, Round round, BucketIndex bucket);
  void AbortTransfersOf(StreamId stream, GroupId group, const char* why, Actions& out);
  void DetachStream(GroupState& group, absl::Time now, Actions& out);
  void StopAwaiting(GroupState& group, const std::string& why, Actions& out);

  // Who holds the same as the others after a round, and who does not.
  void OpenAudit(absl::Time now, Actions& out);
  bool OwesReport(Round round, const Audit& audit, const GroupState& group) const;
  void DecideAudits(absl::Time now, Actions& out);
  void DecideAudit(Round round, Audit& audit, absl::Time now, Actions& out);
  // The group's masters are still those that it reported of.
  static bool StillHolds(const Audit& audit, const GroupState& group);
  void Judge(Round round, const Audit& audit, GroupId id, absl::Time now, Actions& out);
  bool SomebodyAgreed(Round round, absl::Time now) const;
  // Who agreed is back: whoever was left with a state that differs, for want of another, gets its.
  void MendWhoDiffered(absl::Time now, Actions& out);
  // `source`: who differs; itself, or whom it has its state from.
  void Resync(GroupState& group, Round round, GroupId source, Actions& out);
  // And of those who got their state from there, and have not been found to agree since.
  void ResyncCopies(Member source, Round round, Actions& out);
  // A state that differs is better than none: once nobody else is left, it is the run's.
  void Reinstate(absl::Time now, Actions& out);

  // FAILED_PRECONDITION once the run has ended and nobody is left who could give its parameters
  // (P16).
  absl::Status CheckNotOver() const;
  // Who joins then would wait for ever.
  void TurnAwayLateJoiners(absl::Time now, Actions& out);
  std::string WaitingAfterEnd() const;

  // Everything that may follow from a change, in order.
  void Advance(absl::Time now, Actions& out);
  void AgreeOnStart(absl::Time now, Actions& out);
  void StartTransfers(absl::Time now, Actions& out);
  void OpenNextRound(absl::Time now, Actions& out);
  absl::Duration DeadlineFor(const std::set<GroupId>& awaited) const;
  std::vector<ChunkRun> ChunksOfRound(Round round) const;
  // What formats coming rounds have; the update of the open one says it.
  void Pace(Actions& out);
  Pacer NewPacer() const;
  PaceDecision AskPacer();
  // What was said beforehand of `round`, or of the last one before it.
  PaceDecision AskSchedule(Round round) const;
  void SendStarts(Actions& out);
  // Where the coordinator says when (P29): tells who has not heard that the open round is due.
  void SendDues(absl::Time now, Actions& out);
  // Somebody takes it in already: it was due, before this coordinator was started again.
  void BecomesDue(absl::Time now, Actions& out);
  void CommitWhatCan(absl::Time now, Actions& out);
  void CommitIfDue(BucketIndex bucket, absl::Time now, Actions& out);
  WaitRule wait_rule() const { return {.deadline = deadline_, .most = 4 * config_.deadline}; }
  // The bucket is about to be committed without those that are pending: they are silent, or slow.
  void JudgePending(BucketIndex bucket, absl::Time now, Actions& out);
  // The round is over: who was too slow and has answered all of this one no longer is.
  void NoteWhoIsInTime(absl::Time now, Actions& out);
  // The group sends: it is waited for again, from the next round.
  void Heard(GroupState& group, Actions& out);
  void Commit(BucketIndex bucket, absl::Time now, Actions& out);
  UpdateHeader MakeUpdate(BucketIndex bucket, Actions& out);
  // The bucket's update is in the log.
  void CountCommit(BucketIndex bucket);

  const CoordinatorConfig config_;
  Membership membership_;
  Transfers transfers_;
  std::optional<Layout> layout_;
  Buckets buckets_;
  // Per bucket: updates in the log with contributors, for Adam's bias correction.
  std::vector<uint64_t> commits_;
  OpenRound round_;  // round 0 before training
  Arrivals arrivals_;
  absl::Duration deadline_;  // of the open round
  DueClock due_clock_;
  bool due_ = false;  // the open round is
  RoundFormats formats_;
  std::optional<FormatChange> change_;  // decided in the open round
  std::optional<Pacer> pacer_;          // once there is a layout
  bool frozen_ = false;
  std::map<GroupId, PacedSite> sites_;
  std::optional<PaceDecision> paced_;
  bool training_ = false;
  bool ended_ = false;
  bool wakeup_moved_ = true;
  absl::Time last_tick_ = absl::InfinitePast();
  Sequence last_sequence_;                        // assigned
  Sequence last_append_;                          // emitted
  Sequence last_published_;                       // emitted
  std::set<Sequence> merged_;                     // beyond last_append_
  std::map<Sequence, BucketIndex> in_log_queue_;  // assigned, not yet appended
  std::map<Round, Audit> audits_;                 // the last few
  uint32_t restarts_ = 0;                         // of the instance
  CoordinatorCounters counters_;
  float last_loss_ = std::numeric_limits<float>::quiet_NaN();  // until one is reported
  RunTotals totals_;  // of the rounds whose first bucket is in the log
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_COORDINATOR_H_
