#include "tests/sim/sim_worker.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

namespace isthmus::sim {
namespace {

constexpr absl::Duration kControlDelay = absl::Milliseconds(20);

uint64_t InitialMasters(GroupId group, uint64_t nonce) { return Mix64(group.value() * 77 + nonce); }

}  // namespace

SimWorker::SimWorker(World* world, SimCoordinator* coordinator, WorkerOptions options)
    : world_(world),
      coordinator_(coordinator),
      options_(std::move(options)),
      connection_({.coordinator = "the simulation"}, [world] { return world->rng.Uniform(); }) {}

void SimWorker::Start() {
  alive_ = true;
  connection_.SiteWhole(world_->now);
  Wake();
}

void SimWorker::Kill() {
  alive_ = false;
  if (!stream_) return;
  auto stream = stream_;
  stream_.reset();
  stream->up.Cut();
  stream->down.Close();
  world_->After(world_->Upto(absl::Milliseconds(200)),
                [c = coordinator_, stream] { c->OnStreamBroken(stream); });
}

void SimWorker::CutLink() {
  if (!stream_) return;
  auto stream = stream_;
  stream->up.Cut();
  stream->down.Cut();
  world_->After(world_->Upto(absl::Milliseconds(200)),
                [c = coordinator_, stream] { c->OnStreamBroken(stream); });
  world_->After(world_->Upto(absl::Milliseconds(200)), [this, stream] { OnBroken(stream); });
}

void SimWorker::OnBroken(const std::shared_ptr<Stream>& stream) {
  if (alive_ && stream_ == stream) LoseStream(absl::UnavailableError("cut"), false);
}

void SimWorker::Corrupt(Round before) {
  if (!core_ || !core_->has_state()) return;
  Enqueue([this, before] {
    for (const Round applied : applied_) {
      if (applied >= before) return;
    }
    const uint64_t bucket = world_->rng.Below(masters_.size());
    world_->Trace(absl::StrCat("group ", options_.group.value(), " incarnation ",
                               incarnation_.value(), ": bucket ", bucket, " is corrupted"));
    masters_[bucket] = Mix64(masters_[bucket] + world_->rng.Below(1000));
    buffers_[bucket] = seen_[bucket] = masters_[bucket];  // it is no lag
  });
}

void SimWorker::LoseStream(const absl::Status& status, bool own) {
  stream_->down.Close();
  stream_->up.Cut();
  stream_.reset();
  core_->StreamLost();
  ConnectionActions actions;
  connection_.StreamEnded(connection_.stream(), status, own, world_->now, actions);
  PerformConnection(actions);
}

// --- the connection ----------------------------------------------------------------------------

void SimWorker::Wake() {
  const absl::Time at = std::max(connection_.NextWakeup(), world_->now);
  if (at >= wake_at_) return;
  wake_at_ = at;
  Later(at - world_->now, [this, at] {
    if (wake_at_ != at) return;  // another came before
    wake_at_ = absl::InfiniteFuture();
    ConnectionActions actions;
    connection_.Tick(world_->now, actions);
    PerformConnection(actions);
  });
}

void SimWorker::PerformConnection(const ConnectionActions& actions) {
  for (const ConnectionAction& action : actions) {
    if (alive_) PerformOne(action);
  }
  if (alive_) Wake();
}

void SimWorker::PerformOne(const ConnectionAction& action) {
  if (const auto* call = std::get_if<CallRegister>(&action)) {
    Register(call->instance);
  } else if (const auto* announce = std::get_if<CallAnnounce>(&action)) {
    Call([this, a = *announce, self = self()] {
      return a.ready ? coordinator_->OnReady(self, a.change, options_.layout)
                     : coordinator_->OnNotReady(self, a.change);
    });
  } else if (std::holds_alternative<CallHeartbeat>(action)) {
    samples_ += world_->rng.Below(100);
    Call([this, self = self(), samples = samples_] {
      return coordinator_->OnHeartbeat(self, samples);
    });
  } else if (std::holds_alternative<SetUpRun>(action)) {
    Later(world_->Upto(absl::Milliseconds(5)), [this] { BeginRun(); });
  } else if (std::holds_alternative<OpenStream>(action)) {
    Connect();
  } else if (const auto* end = std::get_if<EndDaemon>(&action)) {
    world_->Check(end->code == DaemonExit::kFenced, absl::StrCat("a worker ended: ", end->reason));
    fenced_ = true;
    Kill();
  } else if (const auto* trouble = std::get_if<SayTrouble>(&action)) {
    world_->Trace(absl::StrCat("group ", options_.group.value(), ": ", trouble->text));
  } else if (const auto* better = std::get_if<SayBetter>(&action)) {
    world_->Trace(absl::StrCat("group ", options_.group.value(), ": ", better->text));
  } else {
    world_->Check(false, "an action that nothing here leads to");
  }
}

// A lossy, duplicating network. One call at a time is the core's to keep.
void SimWorker::Call(std::function<absl::Status()> call) {
  // A copy may arrive late, even after later calls; the worker only waits for one answer.
  if (world_->rng.Chance(options_.duplicate)) {
    Later(world_->Upto(absl::Milliseconds(500)), [call] { (void)call(); });
  }
  Later(world_->Upto(kControlDelay), [this, call] {
    const bool request_lost = world_->rng.Chance(options_.lose);
    absl::Status status = request_lost ? absl::UnavailableError("lost") : call();
    world_->Check(status.ok() || absl::IsUnavailable(status) || absl::IsAborted(status),
                  absl::StrCat("control call refused: ", std::string(status.message())));
    if (world_->rng.Chance(options_.lose)) status = absl::UnavailableError("the answer is lost");
    ConnectionActions actions;
    connection_.CallAnswered(status, world_->now, actions);
    PerformConnection(actions);
  });
}

void SimWorker::Register(uint64_t instance) {
  const auto call = [this, instance] {
    Coordinator::RegisterArgs args;
    args.group = options_.group;
    args.nonce = options_.nonce;
    args.instance = instance;
    return coordinator_->OnRegister(args);
  };
  if (world_->rng.Chance(options_.duplicate)) {
    Later(world_->Upto(absl::Milliseconds(500)), [call] { (void)call(); });
  }
  Later(world_->Upto(kControlDelay), [this, call] {
    const bool request_lost = world_->rng.Chance(options_.lose);
    absl::StatusOr<Coordinator::Registered> reply = absl::UnavailableError("lost");
    if (!request_lost) reply = call();
    if (world_->rng.Chance(options_.lose)) reply = absl::UnavailableError("the answer is lost");
    ConnectionActions actions;
    if (reply.ok()) {
      incarnation_ = reply->incarnation;
      connection_.Registered(options_.instance, reply->incarnation, world_->now, actions);
    } else {
      connection_.CallAnswered(reply.status(), world_->now, actions);
    }
    PerformConnection(actions);
  });
}

void SimWorker::BeginRun() {
  world_->Check(!core_, "the run was set up twice");
  core_.emplace(WorkerCoreConfig{options_.group, incarnation_, options_.last_round,
                                 options_.audit_rounds, options_.overlap || options_.names_steps,
                                 options_.names_steps, options_.run});
  connection_.RunSetUp(world_->now);
  AttachJob();
  Wake();
}

// --- the job -----------------------------------------------------------------------------------

void SimWorker::AttachJob() {
  job_ = true;
  ++job_generation_;
  WorkerActions actions;
  core_->JobAttached(options_.buckets, actions);
  Perform(actions);
}

void SimWorker::CrashJob() {
  if (!core_ || !job_) return;
  job_ = gone_on_ = idle_ = named_ = false;
  ++job_generation_;
  WorkerActions actions;
  core_->JobLost("a rank died", actions);
  Perform(actions);
  Later(world_->Upto(absl::Milliseconds(300)), [this] { AttachJob(); });
}

void SimWorker::BeginStepWhenDue() {
  // What has begun is given some steps later, and a run that is over is noticed, named or not.
  idle_ = options_.names_steps && !named_ && !gone_on_ && !core_->ended();
  if (!idle_) BeginStep();
}

void SimWorker::BeginStep() {
  idle_ = false;
  snapshot_in_step_ = false;
  buffers_are_the_jobs_ = false;
  wants_ = StepWants();
  if (options_.overlap && world_->rng.Chance(0.1)) {
    wants_ = {.take = false, .give = false, .anchor = true};
  } else if (options_.overlap) {
    const bool may_take = !options_.names_steps || named_;
    wants_.give_first = gone_on_ && may_take && world_->rng.Chance(0.4);
    wants_.take = !gone_on_ || wants_.give_first;
    wants_.give = !wants_.take || world_->rng.Chance(0.2);
    gone_on_ = wants_.goes_on();
  }
  if (wants_.take) named_ = false;
  WorkerActions actions;
  core_->StepBegun(wants_, world_->rng.Chance(options_.nonfinite), actions);
  Perform(actions);
}

// What the job finds where a step ends: all that it was to be given, and masters of one round.
void SimWorker::CheckFinished(const FinishStep& finish) {
  world_->Check(finish.totals == coordinator_->TotalsAt(finish.round) ||
                    finish.totals == coordinator_->TotalsAt(finish.round.next()),
                "the job is told other totals than those of the run");
  if (finish.end || finish.gave) {
    for (const Round round : applied_) {
      world_->Check(round >= finish.round, "a step ended before its round was applied");
    }
    if (!wants_.goes_on()) world_->Check(buffers_ == masters_, "the job lags behind the masters");
    for (const Round round : applied_) {
      // But for a snapshot of the midst of one, which may come to any step.
      world_->Check(options_.run.format.overlap == 0 || options_.overlap || snapshot_in_step_ ||
                        round == finish.round,
                    "a step ended between two rounds");
    }
  }
  if (!wants_.anchor || finish.end) return;
  world_->Check(seen_ == masters_, "the job was shown what is not the anchor");
  for (const Round round : applied_) {
    world_->Check(round == finish.round, "the anchor is not of the round it names");
  }
}

// --- the stream --------------------------------------------------------------------------------

void SimWorker::Connect() {
  world_->Check(!stream_, "a second stream");
  stream_ = coordinator_->Connect(this);
  snapshot_here_ = false;
  WorkerActions actions;
  core_->StreamOpened(actions);
  Perform(actions);
}

void SimWorker::OnWelcome(Sequence next) {
  ConnectionActions said;
  connection_.StreamWelcomed(connection_.stream(), world_->now, said);
  PerformConnection(said);
  WorkerActions actions;
  world_->Check(core_->Welcomed(next, actions).ok(), "welcome would leave a gap");
  Perform(actions);
}

void SimWorker::OnStart(uint32_t index, uint32_t count) {
  WorkerActions actions;
  core_->Started(index, count, actions);
  Perform(actions);
}

void SimWorker::OnUpdate(const UpdateHeader& update, uint64_t digest) {
  world_->Trace(absl::StrCat("group ", options_.group.value(), " incarnation ",
                             incarnation_.value(), " gets update ", update.sequence.value()));
  connection_.StreamProgressed(connection_.stream(), world_->now);
  received_[update.sequence] = {update, digest};
  const RunTotals totals = coordinator_->TotalsAt(update.round);
  world_->Check(update.totals == (update.bucket == BucketIndex(0) ? totals : RunTotals()),
                "an update has other totals than the run");
  WorkerActions actions;
  const absl::Status status = core_->UpdateArrived(update, absl::ZeroDuration(), actions);
  world_->Check(status.ok(), absl::StrCat("update refused: ", std::string(status.message())));
  Perform(actions);
}

void SimWorker::OnDue(Round round) {
  WorkerActions actions;
  core_->DueArrived(round, actions);
  Perform(actions);
}

void SimWorker::OnClosed(Round round, BucketIndex bucket) {
  WorkerActions actions;
  core_->ClosedArrived(round, bucket, actions);
  Perform(actions);
}

void SimWorker::OnRefused(Round round, BucketIndex bucket) {
  refused_.insert({round, bucket});
  WorkerActions actions;
  core_->ContributionRefused(round, bucket, "unacceptable", actions);
  Perform(actions);
}

void SimWorker::OnSnapshotAsked(TransferId transfer, Sequence at_least) {
  WorkerActions actions;
  world_->Check(core_->SnapshotAsked(transfer, at_least, actions).ok(),
                "asked for a snapshot too early");
  Perform(actions);
}

void SimWorker::OnSnapshot(const SnapshotState& state, bool last) {
  if (!last) return;
  snapshot_in_step_ = true;
  snapshots_[state.transfer] = state;
  WorkerActions actions;
  if (core_
          ->SnapshotArrived(state.transfer, state.sequence, state.applied_rounds, state.totals,
                            state.formats, actions)
          .ok()) {
    snapshot_here_ = true;
    return Perform(actions);
  }
  // One that came whole although it was given up: the coordinator does not know how far it led, and
  // the next may be older. As the daemon does: a new stream says it.
  world_->Check(snapshot_here_, "snapshot refused");
  snapshots_.erase(state.transfer);
  auto stream = stream_;
  LoseStream(absl::InvalidArgumentError("snapshot refused"), true);
  world_->After(world_->Upto(absl::Milliseconds(200)),
                [c = coordinator_, stream] { c->OnStreamBroken(stream); });
}

void SimWorker::OnSnapshotAborted(TransferId transfer) { core_->SnapshotAborted(transfer); }

void SimWorker::OnStreamEnd(const absl::Status& status) {
  if (stream_) LoseStream(status, false);
}

// --- actions -----------------------------------------------------------------------------------

void SimWorker::Perform(const WorkerActions& actions) {
  if (core_->has_state()) connection_.HoldsState();
  for (const WorkerAction& action : actions) PerformOne(action);
}

void SimWorker::PerformOne(const WorkerAction& action) {
  if (std::holds_alternative<AnnounceReady>(action)) {
    (void)connection_.Announce(true, "", world_->now);
    Wake();
  } else if (const auto* lost = std::get_if<AnnounceNotReady>(&action)) {
    (void)connection_.Announce(false, lost->reason, world_->now);
    Wake();
  } else if (const auto* hello = std::get_if<SendHello>(&action)) {
    if (!stream_) return;
    stream_->up.Send(
        [c = coordinator_, s = stream_,
         h = Coordinator::Hello{self(), options_.instance, hello->applied}] { c->OnHello(s, h); });
  } else if (const auto* abstain = std::get_if<SendAbstain>(&action)) {
    answers_[{abstain->round, abstain->bucket}] = Answer{};
    SendAnswer({abstain->round, abstain->bucket});
  } else if (std::get_if<StopSending>(&action)) {
  } else if (const auto* forget = std::get_if<ForgetAnswer>(&action)) {
    answers_.erase({forget->round, forget->bucket});
  } else if (std::holds_alternative<ResendAnswers>(action)) {
    SendAudit();
    for (const auto& [key, answer] : answers_) SendAnswer(key);
  } else if (const auto* caught = std::get_if<SendCaughtUp>(&action)) {
    if (!stream_) return;
    stream_->up.Send(
        [c = coordinator_, s = stream_, a = *caught] { c->OnCaughtUp(s, a.transfer, a.sequence); });
  } else if (std::holds_alternative<AdoptJobParameters>(action)) {
    Enqueue([this] {
      masters_.assign(options_.buckets, InitialMasters(options_.group, options_.nonce));
      applied_.assign(options_.buckets, Round(0));
      buffers_ = seen_ = masters_;
    });
  } else if (std::holds_alternative<LoadJob>(action)) {
    Enqueue([this] {
      buffers_ = seen_ = masters_;
      taken_in_.assign(options_.buckets, false);
    });
  } else if (const auto* process = std::get_if<ProcessBucket>(&action)) {
    Enqueue([this, p = *process, generation = job_generation_] {
      if (generation == job_generation_) {
        world_->Check(!buffers_are_the_jobs_, "a bucket is taken in behind the job's back");
        const bool steps = options_.overlap || options_.names_steps;
        world_->Check(!steps || !taken_in_[p.bucket.value()], "a way is taken in twice");
        taken_in_[p.bucket.value()] = true;
      }
      Process(p);
    });
  } else if (const auto* apply = std::get_if<ApplyUpdate>(&action)) {
    Enqueue([this, a = *apply, generation = job_generation_] {
      Apply(a);
      if (a.gather && generation == job_generation_) Gather(a.bucket, Gathering::kWithWay);
    });
  } else if (const auto* gather = std::get_if<GatherBucket>(&action)) {
    Enqueue([this, g = *gather, generation = job_generation_] {
      if (generation == job_generation_) Gather(g.bucket, g.how);
    });
  } else if (const auto* give = std::get_if<GiveSnapshot>(&action)) {
    Enqueue([this, g = *give] {
      if (!stream_) return;
      world_->Check(applied_ == g.applied_rounds, "a snapshot is not of the sequence it names");
      const SnapshotState state{g.transfer, g.sequence, g.applied_rounds,
                                masters_,   g.totals,   g.formats};
      for (int frame = 0; frame < 3; ++frame) {
        stream_->up.Send([c = coordinator_, s = stream_, state, frame] {
          c->OnSnapshotFrame(s, state, frame == 2);
        });
      }
    });
  } else if (const auto* install = std::get_if<InstallSnapshot>(&action)) {
    Enqueue([this, i = *install] { Install(i); });
  } else if (const auto* report = std::get_if<ReportHash>(&action)) {
    if (!report->audit) return;
    Enqueue([this, round = report->round] {
      for (const Round applied : applied_) {
        world_->Check(applied == round, "a hash is not of the round it names");
      }
      audit_ = {round, masters_};
      SendAudit();
    });
  } else if (std::holds_alternative<FinishAttach>(action)) {
    Enqueue([this, generation = job_generation_] {
      if (generation != job_generation_) return;
      buffers_are_the_jobs_ = true;
      Later(world_->Upto(absl::Milliseconds(40)), [this, generation] {
        if (generation == job_generation_) BeginStepWhenDue();
      });
    });
  } else if (std::holds_alternative<NameStep>(action)) {
    world_->Check(options_.names_steps && !named_, "a step is named twice");
    named_ = true;
    Later(world_->Upto(absl::Milliseconds(40)), [this, generation = job_generation_] {
      if (generation == job_generation_ && idle_) BeginStep();
    });
  } else if (std::holds_alternative<FailStep>(action)) {
    // The job is told, and ends; another takes its place.
    Enqueue([this, generation = job_generation_] {
      if (generation == job_generation_) CrashJob();
    });
  } else if (const auto* finish = std::get_if<FinishStep>(&action)) {
    Enqueue([this, f = *finish, generation = job_generation_] {
      if (generation != job_generation_) return;
      CheckFinished(f);
      buffers_are_the_jobs_ = true;
      if (f.end) {
        done_ = true;
        return;
      }
      Later(world_->Upto(absl::Milliseconds(40)), [this, generation] {
        if (generation == job_generation_) BeginStepWhenDue();
      });
    });
  }
}

void SimWorker::SendAudit() {
  if (!stream_ || !core_->in_sync() || !audit_) return;
  stream_->up.Send(
      [c = coordinator_, s = stream_, a = *audit_] { c->OnAudit(s, a.first, a.second); });
}

void SimWorker::SendAnswer(Key key) {
  if (!stream_) return;
  const Answer& answer = answers_.at(key);
  if (!answer.token) {
    stream_->up.Send(
        [c = coordinator_, s = stream_, key] { c->OnAbstain(s, key.first, key.second); });
    return;
  }
  world_->Check(!refused_.contains(key), "what was refused is sent again");
  // Two parts, as two ranks would send, of the chunks that this worker takes the round to have.
  const uint64_t bucket = key.second.value();
  const ChunkRun chunks =
      core_->formats().ChunksAt(key.first, {bucket * kUnitLength, (bucket + 1) * kUnitLength});
  const uint64_t half = chunks.count / 2;
  for (const ChunkRun part :
       {ChunkRun{chunks.first, half}, ChunkRun{chunks.first + half, chunks.count - half}}) {
    stream_->up.Send(
        [c = coordinator_, s = stream_, t = *answer.token, part] { c->OnPart(s, t, part); });
  }
}

// --- the pipeline ------------------------------------------------------------------------------

void SimWorker::Enqueue(std::function<void()> operation) {
  pipeline_.push_back(std::move(operation));
  RunPipeline();
}

void SimWorker::RunPipeline() {
  if (pipeline_busy_ || pipeline_.empty()) return;
  pipeline_busy_ = true;
  Later(world_->Upto(absl::Milliseconds(10)), [this] {
    const auto operation = std::move(pipeline_.front());
    pipeline_.pop_front();
    operation();
    pipeline_busy_ = false;
    RunPipeline();
  });
}

void SimWorker::Process(const ProcessBucket& p) {
  if (world_->rng.Chance(options_.nonfinite)) {
    if (!p.extract) return;
    WorkerActions actions;
    core_->NonFinite(p.round, p.bucket, actions);
    Perform(actions);
    return;
  }
  if (!p.extract) return;
  static uint64_t serial = 0;
  const Token token{options_.group, incarnation_, p.round,
                    p.bucket,       ++serial,     world_->rng.Chance(options_.refused)};
  const Key key{p.round, p.bucket};
  world_->Check(!taken_.contains(key), "extracted twice for one bucket of a round");
  taken_[key] = token;
  fates_[token] = Fate::kInFlight;
  answers_[key] = Answer{token};
  SendAnswer(key);
}

void SimWorker::Gather(BucketIndex bucket, Gathering how) {
  world_->Check(!buffers_are_the_jobs_, "a bucket is given behind the job's back");
  const uint32_t b = bucket.value();
  seen_[b] = masters_[b];
  if (how == Gathering::kShow) return;
  buffers_[b] = masters_[b];
  taken_in_[b] = false;
}

void SimWorker::Settle(Key key, Credit credit) {
  const auto it = taken_.find(key);
  if (it == taken_.end() || credit == Credit::kNone) return;
  fates_[it->second] = credit == Credit::kMerged ? Fate::kMerged : Fate::kReturned;
  // What the pipeline took after the core had forgotten the answer must not be sent again.
  answers_.erase(key);
  taken_.erase(it);
}

void SimWorker::Apply(const ApplyUpdate& apply) {
  const auto [update, digest] = received_.at(apply.sequence);
  received_.erase(apply.sequence);
  const uint32_t b = apply.bucket.value();
  world_->Check(coordinator_->Committed(update.round, apply.bucket),
                "applied what nobody committed");
  world_->Check(coordinator_->Digest(update.round, apply.bucket) == digest,
                "applied another update than was committed");
  world_->Check(applied_[b].next() == update.round, "applied twice or out of order");
  applied_[b] = update.round;
  masters_[b] = Mix64(masters_[b] ^ digest);
  Settle({update.round, apply.bucket}, apply.credit);
  world_->Check(!taken_.contains({update.round, apply.bucket}),
                "what was taken is decided, and still in flight");
}

void SimWorker::Install(const InstallSnapshot& install) {
  const SnapshotState state = snapshots_.at(install.transfer);
  snapshots_.erase(install.transfer);
  masters_ = state.masters;
  applied_ = state.applied_rounds;
  std::erase_if(taken_, [&](const auto& entry) {
    const auto& [key, token] = entry;
    const bool decided = key.first <= install.applied_rounds[key.second.value()];
    if (!decided && !install.reset_momentum) return false;
    fates_[token] = Fate::kForgotten;
    return true;
  });
}

void SimWorker::CheckLedger() const {
  for (const auto& [token, fate] : fates_) {
    const bool merged = coordinator_->WasMerged(token);
    const bool in_flight = taken_.contains({token.round, token.bucket}) &&
                           taken_.at({token.round, token.bucket}) == token;
    const std::string who = absl::StrCat("group ", token.group.value(), " round ",
                                         token.round.value(), " bucket ", token.bucket.value());
    switch (fate) {
      case Fate::kInFlight:
        world_->Check(in_flight, absl::StrCat(who, ": lost track of a contribution"));
        break;
      case Fate::kMerged:
        world_->Check(merged && !in_flight, absl::StrCat(who, ": settled as merged, was not"));
        break;
      case Fate::kReturned:
        world_->Check(!merged && !in_flight, absl::StrCat(who, ": returned, yet merged"));
        break;
      case Fate::kForgotten:
        break;  // fell behind the log; documented
    }
  }
}

}  // namespace isthmus::sim
