// Decides for JobServer: which rank may attach, when a session is whole, when a step is complete,
// who is told what when something breaks. No sockets, memory, clock or threads.
//
// A connection:  kHello -> kTable -> kFilling -> kWaiting -> (session whole) kAttached
// The session:   forming -> attaching (engine asked) -> idle <-> stepping
//
// While it forms, ranks come and go without harm to the others. Once whole, the first rank to
// leave, die or break the protocol ends it for all, and the next one forms at once.
#ifndef ISTHMUS_WORKER_JOBS_SESSION_CORE_H_
#define ISTHMUS_WORKER_JOBS_SESSION_CORE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "common/base/ids.h"
#include "common/tensor/layout.h"
#include "worker/jobs/attach_table.h"
#include "worker/jobs/job_messages.h"
#include "worker/jobs/job_server.h"

namespace isthmus {

// One accepted socket, never reused.
using JobConnectionId = StrongId<struct JobConnectionIdTag, uint64_t>;

// What the server has to do, in order. A connection that is gone by then is passed over.

// Make the rank's buffers for layout() and send them.
struct SendBuffers {
  JobConnectionId to;
  uint32_t rank = 0;
  std::vector<uint64_t> offsets;  // by entry, as in job_wire.h
};
// A forming rank has left: free its buffers.
struct DropBuffers {
  uint32_t rank = 0;
};
struct SendAttached {
  JobConnectionId to;
  uint32_t rank = 0;
  AttachReply reply;
};
// Best effort: nothing depends on it.
struct SendWaiting {
  JobConnectionId to;
  std::string what;
};
// The rank goes on from a step that is not the one where all stop.
struct SendGoOn {
  JobConnectionId to;
};
// Name the step where all ranks stop, this one or a later one (step_naming.h), and answer with
// SessionCore::StepNamed().
struct NameStepOfRanks {
  uint64_t not_before = 0;
};
// There is none any more.
struct UnnameStep {};
struct SendStepDone {
  JobConnectionId to;
  StepReply reply;
};
// Say why, unless that is OK, and close.
struct HangUp {
  JobConnectionId to;
  absl::Status status;
};
// Make a session of all ranks' buffers and give it to the engine.
struct ReportAttached {
  uint64_t session_id = 0;
};
struct ReportStep {
  uint64_t session_id = 0;
  std::vector<RankStep> steps;  // by rank
};
struct ReportLost {
  uint64_t session_id = 0;
  std::string reason;
};
using JobAction =
    std::variant<SendBuffers, DropBuffers, SendAttached, SendWaiting, SendStepDone, SendGoOn,
                 NameStepOfRanks, UnnameStep, HangUp, ReportAttached, ReportStep, ReportLost>;

// Single-threaded.
class SessionCore {
 public:
  using Actions = std::vector<JobAction>;
  struct Options {
    uint32_t ranks = 1;
    std::string name;  // of the group, for messages
    absl::Duration handshake_timeout = absl::Seconds(30);
    uint32_t max_pending = 16;  // unfinished handshakes beyond `ranks`
    // Whether there is room for a session of this layout; an error is told to the rank that
    // declared it. Null: always.
    std::function<absl::Status(const Layout&, const JobTerms&)> admit;
    bool device_memory = false;  // jobs may ask for it
  };
  explicit SessionCore(Options options);

  Actions Connected(JobConnectionId id, absl::Time now);
  Actions Received(JobConnectionId id, std::span<const std::byte> packet, absl::Time now);
  // The peer closed, or its process died. Unknown ids are fine here and below.
  Actions Closed(JobConnectionId id);
  // The server could not do what an action asked for.
  Actions Failed(JobConnectionId id, const absl::Status& status);
  // Ends handshakes that are late.
  Actions Tick(absl::Time now);
  // When Tick() next has something to do.
  absl::Time NextDeadline() const;

  // The engine's answers; nothing for a session that is over.
  Actions FinishAttach(uint64_t session_id, const absl::StatusOr<AttachReply>& reply);
  Actions FinishStep(uint64_t session_id, const absl::StatusOr<StepReply>& reply);
  // A step is to be named where ranks stop; nothing if one is already.
  Actions NameStep(uint64_t session_id);
  void StepNamed(uint64_t step) { named_ = step; }
  // What the engine's answers wait for, in words; empty: nothing.
  Actions SetWaiting(std::string what);
  // Ends the session, whole or forming, at every rank with `status`, an error.
  Actions EndSession(const absl::Status& status);
  // The same of one that is whole; nothing once it is over.
  Actions EndSession(uint64_t session_id, const absl::Status& status);

  // Of the session that is forming or whole; meaningful from the first SendBuffers on.
  const Layout& layout() const { return layout_; }
  const JobTerms& terms() const { return terms_; }

 private:
  enum class Phase { kHello, kTable, kFilling, kWaiting, kAttached };
  enum class State { kForming, kAttaching, kIdle, kStepping };
  struct Connection {
    Phase phase = Phase::kHello;
    absl::Time deadline;
    std::optional<uint32_t> rank;  // as it says; it holds that rank from kFilling on
    JobTerms terms;
    AttachTable table;
    std::string told;  // what it waits for, as it knows
  };
  using ConnectionMap = std::map<JobConnectionId, Connection>;

  // Each validates one message; an error is the rank's own fault and costs it the connection.
  absl::Status OnHello(Connection& connection, const JobHello& hello);
  absl::Status OnEntry(JobConnectionId id, Connection& connection, JobEntry entry, absl::Time now,
                       Actions& actions);
  absl::Status OnFilled(Connection& connection, Actions& actions);
  absl::Status CheckWants(const StepWants& wants) const;
  absl::Status OnStepBegin(Connection& connection, RankStep step, Actions& actions);
  // Claims the rank and adopts or compares the layout.
  absl::Status Claim(JobConnectionId id, Connection& connection, absl::Time now, Actions& actions);
  absl::Status CheckRankFree(uint32_t rank) const;
  void CompleteStep(Actions& actions);

  std::string WaitingFor() const;
  // Says so to those that wait and know otherwise. For whoever has changed it.
  void TellWaiting(Actions& actions);

  // Takes the connection out: a forming session loses a rank, a whole one ends because `why`.
  void Remove(ConnectionMap::iterator at, const std::string& why, Actions& actions);
  // Hangs up on the remaining ranks with `status`.
  void Lose(const absl::Status& status, Actions& actions);
  std::string Prefix(std::optional<uint32_t> rank) const;

  const Options options_;
  ConnectionMap connections_;
  State state_ = State::kForming;
  uint64_t session_id_ = 1;  // of the session that forms or is whole
  Layout layout_;
  JobTerms terms_;
  uint32_t group_ranks_ = 1;                             // on all its machines; of a whole session
  std::vector<std::optional<JobConnectionId>> holders_;  // by rank
  std::vector<std::optional<RankStep>> steps_;           // by rank; of the step being begun
  std::string engine_waits_for_;
  // Of a session whose steps are not counted (AttachReply::every_steps 0).
  bool names_steps_ = false;
  uint32_t overlap_steps_ = 0;
  std::optional<uint64_t> named_;  // where its ranks are to stop
  uint64_t taken_at_ = 0;          // where they have stopped last
  bool gone_on_ = false;           // what was taken in last is still to be given
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_JOBS_SESSION_CORE_H_
