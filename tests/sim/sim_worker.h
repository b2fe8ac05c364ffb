// One worker process: the worker's two cores with a simulated pipeline, job and network edge.
// Masters are digests of the updates applied; a contribution is a token with a known fate.
#ifndef ISTHMUS_TESTS_SIM_SIM_WORKER_H_
#define ISTHMUS_TESTS_SIM_SIM_WORKER_H_

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "tests/sim/sim_coordinator.h"
#include "tests/sim/world.h"
#include "worker/core/connection_core.h"
#include "worker/core/worker_core.h"

namespace isthmus::sim {

struct WorkerOptions {
  GroupId group;
  uint64_t nonce = 1;
  uint64_t instance = 1;
  Round last_round;
  Layout layout;
  uint32_t buckets = 1;
  double nonfinite = 0;  // chance per bucket
  double refused = 0;    // chance that a contribution is one that the coordinator will not take
  double duplicate = 0;  // chance that a control call is delivered twice
  double lose = 0;       // chance that a control call or its reply is lost
  uint32_t audit_rounds = 0;
  RunSpec run;
  bool names_steps = false;  // the coordinator says when rounds are due
  bool overlap = false;  // the job goes on where an exchange begins, and reads the anchor at times
};

class SimWorker : public StreamPeer {
 public:
  SimWorker(World* world, SimCoordinator* coordinator, WorkerOptions options);

  void Start();     // registers, connects, attaches a job
  void Kill();      // SIGKILL: nothing of this process happens any more
  void CrashJob();  // a rank dies; another job attaches after a while
  // A bucket of the masters changes, unless the state is of `before` or a later round by then.
  void Corrupt(Round before);
  void CutLink();  // the stream breaks at both ends, each noticing in its own time

  bool alive() const { return alive_; }
  bool fenced() const { return fenced_; }
  bool done() const { return done_; }  // the job was told END
  GroupId group() const { return options_.group; }
  const WorkerCore* core() const { return core_ ? &*core_ : nullptr; }
  const std::vector<uint64_t>& masters() const { return masters_; }

  // Every contribution of this process is exactly one of merged, returned, in flight.
  void CheckLedger() const;

  void OnWelcome(Sequence next) override;
  void OnStart(uint32_t index, uint32_t count) override;
  void OnUpdate(const UpdateHeader& update, uint64_t digest) override;
  void OnDue(Round round) override;
  void OnClosed(Round round, BucketIndex bucket) override;
  void OnRefused(Round round, BucketIndex bucket) override;
  void OnSnapshotAsked(TransferId transfer, Sequence at_least) override;
  void OnSnapshot(const SnapshotState& state, bool last) override;
  void OnSnapshotAborted(TransferId transfer) override;
  void OnStreamEnd(const absl::Status& status) override;
  void OnBroken(const std::shared_ptr<Stream>& stream) override;

 private:
  enum class Fate { kInFlight, kMerged, kReturned, kForgotten };
  struct Answer {
    std::optional<Token> token;  // none: an abstention
  };
  using Key = std::pair<Round, BucketIndex>;

  void Wake();  // when the connection's core wants it
  void PerformConnection(const ConnectionActions& actions);
  void PerformOne(const ConnectionAction& action);
  void Call(std::function<absl::Status()> call);
  void Register(uint64_t instance);
  void BeginRun();
  void Connect();
  void LoseStream(const absl::Status& status, bool own);
  Member self() const { return {options_.group, incarnation_}; }
  void AttachJob();
  void BeginStep();
  void BeginStepWhenDue();
  void Perform(const WorkerActions& actions);
  void PerformOne(const WorkerAction& action);
  void Enqueue(std::function<void()> operation);  // of the pipeline
  void RunPipeline();
  void Process(const ProcessBucket& process);
  void Gather(BucketIndex bucket, Gathering how);
  void CheckFinished(const FinishStep& finish);
  void Apply(const ApplyUpdate& apply);
  void Settle(Key key, Credit credit);
  void Install(const InstallSnapshot& install);
  void SendAnswer(Key key);
  void SendAudit();
  template <typename F>
  void Later(absl::Duration delay, F f) {
    world_->After(delay, [this, f] {
      if (alive_) f();
    });
  }

  World* world_;
  SimCoordinator* coordinator_;
  WorkerOptions options_;
  bool alive_ = false;
  bool fenced_ = false;
  bool done_ = false;
  bool job_ = false;
  uint64_t job_generation_ = 0;
  Incarnation incarnation_;
  ConnectionCore connection_;
  absl::Time wake_at_ = absl::InfiniteFuture();
  std::optional<WorkerCore> core_;
  std::shared_ptr<Stream> stream_;
  bool snapshot_here_ = false;  // one has arrived on this stream

  std::deque<std::function<void()>> pipeline_;
  bool pipeline_busy_ = false;
  std::vector<uint64_t> masters_;
  std::vector<Round> applied_;  // per bucket, as the pipeline has done
  // The job's: the masters that each bucket was last given, and what it sees of them.
  std::vector<uint64_t> buffers_;
  std::vector<uint64_t> seen_;
  // Its way has been taken in since it was given the bucket: once more would count it twice.
  std::vector<bool> taken_in_;
  bool buffers_are_the_jobs_ = false;
  bool idle_ = false;     // it steps by itself until a step is named
  bool named_ = false;    // one is
  uint64_t samples_ = 0;  // that it has seen
  bool gone_on_ = false;  // it has begun an exchange that it was not given yet
  StepWants wants_;
  bool snapshot_in_step_ = false;  // one has come since the step began
  std::map<Sequence, std::pair<UpdateHeader, uint64_t>> received_;
  std::map<TransferId, SnapshotState> snapshots_;  // arrived, not yet installed
  std::map<Key, Token> taken_;                     // in flight, as the pipeline sees it
  std::map<Key, Answer> answers_;                  // kept for sending again
  std::set<Key> refused_;                          // contributions that the coordinator refused
  std::map<Token, Fate> fates_;
  std::optional<std::pair<Round, BucketHashes>> audit_;  // the last report
};

}  // namespace isthmus::sim

#endif  // ISTHMUS_TESTS_SIM_SIM_WORKER_H_
