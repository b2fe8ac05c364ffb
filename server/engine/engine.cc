#include "server/engine/engine.h"

#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include <algorithm>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compression/payload.h"
#include "common/telemetry/log.h"
#include "server/engine/merge_threads.h"
#include "server/log/update_ring.h"
#include "server/merge/merge_bucket.h"

namespace isthmus {
namespace {

constexpr absl::Duration kLongestNap = absl::Seconds(1);
constexpr size_t kMaxRounds = 256;  // remembered for status

std::span<const std::byte> Bytes(const std::string& s) {
  return std::as_bytes(std::span(s.data(), s.size()));
}

}  // namespace

Engine::Engine(Options options, const UpdateEncoder& encoder, const Clock& clock)
    : options_(std::move(options)),
      encoder_(encoder),
      clock_(clock),
      started_(clock.Now()),
      log_(std::make_unique<UpdateRing>(options_.ring_bytes)),
      core_(options_.core),
      threads_(std::make_unique<Threads>(options_.merge_threads)),
      ticker_([this] { TickLoop(); }) {}

Engine::~Engine() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  ticker_.join();
  threads_->Join();  // waits for merges under way, and for those that they lead to
}

template <typename F>
auto Engine::Step(F step) {
  Actions actions;
  const auto finish = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    for (Action& action : actions) {
      if (const auto* drop = std::get_if<DropContribution>(&action)) {
        // At once: in its turn it could hit parts that the group has sent anew by then.
        store_.Drop(drop->group, drop->round, drop->bucket);
        continue;
      }
      tasks_.Add(std::move(action));
    }
    RenewGrid();
    // The ticker looks at every group when it wakes; most events give it no reason to.
    if (core_.TakeWakeupMoved()) wake_.NotifyAll();
  };
  if constexpr (std::is_void_v<decltype(step(core_, absl::Time(), actions))>) {
    {
      MutexLock lock(&mu_);
      step(core_, clock_.Now(), actions);
      finish();
    }
    Drain();
  } else {
    auto result = [&] {
      MutexLock lock(&mu_);
      auto value = step(core_, clock_.Now(), actions);
      finish();
      return value;
    }();
    Drain();
    return result;
  }
}

void Engine::Drain() {
  tasks_.Drain([this](Task& task) {
    if (auto* action = std::get_if<Action>(&task)) {
      std::visit([this](const auto& what) { Perform(what); }, *action);
    } else {
      std::get<std::function<void()>>(task)();
    }
  });
}

// Sleeps until the core wants to be woken. Looks again at least every kLongestNap: a clock that a
// test holds still tells nobody when it moves.
void Engine::TickLoop() {
  while (true) {
    {
      MutexLock lock(&mu_);
      if (stopping_) return;
      const absl::Duration nap = std::min(kLongestNap, core_.NextWakeup() - clock_.Now());
      if (nap > absl::ZeroDuration()) {
        wake_.WaitFor(&mu_, absl::ToChronoNanoseconds(nap));
      }
      if (stopping_) return;
      if (core_.NextWakeup() > clock_.Now()) continue;
    }
    Step([this](Coordinator& core, absl::Time now, Actions& out)
             ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
               TellFrames(core, now, out);
               core.Tick(now, out);
             });
  }
}

// Frames are counted without the core, which needs to know of them only when a deadline passes: who
// gets on is slow, who does not is silent (P9).
void Engine::TellFrames(Coordinator& core, absl::Time now, Actions& out) {
  for (const auto& [id, attached] : streams_) {
    const absl::Time at = attached.meter->last_frame();
    core.FrameArrived(id, attached.meter->last_frame_round(), at, now, out);
    core.UpdatesTaken(id, attached.meter->last_taken(), now);
  }
}

// What came with a heartbeat is looked at once; its link's rate upwards, which is measured here, as
// often as it is asked for.
void Engine::TellMeasured(GroupId id, const WorkerReport& report, bool fresh, Coordinator& core) {
  if (!options_.core.pace) return;
  const std::shared_ptr<GroupMeter> meter = MeterOf(id);
  BelievedLink& believed = believed_[id];
  if (fresh || !meter->up().at_least) believed.up.Saw(meter->up());
  if (fresh) believed.down.Saw(report.down);
  const std::optional<double> up = believed.up.bytes_per_second();
  const std::optional<double> down = believed.down.bytes_per_second();
  const std::optional<absl::Duration> round_trip = meter->round_trip();
  // What a worker says may be anything.
  const auto known = [](double seconds) { return seconds >= 0 && seconds < 1e6; };
  PacedSite site{
      .path = {up.value_or(0), down.value_or(0), round_trip.value_or(absl::InfiniteDuration())},
      .measured = up && down && round_trip};
  if (known(report.compute_seconds)) site.compute = absl::Seconds(report.compute_seconds);
  if (report.exchange_wait_since != Round(0) && known(report.exchange_wait_seconds)) {
    site.waited = absl::Seconds(report.exchange_wait_seconds);
    site.waited_since = report.exchange_wait_since;
  }
  core.Measured(id, site);
}

std::shared_ptr<UpdateStream> Engine::Find(StreamId id) {
  MutexLock lock(&mu_);
  const auto it = streams_.find(id);
  return it == streams_.end() ? nullptr : it->second.stream;
}

std::shared_ptr<GroupMeter> Engine::MeterOf(GroupId group) {
  std::shared_ptr<GroupMeter>& meter = meters_[group];
  if (meter == nullptr) meter = std::make_shared<GroupMeter>();
  return meter;
}

void Engine::StreamsChanged() {
  auto streams = std::make_shared<Streams>();
  for (const auto& [id, attached] : streams_) streams->push_back(attached.stream);
  publish_to_ = std::move(streams);
}

// --- control -----------------------------------------------------------------------------------

absl::StatusOr<Coordinator::Registered> Engine::Register(const Coordinator::RegisterArgs& args) {
  auto result = Step([&](Coordinator& core, absl::Time now, Actions& out) {
    return core.Register(args, now, out);
  });
  if (!result.ok()) Tell(RefusedMember{args.group, std::string(result.status().message())});
  return result;
}

absl::Status Engine::Ready(Member member, uint64_t change, const Layout& layout) {
  absl::Status status = Step([&](Coordinator& core, absl::Time now, Actions& out) {
    return core.Ready(member, change, layout, now, out);
  });
  if (!status.ok()) Tell(RefusedMember{member.group, std::string(status.message())});
  return status;
}

absl::Status Engine::NotReady(Member member, uint64_t change, const std::string& reason) {
  return Step([&](Coordinator& core, absl::Time now, Actions& out) {
    return core.NotReady(member, change, reason, now, out);
  });
}

absl::Status Engine::Leave(Member member, const std::string& reason) {
  return Step([&](Coordinator& core, absl::Time now, Actions& out) {
    return core.Leave(member, reason, now, out);
  });
}

absl::StatusOr<Engine::HeartbeatAnswer> Engine::Heartbeat(Member member,
                                                          const WorkerReport& report) {
  using Result = absl::StatusOr<HeartbeatAnswer>;
  return Step([&](Coordinator& core, absl::Time now,
                  Actions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) -> Result {
    ISTHMUS_RETURN_IF_ERROR(core.Heartbeat(member, report.samples, report.phase, now, out));
    reports_[member.group] = report;
    TellMeasured(member.group, report, true, core);
    MeterOf(member.group)->Heard(now);
    const Coordinator::State state = core.state(now);
    return HeartbeatAnswer{core.membership().epoch(), state != Coordinator::State::kEnded,
                           state == Coordinator::State::kTraining ? "" : core.WaitingReason(now)};
  });
}

absl::Status Engine::FreezePace(bool frozen) {
  if (!options_.core.pace) {
    return absl::FailedPreconditionError("this run is not paced: its coordinator has no --pace");
  }
  Step([&](Coordinator& core, absl::Time, Actions& out) { core.Freeze(frozen, out); });
  return absl::OkStatus();
}

// --- data --------------------------------------------------------------------------------------

absl::StatusOr<std::shared_ptr<GroupMeter>> Engine::Opened(StreamId id,
                                                           std::shared_ptr<UpdateStream> stream,
                                                           const Coordinator::Hello& hello) {
  using Result = absl::StatusOr<std::shared_ptr<GroupMeter>>;
  return Step([&](Coordinator& core, absl::Time now,
                  Actions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) -> Result {
    const auto next = core.StreamOpened(id, hello, log_->first_available(), now, out);
    ISTHMUS_RETURN_IF_ERROR(next.status());
    const std::shared_ptr<GroupMeter> meter = MeterOf(hello.member.group);
    meter->Heard(now);
    // What is known of a link is not found out anew whenever that breaks.
    const bool probe = probes_links() && !(meter->up().bytes_per_second > 0);
    streams_[id] = {stream, meter};
    StreamsChanged();
    // Before what follows.
    tasks_.Add(std::function<void()>(
        [stream, welcome = SayWelcome{core.membership().epoch(), *next, probe}] {
          stream->Say(welcome);
        }));
    return meter;
  });
}

void Engine::Closed(StreamId id, const std::string& reason) {
  Step([&](Coordinator& core, absl::Time now, Actions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (streams_.erase(id) > 0) StreamsChanged();
    core.StreamClosed(id, reason, now, out);
  });
}

std::shared_ptr<const Engine::Grid> Engine::grid() {
  MutexLock lock(&grid_mu_);
  return grid_;
}

void Engine::RenewGrid() {
  if (!core_.layout()) return;
  MutexLock lock(&grid_mu_);
  const Buckets& buckets = core_.buckets();
  if (grid_ != nullptr && grid_->formats.last() == core_.formats().last() &&
      grid_->buckets.length() == buckets.length() && grid_->buckets.count() == buckets.count()) {
    return;
  }
  grid_ = std::make_shared<const Grid>(Grid{core_.buckets(), core_.formats()});
}

absl::StatusOr<std::optional<PayloadShape>> Engine::ShapeOf(Round round, BucketIndex bucket,
                                                            GroupId group) {
  const auto known = grid();
  if (known == nullptr) return absl::FailedPreconditionError("no layout is known yet");
  const uint32_t count = known->buckets.count();
  if (bucket.value() >= count) {
    return absl::InvalidArgumentError(
        absl::StrCat("bucket: expected below ", count, ", got ", bucket.value()));
  }
  if (!known->formats.Knows(round)) return std::optional<PayloadShape>();
  return std::optional(PayloadShape{known->formats.FormatAt(round, group),
                                    known->formats.ChunksAt(round, known->buckets.bucket(bucket))});
}

void Engine::Part(StreamId id, GroupId group, WholePart part,
                  std::function<void(absl::Status)> done) {
  threads_->Post([this, id, group, part = std::move(part), done = std::move(done)]() mutable {
    const auto shape = ShapeOf(part.round, part.bucket, group);
    if (!shape.ok() || !*shape) return done(shape.status());
    const PayloadPlace place{part.round.value(), part.chunks};
    const auto view = PayloadView::Parse(Bytes(part.payload), (*shape)->format, place);
    done(Step([&](Coordinator& core, absl::Time now,
                  Actions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) -> absl::Status {
      const auto refuse = [&](const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
        return Refuse(id, part.round, part.bucket, why, core, now, out);
      };
      if (absl::IsDataLoss(view.status())) {
        return refuse(absl::DataLossError(
            absl::StrCat("group ", group.value(), " round ", part.round.value(), " bucket ",
                         part.bucket.value(), ": ", std::string(view.status().message()))));
      }
      if (!view.ok()) return refuse(view.status());
      const auto fate =
          core.PartArrived(id, part.round, part.bucket, part.chunks, part.info, now, out);
      if (!fate.ok()) return refuse(fate.status());
      if (*fate == Coordinator::PartFate::kStore) {
        store_.Put(group, part.round, part.bucket, {place, std::move(part.payload)});
      }
      return absl::OkStatus();
    }));
  });
}

absl::Status Engine::Refuse(StreamId id, Round round, BucketIndex bucket, const absl::Status& why,
                            Coordinator& core, absl::Time now, Actions& out) {
  ++rejected_;
  // Anything else may go better another time: the stream ends, and the worker thinks again.
  if (why.code() != absl::StatusCode::kInvalidArgument) return why;
  // Nothing more will come from this group, so nobody waits for it (P9). Its update will not list
  // it, and that is what gives the sender back what it took (P12).
  ISTHMUS_RETURN_IF_ERROR(core.Abstained(id, round, bucket, AbstainReason::kRefused, now, out));
  if (const auto at = streams_.find(id); at != streams_.end()) {
    tasks_.Add(
        std::function<void()>([stream = at->second.stream,
                               refused = SayRefused{round, bucket, std::string(why.message())}] {
          stream->Say(refused);
        }));
  }
  return absl::OkStatus();
}

absl::Status Engine::Abstain(StreamId id, Round round, BucketIndex bucket, AbstainReason reason) {
  return Step([&](Coordinator& core, absl::Time now, Actions& out)
                  ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
                    absl::Status status = core.Abstained(id, round, bucket, reason, now, out);
                    if (!status.ok()) ++rejected_;
                    return status;
                  });
}

absl::Status Engine::CaughtUp(StreamId id, TransferId transfer, Sequence sequence) {
  return Step([&](Coordinator& core, absl::Time now, Actions& out)
                  ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
                    relays_.erase(transfer);
                    return core.CaughtUp(id, transfer, sequence, log_->first_available(), now, out);
                  });
}

absl::Status Engine::Audit(StreamId id, Round round, const BucketHashes& hashes) {
  return Step([&](Coordinator& core, absl::Time now, Actions& out)
                  ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
                    absl::Status status = core.AuditArrived(id, round, hashes, now, out);
                    if (!status.ok()) ++rejected_;
                    return status;
                  });
}

void Engine::Held(StreamId joiner, TransferId transfer, std::unique_ptr<RelayedMessage> message) {
  std::shared_ptr<UpdateStream> donor;
  {
    MutexLock lock(&mu_);
    const auto it = relays_.find(transfer);
    if (it == relays_.end() || it->second.joiner != joiner) return;  // aborted
    core_.TransferProgress(transfer, clock_.Now());
    if (const auto s = streams_.find(it->second.donor); s != streams_.end()) {
      donor = s->second.stream;
    }
  }
  if (donor != nullptr) donor->Relay(std::move(message));
}

absl::Status Engine::Relay(StreamId donor, TransferId transfer, uint64_t offset, uint64_t size,
                           bool last, std::unique_ptr<RelayedMessage> message) {
  std::shared_ptr<UpdateStream> joiner;
  {
    MutexLock lock(&mu_);
    const auto it = relays_.find(transfer);
    if (it == relays_.end() || it->second.donor != donor) return absl::OkStatus();  // aborted
    Relaying& relay = it->second;
    if (relay.last || size > kFrameBytes || (size == 0 && !last) || offset < relay.next_offset ||
        relay.given + size > relay.taken + options_.snapshot_window_bytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "snapshot ", transfer.value(), ": frame of ", size, " bytes at offset ", offset,
          "; expected ", relay.last ? "none any more" : absl::StrCat("1 to ", kFrameBytes), " at ",
          relay.next_offset, " or later and within the window of ",
          options_.snapshot_window_bytes));
    }
    relay.next_offset = offset + size;
    relay.given += size;
    relay.last = last;
    core_.TransferProgress(transfer, clock_.Now());
    if (const auto s = streams_.find(relay.joiner); s != streams_.end()) joiner = s->second.stream;
  }
  if (joiner != nullptr) joiner->Relay(std::move(message));
  return absl::OkStatus();
}

void Engine::Relayed(TransferId transfer, uint64_t bytes) {
  std::shared_ptr<UpdateStream> donor;
  uint64_t taken = 0;
  {
    MutexLock lock(&mu_);
    const auto it = relays_.find(transfer);
    if (it == relays_.end()) return;
    taken = it->second.taken += bytes;
    core_.TransferProgress(transfer, clock_.Now());
    if (const auto s = streams_.find(it->second.donor); s != streams_.end())
      donor = s->second.stream;
  }
  if (donor != nullptr) donor->Say(SaySnapshotTaken{transfer, taken});
}

// --- answers to actions ------------------------------------------------------------------------

// Merges end in any order; the core answers with Append in sequence.
void Engine::Merged(Sequence sequence, std::shared_ptr<const UpdateRecord> record) {
  Step([&](Coordinator& core, absl::Time now, Actions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    merged_[sequence] = std::move(record);
    core.Merged(sequence, now, out);
  });
}

void Engine::Appended(Sequence sequence) {
  Step([&](Coordinator& core, absl::Time now, Actions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    for (const auto& [id, report] : reports_) {  // a round may open
      TellMeasured(id, report, false, core);
    }
    core.Appended(sequence, now, out);
    NoteRounds(now);
  });
}

// Bytes of the next round may be on their way already: few.
void Engine::NoteRounds(absl::Time now) {
  const uint64_t committed = core_.counters().rounds_committed;
  if (committed == 0 || Round(committed) == rounds_so_far_.round) return;
  if (!core_.formats().Knows(Round(committed))) return;  // of before this process
  uint64_t up = 0, down = 0;
  for (const auto& [id, meter] : meters_) {
    up += meter->bytes_up();
    down += meter->bytes_down();
  }
  PastRound past{.round = Round(committed), .format = core_.formats().At(Round(committed))};
  past.took = now - (last_round_at_ < now ? last_round_at_ : std::min(training_began_, now));
  past.bytes_up = up - rounds_so_far_.bytes_up;
  past.bytes_down = down - rounds_so_far_.bytes_down;
  rounds_so_far_ = {.round = past.round, .bytes_up = up, .bytes_down = down};
  last_round_at_ = now;
  rounds_.push_back(std::move(past));
  if (rounds_.size() > kMaxRounds) rounds_.pop_front();
}

void Engine::CountRejected() {
  MutexLock lock(&mu_);
  ++rejected_;
}

}  // namespace isthmus
