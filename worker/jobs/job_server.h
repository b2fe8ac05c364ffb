// Attached training jobs: the Unix socket where local ranks attach, their shared buffers, and
// their steps, gathered into one event per group (docs/protocol.md, P25).
//
// A session begins when the first rank attaches and is whole once all ranks have. It ends when any
// rank leaves, dies or breaks the protocol: the others are answered with an error at once, and the
// server is ready for a new set of ranks. Buffers live as long as somebody holds the session.
#ifndef ISTHMUS_WORKER_JOBS_JOB_SERVER_H_
#define ISTHMUS_WORKER_JOBS_JOB_SERVER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "client/job_wire.h"
#include "common/base/clock.h"
#include "common/base/memory_limit.h"
#include "common/device/device.h"
#include "common/run/update.h"
#include "common/tensor/elements.h"
#include "common/tensor/layout.h"
#include "worker/core/step_wants.h"
#include "worker/jobs/socket_access.h"

namespace isthmus {

// What one rank said with isthmus_step_begin(): within the bounds of client/isthmus.h, whatever
// library the job uses.
struct RankStep {
  static constexpr float kMaxRate = 1e6f;
  static constexpr uint64_t kMaxSamples = uint64_t{1} << 53;  // of all ranks of the group together

  std::vector<float> lr;            // [parameter_groups], from 0 to kMaxRate
  std::vector<float> weight_decay;  // the same
  uint64_t samples = 0;             // at most kMaxSamples / ranks of the group
  float loss = 0;                   // any float, NaN too
  bool skip = false;
  uint64_t step = 0;   // that the job has taken; with an optimizer of its own
  uint64_t steps = 1;  // that this is about: since it was taken in last
  StepWants wants;     // as a job without an optimizer of its own wants it, unless it has one
};

// Where a session's parameters and gradients are; constants are the host's always.
enum class JobMemory : uint8_t { kHost = 0, kDevice = 1 };

// What one rank of a job with an optimizer of its own and its daemon say to each other without a
// message (isthmus_wire_pace). Thread-safe: sequentially consistent.
class JobPace {
 public:
  explicit JobPace(isthmus_wire_pace* shared) : shared_(shared) {}
  void SetExchangeAt(uint64_t step) { At(shared_->exchange_at).store(step); }
  uint64_t steps() const { return At(shared_->steps).load(); }
  uint64_t samples() const { return At(shared_->samples).load(); }

 private:
  static std::atomic_ref<uint64_t> At(uint64_t& value) { return std::atomic_ref(value); }
  isthmus_wire_pace* shared_;
};

// How a job wants to be served; all its ranks alike.
struct JobTerms {
  JobMemory memory = JobMemory::kHost;
  bool own_optimizer = false;  // it steps by itself, and has no gradients here
  friend bool operator==(const JobTerms&, const JobTerms&) = default;
};

// The shared memory of one whole session. Immutable apart from the buffers' contents; who may
// touch those follows from the events below.
class JobSession : public std::enable_shared_from_this<JobSession> {
 public:
  virtual ~JobSession() = default;
  virtual uint64_t id() const = 0;  // unique for the server's lifetime
  virtual const Layout& layout() const = 0;
  virtual uint32_t ranks() const = 0;
  virtual JobMemory memory() const = 0;
  // The job steps by an optimizer of its own: it has no gradients here.
  virtual bool own_optimizer() const = 0;
  // The job has gone, or is being sent away: what it had queued on a device may never be done.
  // Thread-safe.
  virtual bool gone() const = 0;
  // [layout().length()] each, gradients none with own_optimizer(); of the type of the layout's
  // tensors; kDevice: of the rank's device.
  virtual Elements parameters(uint32_t rank) = 0;
  virtual Elements gradients(uint32_t rank) = 0;
  // [layout().constants_bytes()].
  virtual std::span<std::byte> constants(uint32_t rank) = 0;
  // kDevice only. The job records the first behind the work that made its gradients, who has the
  // session the second where parameters are new and gradients no longer needed.
  virtual SharedDeviceEvent& gradients_ready(uint32_t rank) = 0;
  virtual SharedDeviceEvent& parameters_ready(uint32_t rank) = 0;
  // kDevice only: where the job's stream writes steps() between the work that made its gradients,
  // or with own_optimizer() its parameters, and gradients_ready. (The event of a process that was
  // killed may be done though the work is not.)
  virtual const uint32_t* gradients_mark(uint32_t rank) = 0;
  // The number of the step that has been begun, from 1; with own_optimizer() the job's, of the one
  // whose way is taken in. Thread-safe.
  virtual uint32_t steps() const = 0;
  // With own_optimizer(): what the rank and its daemon agree by. Null without.
  virtual JobPace* pace(uint32_t rank) = 0;
};

// Called from the server's one thread; implementations return quickly and do not call back into
// the server from within.
class JobEvents {
 public:
  virtual ~JobEvents() = default;
  // All ranks have attached with equal layouts; parameters and constants hold their initial
  // values. Answer with JobServer::FinishAttach. The buffers are the receiver's until then.
  virtual void OnAttached(std::shared_ptr<JobSession> session) = 0;
  // All ranks have begun a step with equal learning rates; gradients are the receiver's until
  // JobServer::FinishStep. `steps` is indexed by rank.
  virtual void OnStep(uint64_t session_id, std::vector<RankStep> steps) = 0;
  // The session is over; `reason` says which rank and why. Exactly once for each OnAttached,
  // whoever ended it, except when the server itself goes.
  virtual void OnLost(uint64_t session_id, const std::string& reason) = 0;
};

struct AttachReply {
  uint32_t group_id = 0;
  uint32_t group_index = 0;
  uint32_t group_count = 0;
  uint64_t round = 0;
  uint64_t rounds = 0;
  uint32_t first_rank = 0;  // of this server, in the group
  uint32_t world_size = 0;  // ranks of the group
  // A job's steps from one exchange to the next; 0: NameStep() says where it is.
  uint32_t every_steps = 1;
  uint32_t overlap_steps = 0;  // and from where one begins to where it is applied
  RunTotals totals = {};       // of the run, `round` included
};

struct StepReply {
  uint64_t round = 0;
  uint32_t contributors = 0;
  uint32_t merged_here = 0;
  uint32_t buckets = 0;
  float loss = 0;
  double blocked_seconds = 0;
  double local_seconds = 0;
  double peer_wait_seconds = 0;
  double link_wait_seconds = 0;
  bool end = false;        // the run is over: ranks get ISTHMUS_END
  uint32_t nonfinite = 0;  // buckets that were not taken in
  RunTotals totals = {};   // of the run, `round` included
  // From here to the next exchange, as in AttachReply; 0: both as they were.
  uint32_t every_steps = 0;
  uint32_t overlap_steps = 0;
};

// What a job will take of the host's memory (host_memory.h).
struct HostNeed {
  uint64_t buffers_bytes = 0;         // shared with it, of all ranks here
  uint64_t largest_buffer_bytes = 0;  // of one
  uint64_t state_bytes = 0;           // the engine's: masters, momentum, optimizer
  uint64_t snapshot_bytes = 0;        // the engine's: one image of the state, in or out
};

// Thread-safe.
class JobServer {
 public:
  struct Options {
    std::string socket_path;     // a stale one is replaced; unlinked at the end
    SocketAccess socket_access;  // its user's alone, unless this says otherwise
    uint32_t ranks = 1;
    std::string name;  // of this daemon's group, for messages: "group 3"
    // How long a rank may take to say who it is and what it trains.
    absl::Duration handshake_timeout = absl::Seconds(30);
    // Unfinished handshakes at once, beyond `ranks`; one more is refused.
    uint32_t max_pending = 16;
    // What the engine will take of the host for a job of this layout, besides its buffers: called
    // from the server's thread when a session's first rank has declared its tensors. Null: nothing.
    std::function<HostNeed(const Layout& layout)> engine_need;
    // What there is. A job that does not fit is refused with RESOURCE_EXHAUSTED.
    std::function<std::vector<MemoryLimit>()> memory_limits = [] { return ReadMemoryLimits(); };
    // By rank: where buffers are made for jobs that ask for a device's memory. Empty: such jobs are
    // refused.
    std::vector<std::shared_ptr<Device>> devices;
    const Clock* clock = &Clock::Real();
  };

  // Listens and starts the thread. `events` must outlive the server. Errors: ALREADY_EXISTS when a
  // live daemon has the socket; INVALID_ARGUMENT for a path too long or ranks outside [1, 1024];
  // RESOURCE_EXHAUSTED when the system gives no thread; else what the system said.
  static absl::StatusOr<std::unique_ptr<JobServer>> Start(Options options, JobEvents* events);
  virtual ~JobServer() = default;

  // Answers of the engine; for a session that is over they do nothing. An error ends the session
  // with that status at every rank.
  virtual void FinishAttach(uint64_t session_id, absl::StatusOr<AttachReply> reply) = 0;
  virtual void FinishStep(uint64_t session_id, absl::StatusOr<StepReply> reply) = 0;

  // Where the job's steps are not counted: what its ranks have is to be taken in at the next step
  // that they can agree on; OnStep() follows. Nothing if that was asked for and has not come yet,
  // or the session is over.
  virtual void NameStep(uint64_t session_id) = 0;

  // What the engine's answers wait for from now on: "waiting for the coordinator at ...". Ranks
  // that wait hear of it; empty: nothing worth saying, as again after FinishAttach.
  virtual void SetWaiting(const std::string& what) = 0;

  // Ends the session (if any) at every rank with `status`, keeps listening.
  virtual void EndSession(const absl::Status& status) = 0;
  // The same of this one; nothing once it is over.
  virtual void EndSession(uint64_t session_id, const absl::Status& status) = 0;

  // Hangs up on every rank with UNAVAILABLE. No event follows; calls after it do nothing. Blocks
  // until the thread has ended. Not from within an event; one thread calls it. The destructor does
  // the same.
  virtual void Stop() = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_JOBS_JOB_SERVER_H_
