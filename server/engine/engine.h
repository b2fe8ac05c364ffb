// The coordinator's core at work: turns what the edge hears into events of the core, and performs
// what the core decides, in order. Owns the core, the stored parts, the log of updates and the
// merge threads. Knows no gRPC and no generated message: server/rpc translates.
//
// One lock guards the core and what belongs to it. Actions leave it in a queue (in_order.h) and are
// performed outside, one at a time: two threads that step the core may not overtake each other on
// their way to a stream, or a Closed could come before the Start that it follows.
#ifndef ISTHMUS_SERVER_ENGINE_ENGINE_H_
#define ISTHMUS_SERVER_ENGINE_ENGINE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/clock.h"
#include "common/base/in_order.h"
#include "common/base/mutex.h"
#include "common/exchange/messages.h"
#include "common/pace/believed_rate.h"
#include "common/run/round_format.h"
#include "common/run/worker_report.h"
#include "server/core/coordinator.h"
#include "server/engine/group_meter.h"
#include "server/engine/status_view.h"
#include "server/engine/update_stream.h"
#include "server/log/update_log.h"
#include "server/merge/contribution_store.h"

namespace isthmus {

// How updates are written in bytes: the wire's messages, which the engine does not know.
// Thread-safe.
class UpdateEncoder {
 public:
  virtual ~UpdateEncoder() = default;
  // An update without contributions; `payload` may be empty.
  virtual std::string Update(const UpdateHeader& header, std::string payload) const = 0;
  // What the `contributor`-th of the update's contributors sent: bytes that may follow Update().
  virtual std::string Contribution(uint32_t contributor,
                                   const std::vector<StoredPart>& parts) const = 0;
};

// Thread-safe. Calls return at once, but for the arithmetic of Part(), which threads of the
// engine's own do.
class Engine {
 public:
  struct Options {
    CoordinatorConfig core;
    uint64_t ring_bytes = uint64_t{256} << 20;
    int merge_threads = 2;
    // Of each transfer: given by the donor, not yet taken by the joiner's stream. What a far, fast
    // link holds.
    uint64_t snapshot_window_bytes = 16 << 20;
    std::optional<bool> probe_links;  // when a stream opens (P24b); unset: of a paced run
  };
  // `encoder` outlives it.
  Engine(Options options, const UpdateEncoder& encoder, const Clock& clock);
  ~Engine();  // streams must have ended

  const CoordinatorConfig& config() const { return options_.core; }
  // A stream that opens is filled for a moment, both ways.
  bool probes_links() const {
    return options_.probe_links.value_or(options_.core.pace.has_value());
  }

  // --- control ---------------------------------------------------------------------------------
  absl::StatusOr<Coordinator::Registered> Register(const Coordinator::RegisterArgs& args);
  absl::Status Ready(Member member, uint64_t change, const Layout& layout);
  absl::Status NotReady(Member member, uint64_t change, const std::string& reason);
  absl::Status Leave(Member member, const std::string& reason);
  struct HeartbeatAnswer {
    Epoch epoch;
    bool running = false;
    std::string waiting;  // what the run waits for, while it does not train; empty: nothing
  };
  absl::StatusOr<HeartbeatAnswer> Heartbeat(Member member, const WorkerReport& report);
  // Errors: FAILED_PRECONDITION for a run that is not paced.
  absl::Status FreezePace(bool frozen);
  // A copy of what is needed is taken under the lock, and made into words outside.
  StatusView Status();

  // --- data ------------------------------------------------------------------------------------
  StreamId NewStreamId() { return StreamId(++last_stream_); }
  // On success Welcome has been said. Returns where the stream counts what crosses it.
  absl::StatusOr<std::shared_ptr<GroupMeter>> Opened(StreamId id,
                                                     std::shared_ptr<UpdateStream> stream,
                                                     const Coordinator::Hello& hello);
  void Closed(StreamId id, const std::string& reason);
  // What contributions of `group` to (round, bucket) look like, and which chunks they cover; none
  // of a round whose format nobody remembers. Asked for every part: does not take the core's lock.
  // Errors: as Coordinator::BucketChunks().
  absl::StatusOr<std::optional<PayloadShape>> ShapeOf(Round round, BucketIndex bucket,
                                                      GroupId group);
  // Decodes on a merge thread; `done` is called there with the verdict. A part that is never to be
  // taken is answered with SayRefused, its group abstains, and `done` gets OK. Errors end the
  // stream: FAILED_PRECONDITION and ABORTED for who may not speak of that round now, DATA_LOSS for
  // a wrong checksum.
  void Part(StreamId id, GroupId group, WholePart part, std::function<void(absl::Status)> done);
  absl::Status Abstain(StreamId id, Round round, BucketIndex bucket, AbstainReason reason);
  absl::Status CaughtUp(StreamId id, TransferId transfer, Sequence sequence);
  absl::Status Audit(StreamId id, Round round, const BucketHashes& hashes);
  // Passes on to the donor what the joiner holds.
  void Held(StreamId joiner, TransferId transfer, std::unique_ptr<RelayedMessage> message);
  // Passes on to the joiner what the donor says: `size` bytes at `offset` of the snapshot; `last`:
  // nothing follows. Errors end the donor's stream.
  absl::Status Relay(StreamId donor, TransferId transfer, uint64_t offset, uint64_t size, bool last,
                     std::unique_ptr<RelayedMessage> message);
  // The joiner's stream has taken `bytes` more of what was relayed.
  void Relayed(TransferId transfer, uint64_t bytes);
  void CountRejected();  // a malformed message that did not come so far as Part() or Abstain()

  // For streams.
  Sequence published() const { return Sequence(published_.load()); }
  const UpdateLog& log() const { return *log_; }

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
  // Of a contribution that will not be taken.
  absl::Status Refuse(StreamId id, Round round, BucketIndex bucket, const absl::Status& why,
                      Coordinator& core, absl::Time now, Actions& out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Answers to actions.
  void Merged(Sequence sequence, std::shared_ptr<const UpdateRecord> record);
  void Appended(Sequence sequence);
  void Drain();
  // One for each kind of action.
  void Perform(const MergeBucket& merge);
  void Perform(const Append& append);
  void Perform(const Publish& publish);
  void Perform(const SendUpdates& updates);
  void Perform(const SendStart& start);
  void Perform(const SendDue& due);
  void Perform(const SendClosed& closed);
  void Perform(const StartTransfer& transfer);
  void Perform(const AbortTransfer& abort);
  void Perform(const CloseStream& close);
  void Perform(const DropContribution& drop);
  void Perform(const Happened& happened);

  void Say(StreamId stream, const ToWorker& what);
  std::shared_ptr<const UpdateRecord> Merge(
      const MergeBucket& merge, const RoundFormats& formats, const PayloadPlace& place,
      const std::vector<std::vector<StoredPart>>& parts) const;
  // What the link of a group, and its job, were measured to do, for the pace; `fresh`: the report
  // has just come.
  void TellMeasured(GroupId id, const WorkerReport& report, bool fresh, Coordinator& core)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::shared_ptr<UpdateStream> Find(StreamId id);
  std::shared_ptr<GroupMeter> MeterOf(GroupId group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StreamsChanged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TellFrames(Coordinator& core, absl::Time now, Actions& out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TickLoop();
  void Tell(Event event);

  const Options options_;
  const UpdateEncoder& encoder_;
  const Clock& clock_;
  const absl::Time started_;
  const std::unique_ptr<UpdateLog> log_;
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
  std::map<GroupId, WorkerReport> reports_ ABSL_GUARDED_BY(mu_);  // of the last heartbeats
  std::map<GroupId, std::shared_ptr<GroupMeter>> meters_ ABSL_GUARDED_BY(mu_);
  struct BelievedLink {
    BelievedRate up;
    BelievedRate down;
  };
  std::map<GroupId, BelievedLink> believed_ ABSL_GUARDED_BY(mu_);  // of a paced run
  uint64_t rejected_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time training_began_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  uint64_t samples_merged_ ABSL_GUARDED_BY(mu_) = 0;  // of first buckets
  void NoteRounds(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::deque<PastRound> rounds_ ABSL_GUARDED_BY(mu_);
  PastRound rounds_so_far_ ABSL_GUARDED_BY(mu_);  // bytes of all of them
  absl::Time last_round_at_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  std::deque<PastEvent> events_ ABSL_GUARDED_BY(mu_);
  uint64_t event_count_ ABSL_GUARDED_BY(mu_) = 0;
  // Where the buckets' chunks lie, once a layout is known. Apart from the core's lock, because
  // every part asks; taken inside of it where both are.
  struct Grid {
    Buckets buckets;
    RoundFormats formats;
  };
  std::shared_ptr<const Grid> grid();
  void RenewGrid() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Mutex grid_mu_;
  std::shared_ptr<const Grid> grid_ ABSL_GUARDED_BY(grid_mu_);

  class Threads;
  std::unique_ptr<Threads> threads_;
  std::thread ticker_;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_ENGINE_ENGINE_H_
