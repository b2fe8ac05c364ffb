// The coordinator's core at work: turns what the services hear into events, and performs what the
// core decides, in order. Owns the core, the stored parts, the ring of updates and the merge
// threads.
#ifndef ISTHMUS_SERVER_RPC_ENGINE_H_
#define ISTHMUS_SERVER_RPC_ENGINE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/clock.h"
#include "common/base/in_order.h"
#include "common/base/mutex.h"
#include "common/exchange/messages.h"
#include "isthmus/v1/control.pb.h"
#include "isthmus/v1/exchange.pb.h"
#include "server/core/coordinator.h"
#include "server/log/update_ring.h"
#include "server/merge/contribution_store.h"
#include "server/rpc/group_meter.h"

namespace isthmus {

// A worker's exchange stream as the engine uses it. Thread-safe; calls return at once, and do
// nothing once the stream has ended.
class UpdateStream {
 public:
  virtual ~UpdateStream() = default;
  virtual void Send(v1::CoordinatorMessage message) = 0;
  // Sends updates from `from` on, up to what has been published (0: none); Poke() says there is
  // more.
  virtual void SendUpdates(Sequence from) = 0;
  virtual void Poke() = 0;
  virtual void Close(const absl::Status& status) = 0;
};

// Thread-safe.
class Engine {
 public:
  struct Options {
    CoordinatorConfig core;
    uint64_t ring_bytes = uint64_t{256} << 20;
    int merge_threads = 2;
    // Of each transfer: given by the donor, not yet taken by the joiner's stream. What a far, fast
    // link holds.
    uint64_t snapshot_window_bytes = 16 << 20;
  };
  Engine(Options options, const Clock& clock);
  ~Engine();  // streams must have ended

  const CoordinatorConfig& config() const { return options_.core; }
  // Of every round.
  const RoundFormats& formats() const { return formats_; }

  // --- control ---------------------------------------------------------------------------------
  absl::StatusOr<Coordinator::Registered> Register(const Coordinator::RegisterArgs& args);
  absl::Status Ready(Member member, uint64_t change, const Layout& layout);
  absl::Status NotReady(Member member, uint64_t change, const std::string& reason);
  absl::Status Leave(Member member, const std::string& reason);
  absl::StatusOr<v1::HeartbeatReply> Heartbeat(const v1::HeartbeatRequest& request);
  v1::GetStatusReply Status();

  // --- data ------------------------------------------------------------------------------------
  StreamId NewStreamId() { return StreamId(++last_stream_); }
  // On success Welcome has been sent. Returns where the stream counts what crosses it.
  absl::StatusOr<std::shared_ptr<GroupMeter>> Opened(StreamId id,
                                                     std::shared_ptr<UpdateStream> stream,
                                                     const Coordinator::Hello& hello);
  void Closed(StreamId id, const std::string& reason);
  // Asked for every part: does not take the core's lock.
  absl::StatusOr<ChunkRun> BucketChunks(BucketIndex bucket);
  // Decodes on a merge thread; `done` is called there with the verdict. A part that is never to be
  // taken is answered with Refused, its group abstains, and `done` gets OK. Errors end the stream:
  // FAILED_PRECONDITION and ABORTED for who may not speak of that round now, DATA_LOSS for a wrong
  // checksum.
  void Part(StreamId id, GroupId group, WholePart part, std::function<void(absl::Status)> done);
  absl::Status Abstain(StreamId id, const v1::Abstain& abstain);
  absl::Status CaughtUp(StreamId id, const v1::CaughtUp& caught_up);
  absl::Status Audit(StreamId id, const v1::AuditReport& report);
  // Passes on to the donor what the joiner holds. Errors end the joiner's stream.
  absl::Status Held(StreamId joiner, v1::SnapshotHeld held);
  // Passes a donor's frame on to the joiner. Errors end the donor's stream.
  absl::Status Relay(StreamId donor, v1::SnapshotFrame frame);
  // The joiner's stream has taken `bytes` more of what was relayed.
  void Relayed(TransferId transfer, uint64_t bytes);
  void CountRejected();  // a malformed message that did not come so far as Part() or Abstain()

  // For streams.
  Sequence published() const { return Sequence(published_.load()); }
  const UpdateRing& ring() const { return ring_; }

 private:
  struct Relaying {
    StreamId donor;
    StreamId joiner;
    uint64_t next_offset = 0;  // the least that is expected from the donor
    uint64_t given = 0;        // bytes, by the donor
    uint64_t taken = 0;        // of those, by the joiner's stream
    bool last = false;         // the donor has given all
  };
  using Task = std::variant<Action, std::function<void()>>;
  struct Attached {
    std::shared_ptr<UpdateStream> stream;
    std::shared_ptr<GroupMeter> meter;
  };
  using Streams = std::vector<std::shared_ptr<UpdateStream>>;

  // Runs `step(core, now, actions)` under the lock, then performs what is queued, unless another
  // thread is at it.
  template <typename F>
  auto Step(F step);
  // Of a contribution that will not be taken, `why` being INVALID_ARGUMENT.
  absl::Status Refuse(StreamId id, Round round, BucketIndex bucket, const absl::Status& why,
                      Coordinator& core, absl::Time now, Actions& out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Drain();
  void Perform(const Action& action);
  void PerformMerge(const MergeBucket& merge);
  void PerformAppend(Sequence sequence);
  std::shared_ptr<UpdateStream> Find(StreamId id);
  std::shared_ptr<GroupMeter> MeterOf(GroupId group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StreamsChanged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TickLoop();

  const Options options_;
  const Clock& clock_;
  const absl::Time started_;
  const RoundFormats formats_;
  UpdateRing ring_;
  std::atomic<uint64_t> last_stream_{0};
  std::atomic<uint64_t> published_{0};

  InOrder<Task> tasks_;
  Mutex mu_;
  CondVar wake_;
  Coordinator core_ ABSL_GUARDED_BY(mu_);
  ContributionStore store_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::map<StreamId, Attached> streams_ ABSL_GUARDED_BY(mu_);
  // The same for Publish, which would copy it for every update.
  std::shared_ptr<const Streams> publish_to_ ABSL_GUARDED_BY(mu_) =
      std::make_shared<const Streams>();
  std::map<Sequence, std::shared_ptr<const UpdateRecord>> merged_ ABSL_GUARDED_BY(mu_);
  std::map<TransferId, Relaying> relays_ ABSL_GUARDED_BY(mu_);
  std::map<GroupId, v1::HeartbeatRequest> heartbeats_ ABSL_GUARDED_BY(mu_);
  std::map<GroupId, std::shared_ptr<GroupMeter>> meters_ ABSL_GUARDED_BY(mu_);
  uint64_t rejected_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time training_began_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  uint64_t samples_merged_ ABSL_GUARDED_BY(mu_) = 0;  // of first buckets

  // Where the buckets' chunks lie, once a layout is known. Apart from the core's lock, because
  // every part asks.
  Mutex grid_mu_;
  std::shared_ptr<const std::vector<ChunkRun>> grid_ ABSL_GUARDED_BY(grid_mu_);

  class Threads;
  std::unique_ptr<Threads> threads_;
  std::thread ticker_;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_RPC_ENGINE_H_
