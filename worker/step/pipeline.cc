#include "worker/step/pipeline.h"

#include <absl/strings/str_cat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/collectives/local_communicator.h"
#include "worker/step/rank_state.h"
#include "worker/step/rank_threads.h"
#include "worker/step/shared_update.h"
#include "worker/step/work_pool.h"

namespace isthmus {
namespace {

uint64_t MachineMemoryBytes() {
  return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

// Told by every rank once; says who was the last.
class Countdown {
 public:
  explicit Countdown(uint32_t ranks) : left_(ranks) {}
  bool Last() { return left_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

 private:
  std::atomic<uint32_t> left_;
};

}  // namespace

class Pipeline::Impl {
 public:
  Impl(Options options, PipelineEvents* events)
      : options_(std::move(options)),
        events_(events),
        communicators_(MakeLocalCommunicators(options_.ranks)),
        pool_(options_.threads),
        threads_(options_.ranks, Clock::Real(), [this](const absl::Status& status) {
          Abort(status);
          events_->OnFailure(status);
        }) {}

  ~Impl() {
    threads_.Stop();
    Abort(absl::CancelledError("the pipeline is going away"));
  }

  absl::Status Configure(const Layout& layout);
  const Buckets& buckets() const { return state().buckets; }
  uint64_t state_bytes() const { return VectorsBytes() + state().layout.constants_bytes(); }

  uint32_t ranks() const { return options_.ranks; }
  RankThreads& threads() { return threads_; }
  void CheckFits(JobSession& job) const {
    ISTHMUS_CHECK(job.ranks() == ranks());
    ISTHMUS_CHECK(job.layout().length() == state().layout.length());
    ISTHMUS_CHECK(job.layout().constants_bytes() == state().layout.constants_bytes());
  }

  // What ranks do, each on its thread.
  absl::Status Adopt(uint32_t rank, JobSession& job);
  absl::Status Load(uint32_t rank, JobSession& job);
  absl::Status Process(uint32_t rank, JobSession& job, Round round, BucketIndex bucket,
                       bool extract, float lr);
  absl::Status Apply(uint32_t rank, SharedUpdate& update, Credit credit, JobSession* gather_to);
  absl::Status Gather(uint32_t rank, BucketIndex bucket, JobSession& job);
  void Save(uint32_t rank, std::string& image);
  absl::Status Install(uint32_t rank, const std::string& image, bool reset_momentum,
                       std::span<const Round> applied_rounds);
  uint64_t Hash(uint32_t rank, BucketIndex bucket) { return state().ranks[rank]->Hash(bucket); }
  void FlipBit(uint32_t rank) { state().ranks[rank]->FlipBit(); }

 private:
  struct State {
    Layout layout;
    Buckets buckets;
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
  void Abort(const absl::Status& reason) {
    for (const auto& communicator : communicators_) communicator->Abort(reason);
  }

  const Options options_;
  PipelineEvents* const events_;
  // Replaced only by Configure while no rank performs anything; the lock of the queues makes it
  // visible to rank threads.
  std::unique_ptr<State> state_;
  std::vector<std::unique_ptr<Communicator>> communicators_;
  WorkPool pool_;
  RankThreads threads_;  // last: its threads use everything above
};

absl::Status Pipeline::Impl::Configure(const Layout& layout) {
  ISTHMUS_ASSIGN_OR_RETURN(const Buckets cut,
                           Buckets::Create(layout.length(), options_.run.bucket_length));
  // Masters, momentum, scratch for one bucket, the optimizer's vectors.
  const uint64_t elements =
      layout.length() * static_cast<uint64_t>(2 + OptimizerStateVectors(options_.run.optimizer)) +
      cut.bucket_length();
  const uint64_t bytes = elements * sizeof(float) + layout.constants_bytes();
  const auto exhausted = [&] {
    return absl::ResourceExhaustedError(
        absl::StrCat("the state of ", layout.length(), " elements needs ", bytes,
                     " bytes, of a machine that has ", MachineMemoryBytes()));
  };
  threads_.WaitIdle();
  state_ = nullptr;  // before the new one: both may not fit
  // Memory is handed out on paper and missed only when touched; ask before that.
  if (bytes > MachineMemoryBytes()) return exhausted();
  try {
    auto state = std::make_unique<State>();
    state->layout = layout;
    state->buckets = cut;
    state->constants.resize(layout.constants_bytes());
    for (uint32_t rank = 0; rank < ranks(); ++rank) {
      state->ranks.push_back(
          std::make_unique<RankState>(options_.run, state->layout, state->buckets,
                                      ReplicatorPlace{.rank = rank,
                                                      .ranks = ranks(),
                                                      .threads = options_.threads,
                                                      .parallel = pool_.parallel_for()}));
    }
    state_ = std::move(state);
  } catch (const std::bad_alloc&) {
    return exhausted();
  }
  return absl::OkStatus();
}

absl::Status Pipeline::Impl::Adopt(uint32_t rank, JobSession& job) {
  state().ranks[rank]->Adopt(job.parameters(0));
  if (rank == 0) {
    const std::span<const std::byte> from = job.constants(0);
    std::copy(from.begin(), from.end(), state().constants.begin());
  }
  // All have read before rank 0's buffer changes, and see the constants.
  return communicators_[rank]->Barrier();
}

absl::Status Pipeline::Impl::Load(uint32_t rank, JobSession& job) {
  // Constants first: once the gathers are over, nobody reads them any more.
  std::copy(state().constants.begin(), state().constants.end(), job.constants(rank).begin());
  for (uint32_t b = 0; b < buckets().count(); ++b) {
    ISTHMUS_RETURN_IF_ERROR(Gather(rank, BucketIndex(b), job));
  }
  std::ranges::fill(job.gradients(rank), 0.0f);
  return absl::OkStatus();
}

absl::Status Pipeline::Impl::Process(uint32_t rank, JobSession& job, Round round,
                                     BucketIndex bucket, bool extract, float lr) {
  RankState& mine = *state().ranks[rank];
  const Extent whole = buckets().bucket(bucket);
  const Extent part = mine.part(bucket);
  const std::span<float> mean = mine.scratch(bucket);
  ISTHMUS_RETURN_IF_ERROR(communicators_[rank]->ReduceScatterMean(
      job.gradients(rank).subspan(whole.begin, whole.size()), part.begin - whole.begin, mean));
  ISTHMUS_ASSIGN_OR_RETURN(const bool usable, communicators_[rank]->AllTrue(AllUsable(mean)));
  if (!usable) {
    if (rank == 0) events_->OnNonFinite(round, bucket);
    return absl::OkStatus();
  }
  if (!extract || part.empty()) {
    mine.Accumulate(bucket, mean, lr);
    return absl::OkStatus();
  }
  events_->OnPart({.round = round,
                   .bucket = bucket,
                   .rank = rank,
                   .first_chunk = part.begin / options_.run.chunk_size,
                   .chunk_count = part.size() / options_.run.chunk_size,
                   .payload = mine.AccumulateAndExtract(round, bucket, mean, lr)});
  return absl::OkStatus();
}

absl::Status Pipeline::Impl::Apply(uint32_t rank, SharedUpdate& update, Credit credit,
                                   JobSession* gather_to) {
  RankState& mine = *state().ranks[rank];
  const UpdateHeader& header = update.header();
  if (header.bucket.value() >= buckets().count()) {
    return absl::InvalidArgumentError(absl::StrCat("update ", header.sequence.value(),
                                                   ": expected a bucket below ", buckets().count(),
                                                   ", got ", header.bucket.value()));
  }
  if (!header.contributors.empty()) {
    ISTHMUS_ASSIGN_OR_RETURN(const UpdateView* view,
                             update.Parsed(options_.run, options_.self, state().layout, buckets()));
    ISTHMUS_RETURN_IF_ERROR(mine.Apply(header, *view));
  }
  mine.Settle(header.round, header.bucket, credit);
  if (gather_to == nullptr) return absl::OkStatus();
  return Gather(rank, header.bucket, *gather_to);
}

absl::Status Pipeline::Impl::Gather(uint32_t rank, BucketIndex bucket, JobSession& job) {
  const Extent whole = buckets().bucket(bucket);
  const RankState& mine = *state().ranks[rank];
  return communicators_[rank]->AllGather(mine.masters(bucket),
                                         mine.part(bucket).begin - whole.begin,
                                         job.parameters(rank).subspan(whole.begin, whole.size()));
}

void Pipeline::Impl::Save(uint32_t rank, std::string& image) {
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(image));
  state().ranks[rank]->Save(bytes.first(VectorsBytes()));
  // Only rank 0 may: a later operation of its own writes them.
  if (rank != 0) return;
  std::copy(state().constants.begin(), state().constants.end(),
            bytes.begin() + static_cast<ptrdiff_t>(VectorsBytes()));
}

absl::Status Pipeline::Impl::Install(uint32_t rank, const std::string& image, bool reset_momentum,
                                     std::span<const Round> applied_rounds) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(image));
  state().ranks[rank]->Load(bytes.first(VectorsBytes()), reset_momentum, applied_rounds);
  if (rank == 0) {
    const std::span<const std::byte> constants = bytes.subspan(VectorsBytes());
    std::copy(constants.begin(), constants.end(), state().constants.begin());
  }
  return communicators_[rank]->Barrier();
}

Pipeline::Pipeline(Options options, PipelineEvents* events)
    : impl_(std::make_unique<Impl>(std::move(options), events)) {}

Pipeline::~Pipeline() = default;

absl::Status Pipeline::Configure(const Layout& layout) { return impl_->Configure(layout); }
const Buckets& Pipeline::buckets() const { return impl_->buckets(); }
uint64_t Pipeline::state_bytes() const { return impl_->state_bytes(); }

void Pipeline::Adopt(std::shared_ptr<JobSession> job) {
  impl_->CheckFits(*job);
  impl_->threads().Queue(
      [impl = impl_.get(), job](uint32_t rank) { return impl->Adopt(rank, *job); });
}

void Pipeline::Load(std::shared_ptr<JobSession> job) {
  impl_->CheckFits(*job);
  impl_->threads().Queue(
      [impl = impl_.get(), job](uint32_t rank) { return impl->Load(rank, *job); });
}

void Pipeline::Process(std::shared_ptr<JobSession> job, Round round, BucketIndex bucket,
                       bool extract, float lr) {
  impl_->CheckFits(*job);
  impl_->threads().Queue([impl = impl_.get(), job, round, bucket, extract, lr](uint32_t rank) {
    return impl->Process(rank, *job, round, bucket, extract, lr);
  });
}

void Pipeline::Apply(std::shared_ptr<const ReceivedUpdate> update, Credit credit,
                     std::shared_ptr<JobSession> gather_to) {
  if (gather_to != nullptr) impl_->CheckFits(*gather_to);
  const auto shared = std::make_shared<SharedUpdate>(std::move(update));
  impl_->threads().Queue([impl = impl_.get(), shared, credit, gather_to](uint32_t rank) {
    return impl->Apply(rank, *shared, credit, gather_to.get());
  });
}

void Pipeline::Gather(BucketIndex bucket, std::shared_ptr<JobSession> job) {
  impl_->CheckFits(*job);
  impl_->threads().Queue([impl = impl_.get(), bucket, job](uint32_t rank) {
    return impl->Gather(rank, bucket, *job);
  });
}

void Pipeline::Snapshot(std::function<void(StateImage)> done) {
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
    impl->Save(rank, shared->image.bytes);
    if (shared->countdown.Last()) done(std::move(shared->image));
    return absl::OkStatus();
  });
}

void Pipeline::Install(std::shared_ptr<const StateImage> image, bool reset_momentum,
                       std::vector<Round> applied_rounds) {
  ISTHMUS_CHECK(image->bytes.size() == state_bytes());
  ISTHMUS_CHECK(applied_rounds.size() == buckets().count());
  impl_->threads().Queue([impl = impl_.get(), image, reset_momentum,
                          applied = std::move(applied_rounds)](uint32_t rank) {
    return impl->Install(rank, image->bytes, reset_momentum, applied);
  });
}

void Pipeline::Hash(std::function<void(std::vector<uint64_t>)> done) {
  struct Shared {
    Shared(uint32_t ranks, uint32_t buckets) : sums(buckets), countdown(ranks) {}
    std::vector<std::atomic<uint64_t>> sums;  // per bucket, of the ranks that are done
    Countdown countdown;
  };
  const auto shared = std::make_shared<Shared>(impl_->ranks(), buckets().count());
  impl_->threads().Queue([impl = impl_.get(), shared, done = std::move(done)](uint32_t rank) {
    for (uint32_t b = 0; b < shared->sums.size(); ++b) {
      shared->sums[b].fetch_add(impl->Hash(rank, BucketIndex(b)), std::memory_order_relaxed);
    }
    if (shared->countdown.Last()) done({shared->sums.begin(), shared->sums.end()});
    return absl::OkStatus();
  });
}

void Pipeline::FlipBit() {
  impl_->threads().Queue([impl = impl_.get()](uint32_t rank) {
    impl->FlipBit(rank);
    return absl::OkStatus();
  });
}

void Pipeline::Then(std::function<void()> done) {
  const auto countdown = std::make_shared<Countdown>(impl_->ranks());
  impl_->threads().Queue([countdown, done = std::move(done)](uint32_t /*rank*/) {
    if (countdown->Last()) done();
    return absl::OkStatus();
  });
}

double Pipeline::TakeBusySeconds() { return absl::ToDoubleSeconds(impl_->threads().TakeBusy()); }

}  // namespace isthmus
