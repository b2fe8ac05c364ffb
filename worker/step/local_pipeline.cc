#include "worker/step/local_pipeline.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <atomic>
#include <span>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "worker/step/rank_threads.h"
#include "worker/step/shared_update.h"

namespace isthmus {
namespace {

// Told by every rank once; says who was the last.
class Countdown {
 public:
  explicit Countdown(uint32_t ranks) : left_(ranks) {}
  bool Last() { return left_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

 private:
  std::atomic<uint32_t> left_;
};

}  // namespace

class LocalPipeline::Impl {
 public:
  Impl(Options options, PipelineEvents* events)
      : options_(std::move(options)),
        reader_(std::make_shared<const UpdateReader>(options_.run, options_.self)),
        events_(events),
        threads_(
            options_.ranks->count(), Clock::Real(),
            [this](const absl::Status& status) {
              Abort(status);
              events_->OnFailure(status);
            },
            [this](uint32_t rank) { return FinishRank(rank); }) {}

  ~Impl() {
    threads_.Stop();
    Abort(absl::CancelledError("the pipeline is going away"));
  }

  absl::Status Configure(const Layout& layout, const GroupPlace& place);
  absl::StatusOr<std::string> Invite() { return options_.ranks->Invite(); }
  void Abort(const absl::Status& reason) { options_.ranks->Abort(reason); }
  const Ownership& ownership() const { return state().ownership; }
  const Buckets& buckets() const { return ownership().buckets(); }
  uint64_t state_bytes() const { return VectorsBytes() + state().layout.constants_bytes(); }

  uint32_t ranks() const { return options_.ranks->count(); }
  RankThreads& threads() { return threads_; }
  void CheckFits(JobSession& job) const {
    ISTHMUS_CHECK(job.ranks() == ranks());
    ISTHMUS_CHECK(job.layout().length() == state().layout.length());
    ISTHMUS_CHECK(job.layout().constants_bytes() == state().layout.constants_bytes());
  }

  std::shared_ptr<const UpdateReader> reader() {
    MutexLock lock(&mu_);
    return reader_;
  }
  // Of how updates are read that are queued from now on; ranks change theirs in their turn.
  void ChangeFormat(const FormatChange& change) {
    MutexLock lock(&mu_);
    auto reader = std::make_shared<UpdateReader>(*reader_);
    reader->formats.Change(change);
    reader_ = std::move(reader);
  }

  // What ranks do, each on its thread; `rank` counts this daemon's.
  // `constants`: of the group's rank 0; null: that is this daemon's.
  absl::Status Adopt(uint32_t rank, JobSession& job, const std::string* constants);
  absl::Status Load(uint32_t rank, JobSession& job);
  absl::Status Process(uint32_t rank, JobSession& job, Round round, BucketIndex bucket,
                       bool extract, const StepIntake& intake);
  absl::Status Apply(uint32_t rank, SharedUpdate& update, Credit credit, JobSession* gather_to);
  absl::Status Save(uint32_t rank, std::string& image);
  absl::Status Install(uint32_t rank, const std::string& image, const InstalledAs& as);
  RankState& rank_state(uint32_t rank) const { return *state().ranks[rank]; }
  absl::Status CompleteRank(uint32_t rank) {
    return state_ == nullptr ? absl::OkStatus() : rank_state(rank).Complete();
  }
  absl::Status ReleaseJob(uint32_t rank) {
    return state_ == nullptr ? absl::OkStatus() : rank_state(rank).ReleaseJob();
  }
  // What the rank has begun is told; nothing where there is no state.
  absl::Status FinishRank(uint32_t rank) {
    return state_ == nullptr ? absl::OkStatus() : rank_state(rank).Finish();
  }

 private:
  struct State {
    Layout layout;
    Ownership ownership;
    uint32_t first_rank = 0;  // of the group
    std::vector<std::unique_ptr<RankState>> ranks;
    // Written by rank 0's thread between barriers, so that any rank may read it in Load.
    std::vector<std::byte> constants;
  };

  State& state() const {
    ISTHMUS_CHECK(state_ != nullptr);
    return *state_;
  }
  // Of the masters and the optimizer's vectors in a StateImage.
  uint64_t VectorsBytes() const {
    const int vectors = 1 + OptimizerStateVectors(options_.run.optimizer);
    return state().layout.length() * sizeof(float) * static_cast<uint64_t>(vectors);
  }

  const Options options_;
  Mutex mu_;
  // Of what is applied next.
  std::shared_ptr<const UpdateReader> reader_ ABSL_GUARDED_BY(mu_);
  PipelineEvents* const events_;
  // Replaced only by Configure while no rank performs anything; the lock of the queues makes it
  // visible to rank threads.
  std::unique_ptr<State> state_;
  RankThreads threads_;  // last: its threads use everything above
};

absl::Status LocalPipeline::Impl::Configure(const Layout& layout, const GroupPlace& place) {
  ISTHMUS_ASSIGN_OR_RETURN(const Buckets cut,
                           Buckets::Create(layout.length(), options_.run.bucket_length));
  threads_.WaitIdle();
  state_ = nullptr;  // before the new one: both may not fit
  auto state = std::make_unique<State>();
  state->layout = layout;
  state->ownership = options_.own(cut, place.ranks);
  state->first_rank = place.first_rank;
  GroupPlace mine = place;
  mine.group = options_.self.group;
  ISTHMUS_ASSIGN_OR_RETURN(
      state->ranks, options_.ranks->Make(options_.run, state->layout, state->ownership, mine));
  state->constants.resize(layout.constants_bytes());
  state_ = std::move(state);
  return absl::OkStatus();
}

absl::Status LocalPipeline::Impl::Adopt(uint32_t rank, JobSession& job,
                                        const std::string* constants) {
  ISTHMUS_RETURN_IF_ERROR(rank_state(rank).Adopt(job));
  if (rank == 0) {
    const std::span<const std::byte> from =
        constants != nullptr ? std::as_bytes(std::span(*constants)) : job.constants(0);
    ISTHMUS_CHECK(from.size() == state().constants.size());
    std::copy(from.begin(), from.end(), state().constants.begin());
  }
  // All have read before rank 0's buffer changes, and see the constants.
  return rank_state(rank).Barrier();
}

absl::Status LocalPipeline::Impl::Load(uint32_t rank, JobSession& job) {
  // Constants first: once the gathers are over, nobody reads them any more.
  std::copy(state().constants.begin(), state().constants.end(), job.constants(rank).begin());
  for (uint32_t b = 0; b < buckets().count(); ++b) {
    ISTHMUS_RETURN_IF_ERROR(rank_state(rank).Gather(job, BucketIndex(b), Gathering::kAnchor));
  }
  return rank_state(rank).ClearGradients(job);
}

absl::Status LocalPipeline::Impl::Process(uint32_t rank, JobSession& job, Round round,
                                          BucketIndex bucket, bool extract,
                                          const StepIntake& intake) {
  RankState& mine = rank_state(rank);
  const uint32_t in_group = state().first_rank + rank;
  const float weight = intake.rank_weights.empty() ? 1.0f : intake.rank_weights[in_group];
  const float lr = intake.lr;
  ISTHMUS_ASSIGN_OR_RETURN(const bool usable, mine.Reduce(job, bucket, weight));
  if (!usable) {
    if (rank == 0) events_->OnNonFinite(round, bucket);
    return absl::OkStatus();
  }
  if (intake.job_goes_on) mine.JobGoesOn(job, bucket);
  if (!extract) return mine.Accumulate(round, bucket, lr);
  return mine.Extract(
      round, bucket, lr,
      [=, events = events_](const ChunkRun& chunks, std::shared_ptr<const std::string> payload) {
        events->OnPart({.round = round,
                        .bucket = bucket,
                        .rank = in_group,
                        .chunks = chunks,
                        .payload = std::move(payload)});
      });
}

absl::Status LocalPipeline::Impl::Apply(uint32_t rank, SharedUpdate& update, Credit credit,
                                        JobSession* gather_to) {
  RankState& mine = rank_state(rank);
  const UpdateHeader& header = update.header();
  if (header.bucket.value() >= buckets().count()) {
    return absl::InvalidArgumentError(absl::StrCat("update ", header.sequence.value(),
                                                   ": expected a bucket below ", buckets().count(),
                                                   ", got ", header.bucket.value()));
  }
  if (header.change) mine.ChangeFormat(*header.change);
  if (!header.contributors.empty()) {
    if (gather_to == nullptr) mine.JobStaysBehind(header.bucket);
    ISTHMUS_ASSIGN_OR_RETURN(const UpdateView* view, update.Parsed(state().layout, buckets()));
    ISTHMUS_RETURN_IF_ERROR(mine.Apply(header, *view));
  }
  mine.Settle(header.round, header.bucket, credit);
  if (gather_to == nullptr) return absl::OkStatus();
  return mine.Gather(*gather_to, header.bucket, Gathering::kWithWay);
}

absl::Status LocalPipeline::Impl::Save(uint32_t rank, std::string& image) {
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(image));
  ISTHMUS_RETURN_IF_ERROR(rank_state(rank).Save(bytes.first(VectorsBytes())));
  // Only rank 0 may: a later operation of its own writes them.
  if (rank != 0) return absl::OkStatus();
  std::copy(state().constants.begin(), state().constants.end(),
            bytes.begin() + static_cast<ptrdiff_t>(VectorsBytes()));
  return absl::OkStatus();
}

absl::Status LocalPipeline::Impl::Install(uint32_t rank, const std::string& image,
                                          const InstalledAs& as) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(image));
  for (const FormatChange& change : as.formats) rank_state(rank).ChangeFormat(change);
  ISTHMUS_RETURN_IF_ERROR(
      rank_state(rank).Load(bytes.first(VectorsBytes()), as.reset_momentum, as.applied_rounds));
  if (rank == 0) {
    const std::span<const std::byte> constants = bytes.subspan(VectorsBytes());
    std::copy(constants.begin(), constants.end(), state().constants.begin());
  }
  return rank_state(rank).Barrier();
}

LocalPipeline::LocalPipeline(Options options, PipelineEvents* events)
    : impl_(std::make_unique<Impl>(std::move(options), events)) {}

LocalPipeline::~LocalPipeline() = default;

absl::Status LocalPipeline::Configure(const Layout& layout) {
  return impl_->Configure(layout, {.ranks = impl_->ranks()});
}
absl::Status LocalPipeline::ConfigurePart(const Layout& layout, const GroupPlace& place) {
  return impl_->Configure(layout, place);
}
absl::StatusOr<std::string> LocalPipeline::Invite() { return impl_->Invite(); }
void LocalPipeline::Abort(const absl::Status& reason) { impl_->Abort(reason); }
const Ownership& LocalPipeline::ownership() const { return impl_->ownership(); }
uint64_t LocalPipeline::state_bytes() const { return impl_->state_bytes(); }

void LocalPipeline::Adopt(std::shared_ptr<JobSession> job) {
  impl_->CheckFits(*job);
  impl_->threads().Queue(
      [impl = impl_.get(), job](uint32_t rank) { return impl->Adopt(rank, *job, nullptr); });
}

void LocalPipeline::AdoptWith(std::shared_ptr<JobSession> job, std::string constants) {
  impl_->CheckFits(*job);
  impl_->threads().Queue([impl = impl_.get(), job, c = std::move(constants)](uint32_t rank) {
    return impl->Adopt(rank, *job, &c);
  });
}

void LocalPipeline::Load(std::shared_ptr<JobSession> job) {
  impl_->CheckFits(*job);
  impl_->threads().Queue(
      [impl = impl_.get(), job](uint32_t rank) { return impl->Load(rank, *job); });
}

void LocalPipeline::Process(std::shared_ptr<JobSession> job, Round round, BucketIndex bucket,
                            bool extract, StepIntake intake) {
  impl_->CheckFits(*job);
  impl_->threads().Queue(
      [impl = impl_.get(), job, round, bucket, extract, intake = std::move(intake)](uint32_t rank) {
        return impl->Process(rank, *job, round, bucket, extract, intake);
      });
}

void LocalPipeline::Apply(std::shared_ptr<const ReceivedUpdate> update, Credit credit,
                          std::shared_ptr<JobSession> gather_to) {
  if (gather_to != nullptr) impl_->CheckFits(*gather_to);
  const auto shared = std::make_shared<SharedUpdate>(update, impl_->reader());
  if (update->header.change) impl_->ChangeFormat(*update->header.change);
  impl_->threads().Queue([impl = impl_.get(), shared, credit, gather_to](uint32_t rank) {
    return impl->Apply(rank, *shared, credit, gather_to.get());
  });
}

void LocalPipeline::Gather(BucketIndex bucket, std::shared_ptr<JobSession> job, Gathering how) {
  impl_->CheckFits(*job);
  impl_->threads().Queue([impl = impl_.get(), bucket, job, how](uint32_t rank) {
    return impl->rank_state(rank).Gather(*job, bucket, how);
  });
}

void LocalPipeline::Release() {
  impl_->threads().Queue([impl = impl_.get()](uint32_t rank) { return impl->ReleaseJob(rank); });
}

void LocalPipeline::Snapshot(std::function<void(StateImage)> done) {
  struct Shared {
    explicit Shared(uint32_t ranks) : countdown(ranks) {}
    Mutex mu;  // of allocating the image; ranks then write apart from each other
    StateImage image;
    Countdown countdown;
  };
  const auto shared = std::make_shared<Shared>(impl_->ranks());
  impl_->threads().Queue([impl = impl_.get(), shared, done = std::move(done)](uint32_t rank) {
    {
      MutexLock lock(&shared->mu);
      shared->image.bytes.resize(impl->state_bytes());  // by the first; nothing for the others
    }
    ISTHMUS_RETURN_IF_ERROR(impl->Save(rank, shared->image.bytes));
    if (shared->countdown.Last()) done(std::move(shared->image));
    return absl::OkStatus();
  });
}

void LocalPipeline::Install(std::shared_ptr<const StateImage> image, InstalledAs as) {
  ISTHMUS_CHECK(image->bytes.size() == state_bytes());
  ISTHMUS_CHECK(as.applied_rounds.size() == buckets().count());
  for (const FormatChange& change : as.formats) impl_->ChangeFormat(change);
  impl_->threads().Queue([impl = impl_.get(), image, as = std::move(as)](uint32_t rank) {
    return impl->Install(rank, image->bytes, as);
  });
}

void LocalPipeline::Hash(std::function<void(std::vector<uint64_t>)> done) {
  struct Shared {
    Shared(uint32_t ranks, uint32_t buckets) : sums(buckets), countdown(ranks) {}
    std::vector<std::atomic<uint64_t>> sums;  // per bucket, of the ranks that are done
    Countdown countdown;
  };
  const auto shared = std::make_shared<Shared>(impl_->ranks(), buckets().count());
  impl_->threads().Queue([impl = impl_.get(), shared, done = std::move(done)](uint32_t rank) {
    for (uint32_t b = 0; b < shared->sums.size(); ++b) {
      ISTHMUS_ASSIGN_OR_RETURN(const uint64_t hash, impl->rank_state(rank).Hash(BucketIndex(b)));
      shared->sums[b].fetch_add(hash, std::memory_order_relaxed);
    }
    if (shared->countdown.Last()) done({shared->sums.begin(), shared->sums.end()});
    return absl::OkStatus();
  });
}

void LocalPipeline::Then(std::function<void()> done) {
  const auto countdown = std::make_shared<Countdown>(impl_->ranks());
  impl_->threads().Queue([impl = impl_.get(), countdown, done = std::move(done)](uint32_t rank) {
    ISTHMUS_RETURN_IF_ERROR(impl->FinishRank(rank));
    ISTHMUS_RETURN_IF_ERROR(impl->CompleteRank(rank));
    if (countdown->Last()) done();
    return absl::OkStatus();
  });
}

double LocalPipeline::TakeBusySeconds() {
  return absl::ToDoubleSeconds(impl_->threads().TakeBusy());
}

}  // namespace isthmus
