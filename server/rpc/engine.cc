#include "server/rpc/engine.h"

#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include <asio/post.hpp>
#include <asio/thread_pool.hpp>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compression/payload.h"
#include "common/exchange/state_image.h"
#include "common/telemetry/log.h"
#include "common/transport/convert.h"
#include "server/merge/merge_bucket.h"

namespace isthmus {
namespace {

constexpr absl::Duration kLongestNap = absl::Seconds(1);

std::span<const std::byte> Bytes(const std::string& s) {
  return std::as_bytes(std::span(s.data(), s.size()));
}

}  // namespace

class Engine::Threads {
 public:
  explicit Threads(int count) : pool_(count) {}
  ~Threads() { Join(); }
  void Join() { pool_.join(); }
  template <typename F>
  void Post(F f) {
    asio::post(pool_, std::move(f));
  }

 private:
  asio::thread_pool pool_;
};

Engine::Engine(Options options, const Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      started_(clock.Now()),
      formats_(options_.core.run),
      ring_(options_.ring_bytes),
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
      Perform(*action);
    } else {
      std::get<std::function<void()>>(task)();
    }
  });
}

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
               // Frames are counted without the core, which needs to know of them only now: who
               // sends is slow, who does not is silent.
               for (const auto& [id, attached] : streams_) {
                 core.FrameArrived(id, attached.meter->last_frame_round(),
                                   attached.meter->last_frame(), now, out);
               }
               core.Tick(now, out);
             });
  }
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
  LogInfo(result.ok() ? absl::StrCat("group ", args.group.value(), " '", args.label,
                                     "' registered as incarnation ", result->incarnation.value())
                      : absl::StrCat("refused: ", std::string(result.status().message())));
  return result;
}

absl::Status Engine::Ready(Member member, uint64_t change, const Layout& layout) {
  absl::Status status = Step([&](Coordinator& core, absl::Time now, Actions& out) {
    absl::Status accepted = core.Ready(member, change, layout, now, out);
    if (!accepted.ok()) return accepted;
    MutexLock lock(&grid_mu_);
    grid_ = std::make_shared<const std::vector<ChunkRun>>(core.bucket_chunks());
    return accepted;
  });
  LogInfo(status.ok() ? absl::StrCat("group ", member.group.value(), " is ready")
                      : absl::StrCat("refused: ", std::string(status.message())));
  return status;
}

absl::Status Engine::NotReady(Member member, uint64_t change, const std::string& reason) {
  LogInfo(absl::StrCat("group ", member.group.value(), " is not ready: ", reason));
  return Step([&](Coordinator& core, absl::Time now, Actions& out) {
    return core.NotReady(member, change, reason, now, out);
  });
}

absl::Status Engine::Leave(Member member, const std::string& reason) {
  LogInfo(absl::StrCat("group ", member.group.value(), " leaves: ", reason));
  return Step([&](Coordinator& core, absl::Time now, Actions& out) {
    return core.Leave(member, reason, now, out);
  });
}

absl::StatusOr<v1::HeartbeatReply> Engine::Heartbeat(const v1::HeartbeatRequest& request) {
  MutexLock lock(&mu_);
  const Member member{GroupId(request.identity().group_id()),
                      Incarnation(request.identity().incarnation())};
  ISTHMUS_RETURN_IF_ERROR(core_.CheckMember(member));
  heartbeats_[member.group] = request;
  MeterOf(member.group)->Heard(clock_.Now());
  v1::HeartbeatReply reply;
  reply.set_epoch(core_.membership().epoch().value());
  reply.set_running(core_.state(clock_.Now()) != Coordinator::State::kEnded);
  return reply;
}

v1::GetStatusReply Engine::Status() {
  MutexLock lock(&mu_);
  const absl::Time now = clock_.Now();
  v1::GetStatusReply s;
  s.set_instance(options_.core.instance);
  s.set_epoch(core_.membership().epoch().value());
  static constexpr v1::GetStatusReply::State kStates[] = {
      v1::GetStatusReply::WAITING_FOR_GROUPS, v1::GetStatusReply::AGREEING,
      v1::GetStatusReply::TRAINING, v1::GetStatusReply::WAITING_FOR_QUORUM,
      v1::GetStatusReply::ENDED};
  s.set_state(kStates[static_cast<int>(core_.state(now))]);
  s.set_waiting_reason(core_.WaitingReason(now));
  s.set_round(core_.open_round().value());
  const CoordinatorCounters& counters = core_.counters();
  s.set_rounds_committed(counters.rounds_committed);
  s.set_sequence(core_.last_sequence().value());
  ToProto(options_.core.run, s.mutable_run());
  if (core_.layout()) s.set_parameters(core_.layout()->logical_length());
  s.set_buckets(core_.buckets().count());
  s.set_contributions_merged(counters.contributions_merged);
  s.set_contributions_late(counters.contributions_late);
  s.set_contributions_rejected(rejected_);
  s.set_abstentions(counters.abstentions);
  s.set_scalar_mismatches(counters.scalar_mismatches);
  s.set_audits(counters.audits);
  s.set_audit_mismatches(counters.audit_mismatches);
  s.set_uptime_seconds(absl::ToDoubleSeconds(now - started_));
  s.set_loss(core_.last_loss());
  if (now > training_began_) {
    s.set_samples_per_second(static_cast<double>(samples_merged_) /
                             absl::ToDoubleSeconds(now - training_began_));
  }
  s.set_ring_bytes(ring_.bytes());
  for (const auto& [id, group] : core_.membership().groups()) {
    v1::GroupStatus* g = s.add_groups();
    g->set_group_id(id.value());
    g->set_label(group.label);
    g->set_incarnation(group.incarnation.value());
    g->set_state(group.left       ? "gone"
                 : group.silent   ? "silent"
                 : group.too_slow ? "too slow"
                 : group.active() ? "active"
                 : group.in_sync  ? (group.ready ? "ready" : "waiting for its job")
                 : group.ready    ? "syncing"
                                  : "registered");
    g->set_connected(group.stream.has_value());
    g->set_awaited(core_.round().awaited().contains(id));
    g->set_buckets_received(core_.round().CompleteBuckets(id));
    g->set_ranks(group.ranks);
    const std::shared_ptr<GroupMeter> meter = MeterOf(id);
    g->set_bytes_up(meter->bytes_up());
    g->set_bytes_down(meter->bytes_down());
    g->set_last_event(group.last_event);
    if (meter->heard() != absl::InfinitePast()) {
      g->set_seconds_since_heard(absl::ToDoubleSeconds(now - meter->heard()));
    }
    if (const auto it = heartbeats_.find(id); it != heartbeats_.end()) {
      *g->mutable_heartbeat() = it->second;
    }
  }
  return s;
}

// --- data --------------------------------------------------------------------------------------

absl::StatusOr<std::shared_ptr<GroupMeter>> Engine::Opened(StreamId id,
                                                           std::shared_ptr<UpdateStream> stream,
                                                           const Coordinator::Hello& hello) {
  using Result = absl::StatusOr<std::shared_ptr<GroupMeter>>;
  return Step([&](Coordinator& core, absl::Time now,
                  Actions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) -> Result {
    const auto next = core.StreamOpened(id, hello, ring_.first_available(), now, out);
    ISTHMUS_RETURN_IF_ERROR(next.status());
    const std::shared_ptr<GroupMeter> meter = MeterOf(hello.member.group);
    meter->Heard(now);
    streams_[id] = {stream, meter};
    StreamsChanged();
    v1::CoordinatorMessage message;
    message.mutable_welcome()->set_epoch(core.membership().epoch().value());
    message.mutable_welcome()->set_next_sequence(next->value());
    // Before what follows.
    tasks_.Add(std::function<void()>([stream, message] { stream->Send(message); }));
    return meter;
  });
}

void Engine::Closed(StreamId id, const std::string& reason) {
  Step([&](Coordinator& core, absl::Time now, Actions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (streams_.erase(id) > 0) StreamsChanged();
    core.StreamClosed(id, reason, now, out);
  });
}

absl::StatusOr<ChunkRun> Engine::BucketChunks(BucketIndex bucket) {
  MutexLock lock(&grid_mu_);
  if (grid_ == nullptr) return absl::FailedPreconditionError("no layout is known yet");
  if (bucket.value() < grid_->size()) return (*grid_)[bucket.value()];
  return absl::InvalidArgumentError(
      absl::StrCat("bucket: expected below ", grid_->size(), ", got ", bucket.value()));
}

void Engine::Part(StreamId id, GroupId group, WholePart part,
                  std::function<void(absl::Status)> done) {
  threads_->Post([this, id, group, part = std::move(part), done = std::move(done)]() mutable {
    const PayloadPlace place{part.round.value(), part.chunks.first, part.chunks.count};
    const auto view =
        PayloadView::Parse(Bytes(part.payload), formats_.FormatAt(part.round, group), place);
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
  v1::CoordinatorMessage message;
  message.mutable_refused()->set_round(round.value());
  message.mutable_refused()->set_bucket(bucket.value());
  message.mutable_refused()->set_reason(std::string(why.message()));
  const auto stream = streams_.find(id);
  if (stream != streams_.end()) {
    tasks_.Add(std::function<void()>([s = stream->second.stream, message] { s->Send(message); }));
  }
  return absl::OkStatus();
}

absl::Status Engine::Abstain(StreamId id, const v1::Abstain& abstain) {
  if (abstain.reason() == v1::Abstain::REASON_UNSPECIFIED ||
      !v1::Abstain::Reason_IsValid(abstain.reason())) {
    CountRejected();
    return absl::InvalidArgumentError(
        absl::StrCat("abstain reason: expected 1 to 3, got ", static_cast<int>(abstain.reason())));
  }
  return Step([&](Coordinator& core, absl::Time now,
                  Actions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    absl::Status status = core.Abstained(id, Round(abstain.round()), BucketIndex(abstain.bucket()),
                                         static_cast<AbstainReason>(abstain.reason()), now, out);
    if (!status.ok()) ++rejected_;
    return status;
  });
}

absl::Status Engine::CaughtUp(StreamId id, const v1::CaughtUp& caught_up) {
  return Step([&](Coordinator& core, absl::Time now, Actions& out)
                  ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
                    const TransferId transfer(caught_up.transfer());
                    relays_.erase(transfer);
                    return core.CaughtUp(id, transfer, Sequence(caught_up.sequence()),
                                         ring_.first_available(), now, out);
                  });
}

absl::Status Engine::Audit(StreamId id, const v1::AuditReport& report) {
  const BucketHashes hashes(report.bucket_hashes().begin(), report.bucket_hashes().end());
  return Step(
      [&](Coordinator& core, absl::Time now, Actions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
        absl::Status status = core.AuditArrived(id, Round(report.round()), hashes, now, out);
        if (!status.ok()) ++rejected_;
        return status;
      });
}

absl::Status Engine::Held(StreamId joiner, v1::SnapshotHeld held) {
  if (held.block_hashes_size() > static_cast<int>(kMaxStateBlocks)) {
    CountRejected();
    return absl::InvalidArgumentError(absl::StrCat("snapshot ", held.transfer(), ": hashes of ",
                                                   held.block_hashes_size(),
                                                   " blocks, expected at most ", kMaxStateBlocks));
  }
  std::shared_ptr<UpdateStream> donor;
  {
    MutexLock lock(&mu_);
    const TransferId transfer(held.transfer());
    const auto it = relays_.find(transfer);
    if (it == relays_.end() || it->second.joiner != joiner) return absl::OkStatus();  // aborted
    core_.TransferProgress(transfer, clock_.Now());
    if (const auto s = streams_.find(it->second.donor); s != streams_.end())
      donor = s->second.stream;
  }
  if (donor == nullptr) return absl::OkStatus();
  v1::CoordinatorMessage message;
  *message.mutable_snapshot_held() = std::move(held);
  donor->Send(std::move(message));
  return absl::OkStatus();
}

absl::Status Engine::Relay(StreamId donor, v1::SnapshotFrame frame) {
  std::shared_ptr<UpdateStream> joiner;
  {
    MutexLock lock(&mu_);
    const auto it = relays_.find(TransferId(frame.transfer()));
    if (it == relays_.end() || it->second.donor != donor) return absl::OkStatus();  // aborted
    Relaying& relay = it->second;
    const uint64_t size = frame.data().size();
    if (relay.last || size > kFrameBytes || (size == 0 && !frame.last()) ||
        frame.offset() < relay.next_offset ||
        relay.given + size > relay.taken + options_.snapshot_window_bytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "snapshot ", frame.transfer(), ": frame of ", size, " bytes at offset ", frame.offset(),
          "; expected ", relay.last ? "none any more" : absl::StrCat("1 to ", kFrameBytes), " at ",
          relay.next_offset, " or later and within the window of ",
          options_.snapshot_window_bytes));
    }
    relay.next_offset = frame.offset() + size;
    relay.given += size;
    relay.last = frame.last();
    core_.TransferProgress(TransferId(frame.transfer()), clock_.Now());
    if (const auto s = streams_.find(relay.joiner); s != streams_.end()) joiner = s->second.stream;
  }
  if (joiner == nullptr) return absl::OkStatus();
  v1::CoordinatorMessage message;
  *message.mutable_snapshot() = std::move(frame);
  joiner->Send(std::move(message));
  return absl::OkStatus();
}

void Engine::Relayed(TransferId transfer, uint64_t bytes) {
  std::shared_ptr<UpdateStream> donor;
  v1::CoordinatorMessage message;
  {
    MutexLock lock(&mu_);
    const auto it = relays_.find(transfer);
    if (it == relays_.end()) return;
    it->second.taken += bytes;
    message.mutable_snapshot_ack()->set_transfer(transfer.value());
    message.mutable_snapshot_ack()->set_taken_bytes(it->second.taken);
    core_.TransferProgress(transfer, clock_.Now());
    if (const auto s = streams_.find(it->second.donor); s != streams_.end())
      donor = s->second.stream;
  }
  if (donor != nullptr) donor->Send(std::move(message));
}

void Engine::CountRejected() {
  MutexLock lock(&mu_);
  ++rejected_;
}

// --- performing --------------------------------------------------------------------------------

void Engine::Perform(const Action& action) {
  v1::CoordinatorMessage message;
  if (const auto* merge = std::get_if<MergeBucket>(&action)) {
    PerformMerge(*merge);
  } else if (const auto* append = std::get_if<Append>(&action)) {
    PerformAppend(append->sequence);
  } else if (const auto* publish = std::get_if<Publish>(&action)) {
    published_.store(publish->sequence.value());
    std::shared_ptr<const Streams> streams;
    {
      MutexLock lock(&mu_);
      streams = publish_to_;
    }
    for (const std::shared_ptr<UpdateStream>& stream : *streams) stream->Poke();
  } else if (const auto* updates = std::get_if<SendUpdates>(&action)) {
    if (auto stream = Find(updates->stream)) stream->SendUpdates(updates->from);
  } else if (const auto* start = std::get_if<SendStart>(&action)) {
    {
      MutexLock lock(&mu_);
      training_began_ = std::min(training_began_, clock_.Now());
    }
    message.mutable_start()->set_group_index(start->group_index);
    message.mutable_start()->set_group_count(start->group_count);
    message.mutable_start()->set_open_round(start->open_round.value());
    if (auto stream = Find(start->stream)) stream->Send(message);
  } else if (const auto* closed = std::get_if<SendClosed>(&action)) {
    message.mutable_closed()->set_round(closed->round.value());
    message.mutable_closed()->set_bucket(closed->bucket.value());
    if (auto stream = Find(closed->stream)) stream->Send(message);
  } else if (const auto* transfer = std::get_if<StartTransfer>(&action)) {
    {
      MutexLock lock(&mu_);
      relays_[transfer->transfer] = {transfer->donor, transfer->joiner};
    }
    message.mutable_snapshot_request()->set_transfer(transfer->transfer.value());
    message.mutable_snapshot_request()->set_window_bytes(options_.snapshot_window_bytes);
    message.mutable_snapshot_request()->set_min_sequence(transfer->at_least.value());
    if (auto stream = Find(transfer->donor)) stream->Send(message);
    // Only then: what the joiner answers must not overtake the request.
    v1::CoordinatorMessage offer;
    offer.mutable_snapshot_offer()->set_transfer(transfer->transfer.value());
    if (auto stream = Find(transfer->joiner)) stream->Send(std::move(offer));
  } else if (const auto* abort = std::get_if<AbortTransfer>(&action)) {
    {
      MutexLock lock(&mu_);
      relays_.erase(abort->transfer);
    }
    message.mutable_snapshot_aborted()->set_transfer(abort->transfer.value());
    message.mutable_snapshot_aborted()->set_reason(abort->reason);
    for (StreamId id : {abort->donor, abort->joiner}) {
      if (auto stream = Find(id)) stream->Send(message);
    }
  } else if (const auto* close = std::get_if<CloseStream>(&action)) {
    if (auto stream = Find(close->stream)) stream->Close(close->status);
  } else if (const auto* note = std::get_if<Note>(&action)) {
    LogInfo(note->text);
  }
}

void Engine::PerformMerge(const MergeBucket& merge) {
  std::vector<std::vector<StoredPart>> parts;
  ChunkRun chunks;
  {
    MutexLock lock(&mu_);
    chunks = *core_.BucketChunks(merge.update.bucket);
    for (const Contributor& c : merge.update.contributors) {
      parts.push_back(store_.Take(c.group, merge.update.round, merge.update.bucket));
      if (merge.update.bucket == BucketIndex(0)) samples_merged_ += c.samples;
    }
  }
  threads_->Post([this, merge, chunks, parts = std::move(parts)] {
    const PayloadPlace place{merge.update.round.value(), chunks.first, chunks.count};
    v1::Update update;
    ToProto(merge.update, &update);
    auto record = std::make_shared<UpdateRecord>();
    if (ForwardContributions(formats_, place, parts)) {
      for (size_t i = 0; i < parts.size(); ++i) {
        const Contributor& contributor = merge.update.contributors[i];
        v1::Update piece;  // a message with this field alone
        v1::EncodedContribution* contribution = piece.add_contributions();
        contribution->set_contributor(static_cast<uint32_t>(i));
        for (const StoredPart& part : parts[i]) contribution->add_parts(part.payload);
        record->contributions.push_back(
            {contributor.group, contributor.incarnation, piece.SerializeAsString()});
      }
    } else {
      update.set_payload(MergeContributions(formats_, place, merge.update.contributors, parts));
    }
    update.SerializeToString(&record->bytes);
    for (size_t i = 0; i < merge.waited.size(); ++i) {
      record->waited.emplace_back(merge.update.contributors[i].group, merge.waited[i]);
    }
    Step([&](Coordinator& core, absl::Time now, Actions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      merged_[merge.update.sequence] = std::move(record);
      core.Merged(merge.update.sequence, now, out);
    });
  });
}

void Engine::PerformAppend(Sequence sequence) {
  std::shared_ptr<const UpdateRecord> record;
  {
    MutexLock lock(&mu_);
    ring_.KeepAtLeast(core_.buckets().count());
    const auto node = merged_.extract(sequence);
    ISTHMUS_CHECK(!node.empty());
    record = node.mapped();
  }
  ring_.Append(sequence, std::move(record));
  Step([&](Coordinator& core, absl::Time now, Actions& out) { core.Appended(sequence, now, out); });
}

}  // namespace isthmus
