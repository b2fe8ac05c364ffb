// Performing what the worker's core decides, in that order, on a thread of its own.

#include <absl/strings/str_cat.h>

#include <numeric>
#include <utility>

#include "common/telemetry/log.h"
#include "worker/daemon/daemon_impl.h"
#include "worker/step/cpu_ranks.h"
#include "worker/step/local_pipeline.h"

namespace isthmus {

void DaemonImpl::Perform(Task& task) {
  const auto* bound = std::get_if<Bound>(&task);
  if (bound == nullptr) return std::get<std::function<void()>>(task)();
  {
    // A core may have decided things behind the task that replaced it.
    MutexLock lock(&mu_);
    if (bound->run != run_) return;
  }
  std::visit([&](const auto& action) { Do(action, bound->job); }, bound->action);
}

// --- a run, a job ------------------------------------------------------------------------------

// A new run for this process: core and arithmetic start from nothing.
void DaemonImpl::MakeRun(const ControlClient::Registration& registration) {
  LocalPipeline::Options options{.ranks = options_.make_ranks != nullptr
                                              ? options_.make_ranks()
                                              : MakeCpuRanks(options_.ranks, options_.threads),
                                 .self = {options_.group, registration.incarnation},
                                 .run = registration.run};
  auto* const events = static_cast<PipelineEvents*>(this);
  if (site_ != nullptr) {
    pipeline_ = site_->MakePipeline(std::move(options), events);
  } else {
    pipeline_ = std::make_unique<LocalPipeline>(std::move(options), events);
  }
  first_state_ = nullptr;
  Job job;
  std::shared_ptr<ExchangeClient> old_stream;
  {
    MutexLock lock(&mu_);
    core_.emplace(WorkerCoreConfig{options_.group, registration.incarnation,
                                   Round(registration.run.rounds), registration.run.audit_rounds,
                                   PolicyOf(registration.run).job_steps(),
                                   registration.run.format.every.steps == 0, registration.run});
    ++run_;
    layout_.reset();
    outbox_ = Outbox();
    incoming_.Drop();
    received_.clear();
    announced_.clear();
    connection_.RunSetUp(clock_.Now());
    old_stream = stream_;
    job = job_;
    wake_.NotifyAll();
  }
  if (old_stream != nullptr) old_stream->Cancel();  // its end leads to a new one
  if (job) AttachJob(job);
}

// The job may go at any time while this is at it: whoever hears that forgets job_, and the core
// never learns of a job that has gone.
void DaemonImpl::AttachJob(Job session) {
  {
    MutexLock lock(&mu_);
    // Lost meanwhile, or attached by MakeRun already.
    if (job_ != session || core_->job_attached()) return;
  }
  absl::Status status = CheckOptimizer(*session);
  if (status.ok()) status = ConfigureFor(session);
  if (!status.ok()) {
    LogError(std::string(status.message()));
    jobs_->FinishAttach(session->id(), status);
    return;
  }
  MutexLock lock(&mu_);
  if (job_ != session) return;
  WorkerActions actions;
  core_->JobAttached(pipeline_->buckets().count(), actions);
  Queue(std::move(actions), session);
}

// A job that steps by itself has no gradients to give, and one that does not would wait for ever.
absl::Status DaemonImpl::CheckOptimizer(const JobSession& session) {
  MutexLock lock(&mu_);
  const bool wanted = PolicyOf(registration_->run).job_steps();
  if (wanted && site_ != nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(name_,
                     ": the run's scheme is local: expected the ranks of one machine "
                     "(--machines 1), which are all that take part in it today"));
  }
  if (session.own_optimizer() == wanted) return absl::OkStatus();
  const std::string scheme = Name(registration_->run.scheme);
  return absl::FailedPreconditionError(absl::StrCat(
      name_, ": the run's scheme is ", scheme, wanted ? ", whose jobs step" : ", which steps",
      wanted ? " by an optimizer of their own: expected own_optimizer 1 at attach, got 0"
             : " by the daemon's optimizer: expected own_optimizer 0 at attach, got 1"));
}

// The state that the pipeline has may do; else it makes another, which can take long.
absl::Status DaemonImpl::ConfigureFor(const Job& session) {
  {
    MutexLock lock(&mu_);
    if (layout_) {
      const std::string difference = layout_->DifferenceFrom(session->layout());
      if (difference.empty()) return absl::OkStatus();
      if (core_->has_state()) {
        return absl::FailedPreconditionError(
            absl::StrCat(name_, " holds the state of another layout: ", difference));
      }
    }
    // From here on until all is there, nobody is given anything of this state.
    layout_.reset();
    core_->DropBuckets();
  }
  const absl::Status status = pipeline_->Configure(session->layout());
  if (absl::IsResourceExhausted(status)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        name_,
        ": this job does not fit, and will not another time: ", std::string(status.message())));
  }
  if (!status.ok()) return status;
  MutexLock lock(&mu_);
  layout_ = session->layout();
  state_bytes_ = pipeline_->state_bytes();
  return absl::OkStatus();
}

void DaemonImpl::ReleaseJob() {
  {
    MutexLock lock(&mu_);
    if (!layout_) return;  // a new run has begun, without a state that could hold on to a job
  }
  pipeline_->Release();
}

void DaemonImpl::Do(const AnnounceReady&, const Job& job) {
  bool first;
  {
    MutexLock lock(&mu_);
    first = !core_->has_state();
    announced_[connection_.Announce(true, "", clock_.Now())] = job;
    wake_.NotifyAll();
  }
  if (first) first_state_ = CopyState();
}

void DaemonImpl::Do(const AnnounceNotReady& lost, const Job&) {
  MutexLock lock(&mu_);
  (void)connection_.Announce(false, lost.reason, clock_.Now());
  wake_.NotifyAll();
}

// --- the stream --------------------------------------------------------------------------------

std::shared_ptr<ExchangeClient> DaemonImpl::Stream() {
  MutexLock lock(&mu_);
  return stream_;
}

void DaemonImpl::Do(const SendHello& hello, const Job&) {
  MutexLock lock(&mu_);
  if (stopping_) return;  // nobody would end it
  ++open_streams_;
  stream_ = ExchangeClient::Connect(
      stream_channel_, connection_.stream(),
      {options_.group, registration_->incarnation, registration_->instance}, hello.applied, this);
}

void DaemonImpl::Do(const SendAbstain& abstain, const Job&) {
  std::shared_ptr<ExchangeClient> stream;
  {
    MutexLock lock(&mu_);
    outbox_.PutAbstain(abstain.round, abstain.bucket, abstain.reason);
    if (core_->in_sync()) stream = stream_;
  }
  if (stream) stream->SendAbstain(abstain.round, abstain.bucket, abstain.reason);
}

void DaemonImpl::Do(const StopSending& stop, const Job&) {
  if (const auto stream = Stream()) stream->StopSending(stop.round, stop.bucket);
}

void DaemonImpl::Do(const ForgetAnswer& forget, const Job&) {
  MutexLock lock(&mu_);
  outbox_.Forget(forget.round, forget.bucket);
}

void DaemonImpl::Do(const ResendAnswers&, const Job&) {
  MutexLock lock(&mu_);
  if (stream_) outbox_.SendAll(*stream_);
}

void DaemonImpl::Do(const SendCaughtUp& caught_up, const Job&) {
  if (const auto stream = Stream()) stream->SendCaughtUp(caught_up.transfer, caught_up.sequence);
}

// --- the arithmetic ----------------------------------------------------------------------------

void DaemonImpl::Do(const AdoptJobParameters&, const Job& job) {
  first_state_ = nullptr;
  pipeline_->Adopt(job);
}

void DaemonImpl::Do(const LoadJob&, const Job& job) {
  first_state_ = nullptr;
  pipeline_->Load(job);
}

void DaemonImpl::Do(const ProcessBucket& process, const Job& job) {
  StepIntake intake{.job_goes_on = process.job_goes_on};
  {
    MutexLock lock(&mu_);
    // Into which round the step is taken was decided since it began.
    ContributionInfo& info = infos_.try_emplace(process.round, step_info_).first->second;
    info.base_round = Round(process.round.value() - 1);
    intake.lr = info.lr.front();
    intake.rank_weights = rank_weights_;
  }
  pipeline_->Process(job, process.round, process.bucket, process.extract, std::move(intake));
}

void DaemonImpl::Do(const ApplyUpdate& apply, const Job& job) {
  std::shared_ptr<const ReceivedUpdate> update;
  {
    MutexLock lock(&mu_);
    update = received_.extract(apply.sequence).mapped();
  }
  first_state_ = nullptr;
  pipeline_->Apply(std::move(update), apply.credit, apply.gather ? job : nullptr);
}

void DaemonImpl::Do(const GatherBucket& gather, const Job& job) {
  pipeline_->Gather(gather.bucket, job, gather.how);
}

void DaemonImpl::Do(const InstallSnapshot& install, const Job&) {
  std::shared_ptr<const StateImage> image;
  {
    MutexLock lock(&mu_);
    image = images_.extract(install.transfer).mapped();
  }
  first_state_ = nullptr;
  pipeline_->Install(std::move(image),
                     {install.reset_momentum, install.applied_rounds, install.formats});
}

std::shared_ptr<StateCopy> DaemonImpl::CopyState() {
  auto copy = std::make_shared<StateCopy>();
  pipeline_->Snapshot([copy](StateImage image) { copy->Made(std::move(image)); });
  return copy;
}

void DaemonImpl::TakeState(std::function<void(StateCopy::State)> done) {
  std::shared_ptr<StateCopy> copy = std::exchange(first_state_, nullptr);
  if (copy == nullptr) copy = CopyState();
  copy->Take(std::move(done));
}

void DaemonImpl::Do(const GiveSnapshot& give, const Job&) {
  LogInfo(absl::StrCat(name_, ": giving a snapshot as of update ", give.sequence.value()));
  TakeState([this, give](StateCopy::State state) {
    // One of another stream was given up with that, and is passed over.
    const std::shared_ptr<ExchangeClient> stream = Stream();
    if (stream == nullptr) return;
    stream->GiveSnapshot(give.transfer,
                         {give.sequence, give.round, give.applied_rounds, std::move(state.image),
                          std::move(state.block_hashes), give.totals, give.formats});
  });
}

void DaemonImpl::TellHeld(uint64_t stream_number, TransferId transfer, bool copy) {
  const auto tell = [this, stream_number, transfer] {
    std::shared_ptr<ExchangeClient> stream;
    std::optional<std::vector<uint64_t>> held;
    {
      MutexLock lock(&mu_);
      if (stream_number == connection_.stream()) stream = stream_;
      held = incoming_.Held(transfer);
    }
    if (stream != nullptr && held) stream->SendSnapshotHeld(transfer, *held);
  };
  {
    MutexLock lock(&mu_);
    if (!layout_) return;  // another run has begun
  }
  if (!copy) return tell();
  TakeState([this, transfer, tell](StateCopy::State state) {
    {
      MutexLock lock(&mu_);
      incoming_.SetHeld(transfer, std::move(state.image), std::move(state.block_hashes));
    }
    tell();
  });
}

void DaemonImpl::Do(const ReportHash& report, const Job&) {
  pipeline_->Hash([this, report](std::vector<uint64_t> hashes) { Hashed(report, hashes); });
}

void DaemonImpl::Hashed(const ReportHash& report, std::vector<uint64_t> bucket_hashes) {
  MutexLock lock(&mu_);
  hash_round_ = report.round;
  hash_ = std::accumulate(bucket_hashes.begin(), bucket_hashes.end(), uint64_t{0});
  connection_.ReportSoon(clock_.Now());
  wake_.NotifyAll();
  if (!report.audit) return;
  if (stream_ != nullptr && core_->in_sync()) stream_->SendAudit(report.round, bucket_hashes);
  outbox_.PutAudit(report.round, std::move(bucket_hashes));
}

// --- answers to the job ------------------------------------------------------------------------

void DaemonImpl::Do(const FinishAttach& attach, const Job& job) {
  AttachReply reply{.group_id = options_.group.value(),
                    .group_index = attach.group_index,
                    .group_count = attach.group_count,
                    .round = attach.round.value(),
                    .totals = attach.totals};
  {
    MutexLock lock(&mu_);
    reply.world_size = ranks_;
    reply.rounds = registration_->run.rounds;
    reply.every_steps = attach.every;
    reply.overlap_steps = attach.overlap;
    begun_ = StepTime();
    exchanged_at_ = 0;
    step_ended_ = absl::InfinitePast();
  }
  if (job == nullptr) return;
  pipeline_->Then([this, id = job->id(), reply] { jobs_->FinishAttach(id, reply); });
}

void DaemonImpl::Do(const FinishStep& finish, const Job& job) {
  if (job == nullptr) return;
  pipeline_->Then([this, id = job->id(), finish] { StepFinished(id, finish); });
}

// Behind what the pipeline still does with the job's gradients, as every end of a step.
void DaemonImpl::Do(const FailStep& fail, const Job& job) {
  if (job == nullptr) return;
  pipeline_->Then([this, id = job->id(), status = fail.status] { jobs_->FinishStep(id, status); });
}

void DaemonImpl::Do(const NameStep&, const Job& job) {
  // Behind the end of an attach, which the job server has to have heard of.
  if (job != nullptr) pipeline_->Then([this, id = job->id()] { jobs_->NameStep(id); });
}

void DaemonImpl::StepFinished(uint64_t session_id, const FinishStep& finish) {
  StepReply reply;
  {
    MutexLock lock(&mu_);
    const absl::Time now = clock_.Now();
    StepTime time{.round = finish.round.value()};
    time.blocked = absl::ToDoubleSeconds(now - step_began_);
    time.local = std::min(time.blocked, pipeline_->TakeBusySeconds());
    time.peer_wait = std::min(time.blocked - time.local, absl::ToDoubleSeconds(finish.peer_wait));
    const StepTime own = time;
    if (finish.gave || finish.end) {
      // With what the job was blocked for when it began this exchange, and went on.
      time.blocked += std::exchange(begun_.blocked, 0);
      time.local += std::exchange(begun_.local, 0);
      time.step = step_ended_ == absl::InfinitePast() ? time.blocked
                                                      : absl::ToDoubleSeconds(now - step_ended_);
      step_ended_ = now;
    } else if (!finish.shown) {
      begun_.blocked += time.blocked;
      begun_.local += time.local;
    }
    if (finish.gave && !finish.end) {
      if (JobPace* const pace = job_ != nullptr ? job_->pace(0) : nullptr) {
        // What the job says may be anything; a step at least has been taken.
        constexpr uint64_t kMostSteps = uint64_t{1} << 53;
        const uint64_t steps = std::clamp(pace->steps(), exchanged_at_ + 1, kMostSteps);
        time.steps = static_cast<double>(steps - exchanged_at_);
        exchanged_at_ = std::min(steps, kMostSteps - 1);
      }
      times_.Add(time);
      steps_ += static_cast<uint64_t>(time.steps);
    }
    reply = {.round = finish.round.value(),
             .contributors = finish.contributors,
             .merged_here = finish.merged_here,
             .buckets = pipeline_->buckets().count(),
             .loss = finish.loss,
             .blocked_seconds = own.blocked,
             .local_seconds = own.local,
             .peer_wait_seconds = own.peer_wait,
             .link_wait_seconds = own.link_wait(),
             .end = finish.end,
             .nonfinite = finish.nonfinite,
             .totals = finish.totals,
             .every_steps = finish.every,
             .overlap_steps = finish.overlap};
  }
  jobs_->FinishStep(session_id, reply);
}

}  // namespace isthmus
