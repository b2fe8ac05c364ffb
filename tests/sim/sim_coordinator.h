// The coordinator's core with a simulated edge: it stores parts, "merges" them into tokens, keeps
// a short log, and relays snapshots. It is also the witness: it knows what was committed.
//
// Its process may be killed and started again, as with a durable log: the log is kept, and beside
// it the core's state as of the last update and of the last change of the membership, in bytes; the
// rest is gone, decided buckets that had not come into the log among it.
#ifndef ISTHMUS_TESTS_SIM_SIM_COORDINATOR_H_
#define ISTHMUS_TESTS_SIM_SIM_COORDINATOR_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "server/core/coordinator.h"
#include "tests/sim/kept_state.h"
#include "tests/sim/world.h"

namespace isthmus::sim {

// What one process extracted for one bucket of one round; `part` of `parts`.
struct Token {
  GroupId group;
  Incarnation incarnation;
  Round round;
  BucketIndex bucket;
  uint64_t serial = 0;        // unique
  bool unacceptable = false;  // the coordinator refuses it
  uint64_t steps() const { return 1 + serial % 7; }
  uint64_t samples() const { return serial % 50; }
  friend auto operator<=>(const Token&, const Token&) = default;
};

struct SnapshotState {
  TransferId transfer;
  Sequence sequence;
  std::vector<Round> applied_rounds;
  std::vector<uint64_t> masters;  // per bucket: a digest of every update applied to it
  RunTotals totals;
  std::vector<FormatChange> formats;
};

struct Stream;

// The worker's end of a stream, called by the coordinator's messages.
class StreamPeer {
 public:
  virtual ~StreamPeer() = default;
  virtual void OnWelcome(Sequence next) = 0;
  virtual void OnStart(uint32_t index, uint32_t count) = 0;
  virtual void OnUpdate(const UpdateHeader& update, uint64_t digest) = 0;
  virtual void OnDue(Round round) = 0;
  virtual void OnClosed(Round round, BucketIndex bucket) = 0;
  virtual void OnRefused(Round round, BucketIndex bucket) = 0;
  virtual void OnSnapshotAsked(TransferId transfer, Sequence at_least) = 0;
  virtual void OnSnapshot(const SnapshotState& state, bool last) = 0;
  virtual void OnSnapshotAborted(TransferId transfer) = 0;
  virtual void OnStreamEnd(const absl::Status& status) = 0;
  // The connection is no more; noticed here by itself.
  virtual void OnBroken(const std::shared_ptr<Stream>& stream) = 0;
};

struct Stream {
  Stream(World* world, StreamId stream_id, StreamPeer* stream_peer)
      : id(stream_id), up(world), down(world), peer(stream_peer) {}
  StreamId id;
  Pipe up;
  Pipe down;
  StreamPeer* peer;
  Sequence next_to_send;  // 0: none yet
  bool sending = false;   // the next update is on its way into `down`
  bool server_open = true;
};

class SimCoordinator {
 public:
  // Updates leave a stream at most `update_gap` after each other, and shorter messages overtake
  // those that are waiting.
  SimCoordinator(World* world, CoordinatorConfig config, size_t log_capacity,
                 absl::Duration update_gap);

  // Messages as they arrive (the caller has put the delay in).
  absl::StatusOr<Coordinator::Registered> OnRegister(const Coordinator::RegisterArgs& args);
  absl::Status OnReady(Member member, uint64_t change, const Layout& layout);
  absl::Status OnNotReady(Member member, uint64_t change);
  absl::Status OnHeartbeat(Member member, uint64_t samples);
  std::shared_ptr<Stream> Connect(StreamPeer* peer);
  void OnHello(std::shared_ptr<Stream> stream, const Coordinator::Hello& hello);
  void OnPart(std::shared_ptr<Stream> stream, const Token& token, ChunkRun part);
  void OnAbstain(std::shared_ptr<Stream> stream, Round round, BucketIndex bucket);
  void OnSnapshotFrame(std::shared_ptr<Stream> stream, const SnapshotState& state, bool last);
  void OnCaughtUp(std::shared_ptr<Stream> stream, TransferId transfer, Sequence sequence);
  void OnAudit(std::shared_ptr<Stream> stream, Round round, const BucketHashes& hashes);
  void OnStreamBroken(std::shared_ptr<Stream> stream);

  void Kill();  // SIGKILL; until StartAgain() nobody answers
  void StartAgain();
  bool up() const { return up_; }

  // While it is not up, as it was when it was killed.
  const Coordinator& core() const { return *core_; }

  // The witness.
  bool Committed(Round round, BucketIndex bucket) const {
    return committed_.contains({round, bucket});
  }
  bool WasMerged(const Token& token) const;
  // Of the run, that round included.
  RunTotals TotalsAt(Round round) const;
  // The core has counted what was merged, each once. While nothing is on its way to the log.
  void CheckCounts() const;
  uint64_t Digest(Round round, BucketIndex bucket) const {
    return committed_.at({round, bucket}).digest;
  }

 private:
  struct Record {
    UpdateHeader update;
    uint64_t digest = 0;
  };
  struct CommittedBucket {
    std::vector<Token> tokens;
    uint64_t digest = 0;
  };
  void Refuse(const std::shared_ptr<Stream>& stream, Round round, BucketIndex bucket);
  // Events of this process: the next one knows nothing of them.
  template <typename F>
  void Later(absl::Duration delay, F f) {
    world_->After(delay, [this, f, life = life_] {
      if (up_ && life == life_) f();
    });
  }
  void Keep();
  void Perform(const Actions& actions);
  void PerformOne(const Action& action);
  void MergeStored(const MergeBucket& merge);
  void SendPublished(const std::shared_ptr<Stream>& stream);
  void EndStream(StreamId id, const absl::Status& status);
  Sequence first_available() const { return Sequence(log_begin_); }
  void ScheduleTick();
  // Of a paced run: every group's link and job are found to be anything, so that formats change.
  void Measure();

  World* world_;
  std::optional<Coordinator> core_;
  bool up_ = true;
  uint64_t life_ = 1;  // the process
  KeptState kept_;     // beside the log
  Epoch kept_epoch_;
  const size_t log_capacity_;
  const absl::Duration update_gap_;
  std::map<StreamId, std::shared_ptr<Stream>> streams_;
  std::vector<std::shared_ptr<Stream>> ever_;  // messages under way outlive a stream's ends
  StreamId last_stream_;
  std::map<std::tuple<Round, BucketIndex, GroupId>, std::map<uint64_t, Token>> stored_;
  std::map<Sequence, Record> merged_;
  std::map<Sequence, Record> log_;  // [log_begin_, published]
  uint64_t log_begin_ = 1;
  Sequence published_;
  absl::Time last_append_ = absl::InfinitePast();
  std::map<TransferId, std::pair<StreamId, StreamId>> relays_;  // donor, joiner
  std::map<std::pair<Round, BucketIndex>, CommittedBucket> committed_;
  absl::Time tick_at_ = absl::InfiniteFuture();
};

}  // namespace isthmus::sim

#endif  // ISTHMUS_TESTS_SIM_SIM_COORDINATOR_H_
