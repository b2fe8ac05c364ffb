#include "tests/sim/sim_coordinator.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>

#include "tests/support/coordinator_states.h"

namespace isthmus::sim {
namespace {

std::string Text(const absl::Status& status) { return std::string(status.message()); }

absl::Status Unreachable() { return absl::UnavailableError("nobody listens"); }

}  // namespace

SimCoordinator::SimCoordinator(World* world, CoordinatorConfig config, size_t log_capacity,
                               absl::Duration update_gap)
    : world_(world),
      core_(std::move(config)),
      log_capacity_(log_capacity),
      update_gap_(update_gap) {
  Keep();
}

// --- life and death ----------------------------------------------------------------------------

// What a durable log writes: before anybody is told of what it holds.
void SimCoordinator::Keep() {
  kept_ = Written(core_->Save());
  kept_epoch_ = core_->membership().epoch();
}

void SimCoordinator::Kill() {
  world_->Trace("the coordinator is killed");
  up_ = false;
  ++life_;
  for (const auto& [id, stream] : streams_) {
    stream->server_open = false;
    stream->up.Close();
    stream->down.Cut();
    world_->After(world_->Upto(absl::Milliseconds(200)),
                  [stream] { stream->peer->OnBroken(stream); });
  }
  streams_.clear();
  stored_.clear();
  relays_.clear();
  // Decided, but not in the log: as if it had never been.
  for (const auto& [sequence, record] : merged_) {
    committed_.erase({record.update.round, record.update.bucket});
  }
  merged_.clear();
  tick_at_ = absl::InfiniteFuture();
}

void SimCoordinator::StartAgain() {
  auto state = Read(kept_);
  world_->Check(state.ok(), absl::StrCat("what was kept cannot be read: ", Text(state.status())));
  if (!state.ok()) return;
  auto restored = Coordinator::Restore(core_->config(), *state, world_->now);
  world_->Check(restored.ok(), absl::StrCat("not restored: ", Text(restored.status())));
  if (!restored.ok()) return;
  world_->Check(restored->last_sequence() == published_, "restored as of another update");
  core_.emplace(*std::move(restored));
  up_ = true;
  // It is what was kept, but for having been started again.
  ++state->restarts;
  ++state->epoch;
  const std::string difference = Difference(core_->Save(), *state);
  world_->Check(difference.empty(), absl::StrCat("restored with another ", difference));
  CheckCounts();
  Keep();
  world_->Trace(absl::StrCat("the coordinator is back, as of update ", published_.value()));
  ScheduleTick();
}

void SimCoordinator::Measure() {
  if (!core_->config().pace) return;
  for (const auto& [id, group] : core_->membership().groups()) {
    const double rate = std::pow(10.0, 3 + 6 * world_->rng.Uniform());
    core_->Measured(id, {.path = {rate, rate, absl::Milliseconds(1 + world_->rng.Below(200))},
                         .compute = absl::Milliseconds(1 + world_->rng.Below(500))});
  }
}

// --- what arrives ------------------------------------------------------------------------------

void SimCoordinator::ScheduleTick() {
  const absl::Time wake = core_->NextWakeup();
  if (wake == absl::InfiniteFuture() || (tick_at_ <= wake && tick_at_ > world_->now)) return;
  tick_at_ = std::max(wake, world_->now + absl::Milliseconds(1));
  Later(tick_at_ - world_->now, [this] {
    Actions actions;
    core_->Tick(world_->now, actions);
    Perform(actions);
  });
}

absl::StatusOr<Coordinator::Registered> SimCoordinator::OnRegister(
    const Coordinator::RegisterArgs& args) {
  if (!up_) return Unreachable();
  Actions actions;
  auto result = core_->Register(args, world_->now, actions);
  Perform(actions);
  return result;
}

absl::Status SimCoordinator::OnReady(Member member, uint64_t change, const Layout& layout) {
  if (!up_) return Unreachable();
  Actions actions;
  absl::Status status = core_->Ready(member, change, layout, world_->now, actions);
  Perform(actions);
  return status;
}

absl::Status SimCoordinator::OnNotReady(Member member, uint64_t change) {
  if (!up_) return Unreachable();
  Actions actions;
  absl::Status status = core_->NotReady(member, change, "job lost", world_->now, actions);
  Perform(actions);
  return status;
}

absl::Status SimCoordinator::OnHeartbeat(Member member, uint64_t samples) {
  if (!up_) return Unreachable();
  Actions actions;
  absl::Status status =
      core_->Heartbeat(member, samples, WorkPhase::kUnknown, world_->now, actions);
  Perform(actions);
  return status;
}

std::shared_ptr<Stream> SimCoordinator::Connect(StreamPeer* peer) {
  last_stream_ = last_stream_.next();
  auto stream = std::make_shared<Stream>(world_, last_stream_, peer);
  ever_.push_back(stream);
  if (!up_) {
    stream->server_open = false;
    stream->down.Send([peer] { peer->OnStreamEnd(Unreachable()); });
    return stream;
  }
  streams_[stream->id] = stream;
  return stream;
}

void SimCoordinator::OnHello(std::shared_ptr<Stream> stream, const Coordinator::Hello& hello) {
  if (!stream->server_open) return;
  Actions actions;
  // Welcome precedes whatever the core wants sent.
  auto next = core_->StreamOpened(stream->id, hello, first_available(), world_->now, actions);
  world_->Trace(absl::StrCat(
      "stream ", stream->id.value(), ": hello of group ", hello.member.group.value(),
      " incarnation ", hello.member.incarnation.value(), " applied ", hello.applied.value(), ": ",
      next.ok() ? absl::StrCat(next->value()) : next.status().ToString()));
  if (!next.ok()) {
    EndStream(stream->id, next.status());
  } else {
    stream->down.Send([peer = stream->peer, n = *next] { peer->OnWelcome(n); });
  }
  Perform(actions);
}

void SimCoordinator::OnPart(std::shared_ptr<Stream> stream, const Token& token, ChunkRun part) {
  if (!stream->server_open) return;
  if (token.unacceptable) return Refuse(stream, token.round, token.bucket);
  Actions actions;
  const ContributionInfo info{.base_round = Round(token.round.value() - 1),
                              .samples = token.samples(),
                              .loss = 0.5f,
                              .lr = {0.1f},
                              .weight_decay = {0.0f},
                              .steps = token.steps()};
  auto fate =
      core_->PartArrived(stream->id, token.round, token.bucket, part, info, world_->now, actions);
  if (!fate.ok()) {
    // Zombies and stale streams may be refused; a current one never sends what is refused.
    world_->Check(fate.status().code() == absl::StatusCode::kAborted ||
                      fate.status().code() == absl::StatusCode::kFailedPrecondition,
                  absl::StrCat("part refused: ", std::string(fate.status().message())));
    EndStream(stream->id, fate.status());
  } else if (*fate == Coordinator::PartFate::kStore) {
    auto& parts = stored_[{token.round, token.bucket, token.group}];
    world_->Check(parts.emplace(part.first, token).second, "a part was stored twice");
  }
  Perform(actions);
}

// As server/rpc does: an abstention, and a word to the sender.
void SimCoordinator::Refuse(const std::shared_ptr<Stream>& stream, Round round,
                            BucketIndex bucket) {
  Actions actions;
  const absl::Status status =
      core_->Abstained(stream->id, round, bucket, AbstainReason::kRefused, world_->now, actions);
  if (status.ok()) {
    stream->down.Send([peer = stream->peer, round, bucket] { peer->OnRefused(round, bucket); });
  } else {
    EndStream(stream->id, status);
  }
  Perform(actions);
}

void SimCoordinator::OnAbstain(std::shared_ptr<Stream> stream, Round round, BucketIndex bucket) {
  if (!stream->server_open) return;
  Actions actions;
  absl::Status status =
      core_->Abstained(stream->id, round, bucket, AbstainReason::kNonFinite, world_->now, actions);
  if (!status.ok()) EndStream(stream->id, status);
  Perform(actions);
}

void SimCoordinator::OnSnapshotFrame(std::shared_ptr<Stream> stream, const SnapshotState& state,
                                     bool last) {
  const auto relay = relays_.find(state.transfer);
  if (relay == relays_.end() || relay->second.first != stream->id) return;
  core_->TransferProgress(state.transfer, world_->now);
  const auto joiner = streams_.find(relay->second.second);
  if (joiner == streams_.end()) return;
  joiner->second->down.Send(
      [peer = joiner->second->peer, state, last] { peer->OnSnapshot(state, last); });
}

void SimCoordinator::OnCaughtUp(std::shared_ptr<Stream> stream, TransferId transfer,
                                Sequence sequence) {
  if (!stream->server_open) return;
  relays_.erase(transfer);
  world_->Trace(absl::StrCat("stream ", stream->id.value(), " caught up by transfer ",
                             transfer.value(), " to ", sequence.value()));
  Actions actions;
  absl::Status status =
      core_->CaughtUp(stream->id, transfer, sequence, first_available(), world_->now, actions);
  if (!status.ok()) EndStream(stream->id, status);
  Perform(actions);
}

void SimCoordinator::OnAudit(std::shared_ptr<Stream> stream, Round round,
                             const BucketHashes& hashes) {
  if (!stream->server_open) return;
  Actions actions;
  const absl::Status status = core_->AuditArrived(stream->id, round, hashes, world_->now, actions);
  world_->Check(status.ok() || status.code() == absl::StatusCode::kAborted,
                absl::StrCat("audit refused: ", std::string(status.message())));
  if (!status.ok()) EndStream(stream->id, status);
  Perform(actions);
}

void SimCoordinator::OnStreamBroken(std::shared_ptr<Stream> stream) {
  if (!stream->server_open) return;
  stream->server_open = false;
  stream->up.Close();
  streams_.erase(stream->id);
  Actions actions;
  core_->StreamClosed(stream->id, "cut", world_->now, actions);
  Perform(actions);
}

void SimCoordinator::EndStream(StreamId id, const absl::Status& status) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  const std::shared_ptr<Stream> stream = it->second;
  stream->down.Send([peer = stream->peer, status] { peer->OnStreamEnd(status); });
  world_->After(absl::ZeroDuration(), [this, stream] { OnStreamBroken(stream); });
}

void SimCoordinator::Perform(const Actions& actions) {
  if (core_->membership().epoch() != kept_epoch_) Keep();
  for (const Action& action : actions) PerformOne(action);
  ScheduleTick();
}

void SimCoordinator::PerformOne(const Action& action) {
  const auto down = [&](StreamId id, auto call) {
    const auto it = streams_.find(id);
    if (it == streams_.end()) return;
    it->second->down.Send([peer = it->second->peer, call] { call(*peer); });
  };
  if (const auto* a = std::get_if<MergeBucket>(&action)) {
    MergeStored(*a);
  } else if (const auto* append = std::get_if<Append>(&action)) {
    const Sequence sequence = append->sequence;
    // One writer: records are in the log in order.
    last_append_ = std::max(last_append_, world_->now + world_->Upto(absl::Milliseconds(5)));
    Later(last_append_ - world_->now, [this, sequence] {
      log_[sequence] = merged_.at(sequence);
      merged_.erase(sequence);
      while (log_.size() > log_capacity_) {
        log_.erase(log_.begin());
        log_begin_ = log_.begin()->first.value();
      }
      Measure();
      Actions actions;
      core_->Appended(sequence, world_->now, actions);
      Keep();
      Perform(actions);
    });
  } else if (const auto* publish = std::get_if<Publish>(&action)) {
    world_->Check(publish->sequence == published_.next(), "published out of order");
    world_->Check(log_.contains(publish->sequence), "told before it was in the log");
    published_ = publish->sequence;
    const auto streams = streams_;
    for (const auto& [id, stream] : streams) SendPublished(stream);
  } else if (const auto* send = std::get_if<SendUpdates>(&action)) {
    const auto it = streams_.find(send->stream);
    if (it == streams_.end()) return;
    world_->Trace(
        absl::StrCat("stream ", send->stream.value(), " gets updates from ", send->from.value()));
    it->second->next_to_send = send->from;
    SendPublished(it->second);
  } else if (const auto* start = std::get_if<SendStart>(&action)) {
    down(start->stream, [s = *start](StreamPeer& p) { p.OnStart(s.group_index, s.group_count); });
  } else if (const auto* due = std::get_if<SendDue>(&action)) {
    world_->Check(due->round == core_->open_round(), "another round is due than the open one");
    down(due->stream, [d = *due](StreamPeer& p) { p.OnDue(d.round); });
  } else if (const auto* closed = std::get_if<SendClosed>(&action)) {
    down(closed->stream, [c = *closed](StreamPeer& p) { p.OnClosed(c.round, c.bucket); });
  } else if (const auto* transfer = std::get_if<StartTransfer>(&action)) {
    relays_[transfer->transfer] = {transfer->donor, transfer->joiner};
    down(transfer->donor,
         [t = *transfer](StreamPeer& p) { p.OnSnapshotAsked(t.transfer, t.at_least); });
  } else if (const auto* abort = std::get_if<AbortTransfer>(&action)) {
    relays_.erase(abort->transfer);
    for (const StreamId end : {abort->donor, abort->joiner}) {
      down(end, [t = abort->transfer](StreamPeer& p) { p.OnSnapshotAborted(t); });
    }
  } else if (const auto* close = std::get_if<CloseStream>(&action)) {
    EndStream(close->stream, close->status);
  } else if (const auto* drop = std::get_if<DropContribution>(&action)) {
    stored_.erase({drop->round, drop->bucket, drop->group});
  } else if (const auto* note = std::get_if<Happened>(&action)) {
    world_->Trace(EventText(note->event));
  }
}

void SimCoordinator::MergeStored(const MergeBucket& merge) {
  const UpdateHeader& update = merge.update;
  const auto key = std::make_pair(update.round, update.bucket);
  world_->Check(!committed_.contains(key), "a bucket was committed twice");
  uint64_t commits = 1;  // of the bucket, with this one
  for (const auto& [place, earlier] : committed_) {
    commits += place.second == update.bucket && !earlier.tokens.empty() ? 1 : 0;
  }
  CommittedBucket& committed = committed_[key];
  committed.digest = Mix64(update.round.value() * 1000003 + update.bucket.value());
  for (const Contributor& c : update.contributors) {
    const auto it = stored_.find({update.round, update.bucket, c.group});
    world_->Check(it != stored_.end(), "a contributor's parts are not stored");
    if (it == stored_.end()) continue;
    const Token token = it->second.begin()->second;
    for (const auto& [first, part] : it->second) {
      world_->Check(part == token, "parts of different extractions were merged");
    }
    world_->Check(token.incarnation == c.incarnation, "listed under another incarnation");
    world_->Check(!token.unacceptable, "a contribution that was refused is listed");
    committed.tokens.push_back(token);
    committed.digest = Mix64(committed.digest ^ token.serial);
    stored_.erase(it);
  }
  if (!committed.tokens.empty()) {
    const OptimizerSpec& optimizer = core_->config().run.optimizer;
    const double beta1 = optimizer.kind == OptimizerKind::kAdamW ? optimizer.beta1 : 0;
    world_->Check(update.first == (commits == 1), "a first update that is not, or the other way");
    world_->Check(update.bias1 == static_cast<float>(1 - std::pow(beta1, commits)),
                  "Adam has another count of a bucket's commits");
  }
  merged_[update.sequence] = Record{update, committed.digest};
  Later(world_->Upto(absl::Milliseconds(5)), [this, sequence = update.sequence] {
    Actions actions;
    core_->Merged(sequence, world_->now, actions);
    Perform(actions);
  });
}

void SimCoordinator::SendPublished(const std::shared_ptr<Stream>& stream) {
  while (!stream->sending && stream->server_open && stream->next_to_send != Sequence(0) &&
         stream->next_to_send <= published_) {
    const auto it = log_.find(stream->next_to_send);
    if (it == log_.end()) {
      EndStream(stream->id, absl::ResourceExhaustedError("slower than the log"));
      return;
    }
    world_->Trace(
        absl::StrCat("send update ", it->first.value(), " on stream ", stream->id.value()));
    stream->down.Send([peer = stream->peer, record = it->second] {
      peer->OnUpdate(record.update, record.digest);
    });
    ++stream->next_to_send;
    if (update_gap_ == absl::ZeroDuration()) continue;
    stream->sending = true;
    Later(world_->Upto(update_gap_), [this, stream] {
      stream->sending = false;
      SendPublished(stream);
    });
  }
}

bool SimCoordinator::WasMerged(const Token& token) const {
  const auto it = committed_.find({token.round, token.bucket});
  if (it == committed_.end()) return false;
  return std::find(it->second.tokens.begin(), it->second.tokens.end(), token) !=
         it->second.tokens.end();
}

RunTotals SimCoordinator::TotalsAt(Round round) const {
  RunTotals totals;
  for (const auto& [key, committed] : committed_) {
    if (key.first > round || key.second != BucketIndex(0)) continue;
    uint64_t steps = 0;
    for (const Token& token : committed.tokens) {
      steps = std::max(steps, token.steps());
      totals.samples += token.samples();
    }
    totals.steps += steps;
  }
  return totals;
}

void SimCoordinator::CheckCounts() const {
  world_->Check(core_->totals() == TotalsAt(Round(~uint64_t{0})), "counts other steps and samples");
  uint64_t merged = 0;
  for (const auto& [key, committed] : committed_) merged += committed.tokens.size();
  world_->Check(core_->counters().contributions_merged == merged,
                absl::StrCat("counted ", core_->counters().contributions_merged,
                             " contributions as merged, expected ", merged));
}

}  // namespace isthmus::sim
