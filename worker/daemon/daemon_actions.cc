// Performing what the worker's core decides.

#include <absl/strings/str_cat.h>

#include <numeric>

#include "common/telemetry/log.h"
#include "worker/daemon/daemon_impl.h"

namespace isthmus {

void DaemonImpl::Perform(const Bound& task) {
  std::shared_ptr<ExchangeClient> stream;
  {
    MutexLock lock(&mu_);
    stream = stream_;
  }
  const WorkerAction& action = task.action;
  if (std::holds_alternative<AnnounceReady>(action)) {
    QueueAnnouncement({true, 0, "", task.job});
  } else if (const auto* not_ready = std::get_if<AnnounceNotReady>(&action)) {
    QueueAnnouncement({false, 0, not_ready->reason, nullptr});
  } else if (const auto* hello = std::get_if<SendHello>(&action)) {
    MutexLock lock(&mu_);
    if (stopping_) return;  // nobody would end it
    ++open_streams_;
    stream_ = ExchangeClient::Connect(
        stream_channel_, ++stream_number_,
        {options_.group, registration_->incarnation, registration_->instance}, hello->applied,
        this);
  } else if (const auto* abstain = std::get_if<SendAbstain>(&action)) {
    bool in_sync;
    {
      MutexLock lock(&mu_);
      outbox_.PutAbstain(abstain->round, abstain->bucket, abstain->reason);
      in_sync = core_->in_sync();
    }
    if (stream && in_sync) stream->SendAbstain(abstain->round, abstain->bucket, abstain->reason);
  } else if (const auto* stop = std::get_if<StopSending>(&action)) {
    if (stream) stream->StopSending(stop->round, stop->bucket);
  } else if (const auto* forget = std::get_if<ForgetAnswer>(&action)) {
    MutexLock lock(&mu_);
    outbox_.Forget(forget->round, forget->bucket);
  } else if (std::holds_alternative<ResendAnswers>(action)) {
    MutexLock lock(&mu_);
    if (stream_) outbox_.SendAll(*stream_);
  } else if (const auto* caught_up = std::get_if<SendCaughtUp>(&action)) {
    if (stream) stream->SendCaughtUp(caught_up->transfer, caught_up->sequence);
  } else if (std::holds_alternative<AdoptJobParameters>(action)) {
    pipeline_->Adopt(task.job);
  } else if (std::holds_alternative<LoadJob>(action)) {
    pipeline_->Load(task.job);
  } else if (const auto* process = std::get_if<ProcessBucket>(&action)) {
    float lr = 0;
    {
      MutexLock lock(&mu_);
      const auto info = infos_.find(process->round);
      if (info != infos_.end()) lr = info->second.lr.front();
    }
    pipeline_->Process(task.job, process->round, process->bucket, process->extract, lr);
  } else if (const auto* apply = std::get_if<ApplyUpdate>(&action)) {
    std::shared_ptr<const ReceivedUpdate> update;
    {
      MutexLock lock(&mu_);
      update = received_.extract(apply->sequence).mapped();
    }
    pipeline_->Apply(std::move(update), apply->credit, apply->gather ? task.job : nullptr);
  } else if (const auto* gather = std::get_if<GatherBucket>(&action)) {
    pipeline_->Gather(gather->bucket, task.job);
  } else if (const auto* give = std::get_if<GiveSnapshot>(&action)) {
    GiveJob(*give);
  } else if (const auto* install = std::get_if<InstallSnapshot>(&action)) {
    std::shared_ptr<const StateImage> image;
    {
      MutexLock lock(&mu_);
      image = images_.extract(install->transfer).mapped();
    }
    pipeline_->Install(std::move(image), install->reset_momentum, install->applied_rounds);
  } else if (const auto* report = std::get_if<ReportHash>(&action)) {
    pipeline_->Hash([this, r = *report](std::vector<uint64_t> hashes) { Hashed(r, hashes); });
  } else if (std::holds_alternative<FlipBit>(action)) {
    LogWarning(absl::StrCat("group ", options_.group.value(),
                            ": flips a bit of a master, as --flip-bit-at asks"));
    pipeline_->FlipBit();
  } else if (const auto* attach = std::get_if<FinishAttach>(&action)) {
    AttachReply reply{.group_id = options_.group.value(),
                      .group_index = attach->group_index,
                      .group_count = attach->group_count,
                      .round = attach->round.value()};
    {
      MutexLock lock(&mu_);
      reply.world_size = ranks_;
      reply.rounds = registration_->run.rounds;
      step_ended_ = absl::InfinitePast();
    }
    if (task.job == nullptr) return;
    pipeline_->Then([this, id = task.job->id(), reply] { jobs_->FinishAttach(id, reply); });
  } else if (const auto* finish = std::get_if<FinishStep>(&action)) {
    if (task.job == nullptr) return;
    pipeline_->Then([this, id = task.job->id(), f = *finish] { StepFinished(id, f); });
  }
}

void DaemonImpl::GiveJob(const GiveSnapshot& give) {
  LogInfo(absl::StrCat("group ", options_.group.value(), ": giving a snapshot as of update ",
                       give.sequence.value()));
  pipeline_->Snapshot([this, give](StateImage image) {
    std::vector<uint64_t> hashes = HashBlocks(image.bytes);
    std::shared_ptr<ExchangeClient> stream;
    {
      MutexLock lock(&mu_);
      stream = stream_;
    }
    // One of another stream was given up with that, and is passed over.
    if (stream == nullptr) return;
    stream->GiveSnapshot(give.transfer, {give.sequence, give.round, give.applied_rounds,
                                         std::move(image), std::move(hashes)});
  });
}

void DaemonImpl::TellHeld(uint64_t stream_number, TransferId transfer) {
  const auto tell = [this, stream_number, transfer] {
    std::shared_ptr<ExchangeClient> stream;
    std::optional<std::vector<uint64_t>> held;
    {
      MutexLock lock(&mu_);
      if (stream_number == stream_number_) stream = stream_;
      held = incoming_.Held(transfer);
    }
    if (stream != nullptr && held) stream->SendSnapshotHeld(transfer, *held);
  };
  bool copy;
  {
    MutexLock lock(&mu_);
    if (!layout_) return;  // another run has begun
    copy = incoming_.Offered(transfer, pipeline_->state_bytes());
  }
  if (!copy) return tell();
  pipeline_->Snapshot([this, transfer, tell](StateImage image) {
    std::vector<uint64_t> hashes = HashBlocks(image.bytes);
    {
      MutexLock lock(&mu_);
      incoming_.SetHeld(transfer, std::move(image), std::move(hashes));
    }
    tell();
  });
}

void DaemonImpl::Hashed(const ReportHash& report, std::vector<uint64_t> bucket_hashes) {
  MutexLock lock(&mu_);
  hash_round_ = report.round;
  hash_ = std::accumulate(bucket_hashes.begin(), bucket_hashes.end(), uint64_t{0});
  heartbeat_at_ = absl::InfinitePast();  // now
  wake_.NotifyAll();
  if (!report.audit) return;
  if (stream_ != nullptr && core_->in_sync()) stream_->SendAudit(report.round, bucket_hashes);
  outbox_.PutAudit(report.round, std::move(bucket_hashes));
}

void DaemonImpl::StepFinished(uint64_t session_id, const FinishStep& finish) {
  StepReply reply;
  {
    MutexLock lock(&mu_);
    const absl::Time now = clock_.Now();
    StepTime time;
    time.blocked = absl::ToDoubleSeconds(now - step_began_);
    time.step = step_ended_ == absl::InfinitePast() ? time.blocked
                                                    : absl::ToDoubleSeconds(now - step_ended_);
    time.local = std::min(time.blocked, pipeline_->TakeBusySeconds());
    time.peer_wait = std::min(time.blocked - time.local, absl::ToDoubleSeconds(finish.peer_wait));
    step_ended_ = now;
    if (!finish.end) {
      times_.Add(time);
      ++steps_;
    }
    reply = {.round = finish.round.value(),
             .contributors = finish.contributors,
             .merged_here = finish.merged_here,
             .buckets = pipeline_->buckets().count(),
             .loss = finish.loss,
             .blocked_seconds = time.blocked,
             .local_seconds = time.local,
             .peer_wait_seconds = time.peer_wait,
             .link_wait_seconds = time.link_wait(),
             .end = finish.end};
  }
  jobs_->FinishStep(session_id, reply);
}

}  // namespace isthmus
