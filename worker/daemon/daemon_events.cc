// What the daemon hears, from the job, the arithmetic and the stream, stepped into its cores.

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/compression/merge.h"
#include "common/run/exchange_policy.h"
#include "common/run/loss.h"
#include "common/telemetry/log.h"
#include "worker/daemon/daemon_impl.h"

namespace isthmus {

void DaemonImpl::Queue(WorkerActions actions, const Job& job) {
  for (WorkerAction& action : actions) tasks_.Add(Bound{std::move(action), job, run_});
  if (core_->has_state()) connection_.HoldsState();
  wake_.NotifyAll();  // the run may be over
}

void DaemonImpl::OnSiteWhole(uint32_t ranks) {
  MutexLock lock(&mu_);
  ranks_ = ranks;
  connection_.SiteWhole(clock_.Now());
  wake_.NotifyAll();
}

// --- the job -----------------------------------------------------------------------------------

void DaemonImpl::OnAttached(std::shared_ptr<JobSession> session) {
  uint32_t ranks;
  {
    MutexLock lock(&mu_);
    ranks = ranks_;
    job_ = session;
    if (ending_) {
      tasks_.Add(std::function<void()>([this, ending = *ending_] { TellJob(ending); }));
    } else if (core_) {
      tasks_.Add(std::function<void()>([this, session] { AttachJob(session); }));
    }  // else MakeRun attaches it
  }
  LogInfo(absl::StrCat(name_, ": ", ranks, " ranks attached, ", session->layout().logical_length(),
                       " parameters"));
}

// What the group says of a step: samples summed, loss weighted by them, rates of rank 0 (all
// ranks agree).
ContributionInfo DaemonImpl::Gather(const std::vector<RankStep>& steps) {
  ContributionInfo info;
  WeightedLoss loss;
  for (const RankStep& step : steps) {
    info.samples += step.samples;
    info.steps = std::max(info.steps, step.steps);
    loss.Add(step.loss, step.samples);
  }
  info.loss = loss.Mean();
  nonfinite_losses_ += loss.left_out();
  info.lr = steps.front().lr;
  info.weight_decay = steps.front().weight_decay;
  rank_weights_.clear();
  const ExchangePolicy policy = PolicyOf(registration_->run);
  if (!policy.job_steps()) return info;
  std::vector<uint64_t> samples;
  for (const RankStep& step : steps) samples.push_back(step.samples);
  rank_weights_ = MergeWeights(samples);
  info.lr.assign(info.lr.size(), *policy.outer_lr);
  info.weight_decay.assign(info.lr.size(), 0.0f);
  return info;
}

void DaemonImpl::OnStep(uint64_t session_id, std::vector<RankStep> steps) {
  (void)Step([&](WorkerCore& core, WorkerActions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (job_ == nullptr || job_->id() != session_id) return absl::OkStatus();
    step_began_ = clock_.Now();
    bool skip = false;
    for (const RankStep& step : steps) skip |= step.skip;
    const StepWants& wants = steps.front().wants;  // all ranks agree
    if (wants.take) {
      step_info_ = Gather(steps);
      infos_.clear();  // all that was extracted of steps before has come
    }
    core.StepBegun(wants, skip, out);
    return absl::OkStatus();
  });
}

void DaemonImpl::OnLost(uint64_t session_id, const std::string& reason) {
  LogInfo(absl::StrCat(name_, ": the job is gone: ", reason));
  MutexLock lock(&mu_);
  if (job_ != nullptr && job_->id() == session_id) {
    samples_ += SamplesOf(job_.get());
    job_ = nullptr;
  }
  wake_.NotifyAll();
  // The core does not know a job that is still being attached; AttachJob sees that it has gone.
  if (!core_ || !core_->job_attached()) return;
  // With the job forgotten in one go: the core must never act for a job that is not there.
  WorkerActions actions;
  core_->JobLost(reason, actions);
  Queue(std::move(actions), job_);
  // After what the core still wanted of the job.
  tasks_.Add(std::function<void()>([this] { ReleaseJob(); }));
}

// --- the arithmetic ----------------------------------------------------------------------------

void DaemonImpl::OnPart(ContributionPart part) {
  std::shared_ptr<ExchangeClient> stream;
  std::shared_ptr<const OutgoingPart> out;
  {
    MutexLock lock(&mu_);
    const auto info = infos_.find(part.round);
    if (!core_ || !core_->Wanted(part.round, part.bucket) || info == infos_.end()) return;
    out = std::make_shared<OutgoingPart>(OutgoingPart{std::move(part), info->second});
    outbox_.Put(out);
    if (core_->in_sync()) stream = stream_;
  }
  if (stream != nullptr) stream->SendPart(std::move(out));
}

void DaemonImpl::OnNonFinite(Round round, BucketIndex bucket) {
  LogWarning(absl::StrCat(name_, " round ", round.value(), " bucket ", bucket.value(),
                          ": NaN or Inf in the gradient, the group abstains"));
  (void)Step([&](WorkerCore& core, WorkerActions& out) {
    core.NonFinite(round, bucket, out);
    return absl::OkStatus();
  });
}

void DaemonImpl::OnFailure(const absl::Status& status) {
  StepConnection([&](ConnectionCore& connection, absl::Time, ConnectionActions& out) {
    connection.Fail(DaemonExit::kFailure, std::string(status.message()), out);
  });
}

// --- the stream --------------------------------------------------------------------------------

absl::Status DaemonImpl::OnWelcome(uint64_t stream, Sequence next) {
  StepConnection([&](ConnectionCore& connection, absl::Time now, ConnectionActions& out) {
    connection.StreamWelcomed(stream, now, out);
  });
  return StepStream(stream,
                    [&](WorkerCore& core, WorkerActions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
                      if (next != Sequence(0))
                        incoming_.Drop();  // updates will follow, and no snapshot
                      return core.Welcomed(next, out);
                    });
}

void DaemonImpl::OnStart(uint64_t stream, uint32_t group_index, uint32_t group_count) {
  (void)StepStream(stream, [&](WorkerCore& core, WorkerActions& out) {
    core.Started(group_index, group_count, out);
    return absl::OkStatus();
  });
}

// Of how long a contribution has waited for others: how long the job has, too.
absl::Duration DaemonImpl::JobWaited(absl::Duration peer_wait) {
  if (!core_->in_step()) return absl::ZeroDuration();
  absl::Duration waited = std::min(peer_wait, clock_.Now() - step_began_);
  const RunSpec& run = registration_->run;
  if (run.format.overlap > 0 && !PolicyOf(run).job_steps()) {
    // It was handed over in the step before, and the job has computed since.
    const absl::Duration computed =
        step_ended_ == absl::InfinitePast() ? absl::ZeroDuration() : step_began_ - step_ended_;
    waited = std::clamp(peer_wait - computed, absl::ZeroDuration(), waited);
  }
  return waited;
}

absl::Status DaemonImpl::OnUpdate(uint64_t stream, ReceivedUpdate update,
                                  absl::Duration peer_wait) {
  return StepStream(
      stream,
      [&](WorkerCore& core, WorkerActions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) -> absl::Status {
        const UpdateHeader& header = update.header;
        const uint32_t groups = layout_ ? layout_->parameter_groups() : 0;
        if (!header.contributors.empty() && header.scalars.size() != groups) {
          return absl::DataLossError(absl::StrCat("update ", header.sequence.value(),
                                                  ": scalars of ", header.scalars.size(),
                                                  " parameter groups, expected ", groups));
        }
        if (header.sequence <= core.applied_sequence()) return absl::OkStatus();
        auto shared = std::make_shared<const ReceivedUpdate>(std::move(update));
        ISTHMUS_RETURN_IF_ERROR(core.UpdateArrived(shared->header, JobWaited(peer_wait), out));
        received_[shared->header.sequence] = shared;
        connection_.StreamProgressed(stream, clock_.Now());
        return absl::OkStatus();
      });
}

void DaemonImpl::OnDue(uint64_t stream, Round round) {
  (void)StepStream(stream, [&](WorkerCore& core, WorkerActions& out) {
    core.DueArrived(round, out);
    return absl::OkStatus();
  });
}

void DaemonImpl::OnClosed(uint64_t stream, Round round, BucketIndex bucket) {
  (void)StepStream(stream, [&](WorkerCore& core, WorkerActions& out) {
    core.ClosedArrived(round, bucket, out);
    return absl::OkStatus();
  });
}

void DaemonImpl::OnRefused(uint64_t stream, Round round, BucketIndex bucket,
                           const std::string& reason) {
  LogError(absl::StrCat(name_, " round ", round.value(), " bucket ", bucket.value(),
                        ": the coordinator refused the contribution: ", reason));
  (void)StepStream(stream, [&](WorkerCore& core, WorkerActions& out) {
    core.ContributionRefused(round, bucket, reason, out);
    return absl::OkStatus();
  });
}

absl::Status DaemonImpl::OnSnapshotRequest(uint64_t stream, TransferId transfer,
                                           Sequence at_least) {
  return StepStream(stream, [&](WorkerCore& core, WorkerActions& out) {
    return core.SnapshotAsked(transfer, at_least, out);
  });
}

void DaemonImpl::OnSnapshotOffer(uint64_t stream, TransferId transfer) {
  (void)StepStream(stream, [&](WorkerCore&, WorkerActions&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (!layout_) return absl::OkStatus();
    // At once: its first pieces may be here before the task below has its turn.
    const bool copy = incoming_.Offered(transfer, state_bytes_);
    // In its turn: what the state is made of may still be under way to the pipeline.
    tasks_.Add(std::function<void()>(
        [this, stream, transfer, copy] { TellHeld(stream, transfer, copy); }));
    return absl::OkStatus();
  });
}

absl::Status DaemonImpl::OnSnapshotPiece(uint64_t stream, SnapshotPiece piece) {
  return StepStream(
      stream,
      [&](WorkerCore& core, WorkerActions& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) -> absl::Status {
        if (!layout_) return absl::OkStatus();
        ISTHMUS_ASSIGN_OR_RETURN(std::optional<WholeSnapshot> whole,
                                 incoming_.Add(std::move(piece), state_bytes_));
        if (!whole) return absl::OkStatus();
        LogInfo(absl::StrCat(name_, ": the run's parameters have arrived, state of update ",
                             whole->sequence.value()));
        images_[whole->transfer] = whole->image;
        const absl::Status arrived =
            core.SnapshotArrived(whole->transfer, whole->sequence, std::move(whole->applied_rounds),
                                 whole->totals, std::move(whole->formats), out);
        if (!arrived.ok()) images_.erase(whole->transfer);
        return arrived;
      });
}

void DaemonImpl::OnSnapshotAborted(uint64_t stream, TransferId transfer) {
  (void)StepStream(stream,
                   [&](WorkerCore& core, WorkerActions&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
                     incoming_.Aborted(transfer);
                     core.SnapshotAborted(transfer);
                     return absl::OkStatus();
                   });
}

void DaemonImpl::OnStreamEnd(uint64_t stream, const absl::Status& status) {
  StepConnection([&](ConnectionCore& connection, absl::Time now, ConnectionActions& out)
                     ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
                       if (stream != connection.stream() || stopping_) return;
                       stream_ = nullptr;
                       if (core_) core_->StreamLost();
                       connection.StreamEnded(stream, status, complained_ == stream, now, out);
                     });
  MutexLock lock(&mu_);
  --open_streams_;  // last: Stop() waits for it, and then this object may go
  wake_.NotifyAll();
}

}  // namespace isthmus
