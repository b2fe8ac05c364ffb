#include "worker/step/cpu_ranks.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/collectives/element_copies.h"
#include "common/collectives/local_communicator.h"
#include "common/compression/intake.h"
#include "common/compression/prefetch.h"
#include "common/compression/state_hash.h"
#include "common/kernels/simd.h"
#include "worker/jobs/host_memory.h"
#include "worker/replication/in_flight.h"
#include "worker/replication/replicator.h"
#include "worker/step/job_progress.h"
#include "worker/step/state_need.h"
#include "worker/step/work_pool.h"

namespace isthmus {
namespace {

static_assert(std::endian::native == std::endian::little, "images are little-endian");

// A direction is written and used at most this many elements at a time, so that it stays in the
// cache. A multiple of every chunk size.
constexpr uint64_t kBlockLength = kUnitLength;

class CpuRank : public RankState {
 public:
  // `communicator` outlives it. Throws std::bad_alloc.
  CpuRank(const RunSpec& run, const Layout& layout, const Ownership& ownership, GroupId group,
          const ReplicatorPlace& place, Communicator* communicator);

  void ChangeFormat(const FormatChange& change) override { formats_.Change(change); }

  absl::StatusOr<bool> Reduce(JobSession& job, BucketIndex bucket, float weight) override;
  absl::Status Gather(JobSession& job, BucketIndex bucket, Gathering how) override;
  absl::Status Adopt(JobSession& job) override;
  absl::Status Barrier() override { return communicator_->Barrier(); }
  absl::Status Accumulate(Round round, BucketIndex bucket, float lr) override;
  absl::Status Extract(Round round, BucketIndex bucket, float lr, Extracted done) override;
  absl::Status Finish() override { return absl::OkStatus(); }
  absl::Status Complete() override { return absl::OkStatus(); }
  void JobGoesOn(JobSession& job, BucketIndex bucket) override;
  void JobStaysBehind(BucketIndex bucket) override;
  absl::Status Apply(const UpdateHeader& header, const UpdateView& update) override;
  void Settle(Round round, BucketIndex bucket, Credit credit) override;
  absl::Status ClearGradients(JobSession& job) override;
  absl::Status ReleaseJob() override {
    given_.Release();
    taken_at_.Clear();
    return absl::OkStatus();
  }
  absl::Status Save(std::span<std::byte> image) override;
  absl::Status Load(std::span<const std::byte> image, bool reset_momentum,
                    std::span<const Round> applied_rounds) override;
  absl::StatusOr<uint64_t> Hash(BucketIndex bucket) override;

 private:
  // What this rank of several adds to the mean: the job's gradients of the bucket, or its progress,
  // which is in whole_ then.
  absl::StatusOr<Elements> Input(JobSession& job, BucketIndex bucket, float weight);
  // What this group remembers having sent of the bucket's `i`-th run, for an update that leaves it
  // to the receiver. Of a run that exchanges nothing: what it applies.
  absl::StatusOr<PayloadView> Own(const UpdateHeader& header, size_t i) const;
  // What is owned of the bucket, of one of the packed vectors below.
  std::span<float> OwnedOf(std::vector<float>& vector, BucketIndex bucket) const {
    return std::span(vector).subspan(shard_.start(bucket), shard_.length(bucket));
  }
  // What the job's buffers were given of what is owned of the bucket.
  std::span<const float> GivenOf(BucketIndex bucket) {
    const auto* const kept = given_.Kept(bucket);
    return kept != nullptr ? std::span<const float>(*kept) : OwnedOf(masters_, bucket);
  }
  // Calls f(i, run, its gradient) for the bucket's runs; `i` counts the shard's.
  template <typename F>
  void ForEachGradient(BucketIndex bucket, F f) const;
  void ApplyRun(const UpdateHeader& header, const UpdateView& update, const Shard::Run& run,
                const PayloadView* own);
  void ApplyBlock(const UpdateHeader& header, const Extent& block, std::span<const float> direction,
                  uint64_t first);
  // Calls f(packed vector, where it begins in an image, in elements) for masters and optimizer
  // state.
  template <typename F>
  void ForEachVector(F f);

  const ExchangePolicy policy_;
  const GroupId group_;
  RoundFormats formats_;
  const Layout& layout_;
  Communicator* const communicator_;
  std::vector<float> masters_;                 // packed as the shard is
  std::vector<std::vector<float>> optimizer_;  // OptimizerStateVectors() of them, as masters_
  std::vector<float> scratch_;  // what is owned of a bucket: its gradient; or a direction
  // Of the whole of a bucket, where the jobs of several ranks step: progress, or the anchor.
  std::vector<float> whole_;
  GivenParameters<std::vector<float>> given_;
  std::vector<std::byte> taken_at_bytes_;  // of a run with overlap
  WhereTaken taken_at_;                    // in those
  std::unique_ptr<Replicator> replicator_;
  // For updates of that format, made anew for another.
  UpdateFormat merged_;
  std::optional<DirectionScratch> direction_scratch_;
  InFlight<std::vector<Extraction>> taken_;  // one for each of the bucket's runs
};

CpuRank::CpuRank(const RunSpec& run, const Layout& layout, const Ownership& ownership,
                 GroupId group, const ReplicatorPlace& place, Communicator* communicator)
    : RankState(ownership, communicator->rank()),
      policy_(PolicyOf(run)),
      group_(group),
      formats_(run),
      layout_(layout),
      communicator_(communicator),
      merged_(formats_.MergedAt(Round(1))) {
  direction_scratch_.emplace(merged_, ActiveKernels());
  masters_.resize(shard_.length());
  optimizer_.resize(static_cast<size_t>(OptimizerStateVectors(policy_.optimizer)));
  for (std::vector<float>& vector : optimizer_) vector.resize(shard_.length());
  scratch_.resize(shard_.longest());
  if (policy_.job_steps() && ownership.ranks() > 1) {
    whole_.resize(buckets().bucket(BucketIndex(0)).size());
  }
  if (policy_.keeps_way) {
    taken_at_bytes_.resize(layout.length() * SizeOf(TypeOf(layout)));
    taken_at_ =
        WhereTaken({TypeOf(layout), taken_at_bytes_.data(), layout.length()}, buckets().count());
  }
  replicator_ = MakeReplicator(run, shard_, place);
}

absl::StatusOr<Elements> CpuRank::Input(JobSession& job, BucketIndex bucket, float weight) {
  const Extent whole = buckets().bucket(bucket);
  if (!policy_.job_steps()) return job.gradients(rank_).subspan(whole.begin, whole.size());
  const std::span<float> progress = std::span(whole_).first(whole.size());
  ISTHMUS_RETURN_IF_ERROR(
      communicator_->AllGather(GivenOf(bucket), ownership_.of(bucket), progress));
  TakeProgress(progress, job.parameters(rank_).subspan(whole.begin, whole.size()), weight,
               progress);
  return Elements(progress);
}

absl::StatusOr<bool> CpuRank::Reduce(JobSession& job, BucketIndex bucket, float weight) {
  const std::span<float> mean = std::span(scratch_).first(shard_.length(bucket));
  if (policy_.job_steps() && ownership_.ranks() == 1) {  // whose progress is the mean
    const Extent whole = buckets().bucket(bucket);
    return communicator_->AllTrue(TakeProgress(
        GivenOf(bucket), job.parameters(rank_).subspan(whole.begin, whole.size()), weight, mean));
  }
  ISTHMUS_ASSIGN_OR_RETURN(const Elements input, Input(job, bucket, weight));
  ISTHMUS_RETURN_IF_ERROR(communicator_->ReduceScatterMean(input, ownership_.of(bucket), mean));
  return communicator_->AllTrue(AllUsable(mean));
}

absl::Status CpuRank::Gather(JobSession& job, BucketIndex bucket, Gathering how) {
  const Extent whole = buckets().bucket(bucket);
  const Elements parameters = job.parameters(rank_).subspan(whole.begin, whole.size());
  std::span<const float> anchor = OwnedOf(masters_, bucket);
  if (!GiveWithWay(bucket, how, given_, taken_at_)) {
    return communicator_->AllGather(anchor, ownership_.of(bucket), parameters);
  }
  if (ownership_.ranks() > 1) {
    const std::span<float> all = std::span(whole_).first(whole.size());
    ISTHMUS_RETURN_IF_ERROR(communicator_->AllGather(anchor, ownership_.of(bucket), all));
    anchor = all;
  }
  AddWaySince(anchor, taken_at_.Of(whole), parameters);
  return absl::OkStatus();
}

void CpuRank::JobGoesOn(JobSession& job, BucketIndex bucket) {
  const Extent whole = buckets().bucket(bucket);
  const Elements now = job.parameters(rank_).subspan(whole.begin, whole.size());
  const Elements kept = taken_at_.Keep(bucket, whole);
  ISTHMUS_CHECK(kept.type() == now.type());
  std::memcpy(kept.data(), now.data(), now.size_bytes());
}

void CpuRank::JobStaysBehind(BucketIndex bucket) {
  if (!policy_.job_steps()) return;
  given_.StaysBehind(bucket, [&] {
    const std::span<const float> masters = OwnedOf(masters_, bucket);
    return std::vector<float>(masters.begin(), masters.end());
  });
}

template <typename F>
void CpuRank::ForEachGradient(BucketIndex bucket, F f) const {
  size_t i = shard_.first_run(bucket);
  for (const Shard::Run& run : shard_.runs(bucket)) {
    const std::span<const float> gradients = scratch_;
    f(i++, run, gradients.subspan(run.start - shard_.start(bucket), run.extent.size()));
  }
}

absl::Status CpuRank::Accumulate(Round round, BucketIndex bucket, float lr) {
  const PayloadFormat format = formats_.FormatAt(round, group_);
  ForEachGradient(bucket, [&](size_t i, const Shard::Run&, std::span<const float> gradient) {
    replicator_->Accumulate(format, i, gradient, lr);
  });
  return absl::OkStatus();
}

absl::Status CpuRank::Extract(Round round, BucketIndex bucket, float lr, Extracted done) {
  const PayloadFormat format = formats_.FormatAt(round, group_);
  std::vector<Extraction>& taken = taken_.Put(round, bucket, {});
  ForEachGradient(bucket, [&](size_t i, const Shard::Run& run, std::span<const float> gradient) {
    taken.push_back(replicator_->AccumulateAndExtract(format, round, i, gradient, lr));
    done(formats_.ChunksAt(round, run.extent), taken.back().payload);
  });
  return absl::OkStatus();
}

absl::StatusOr<PayloadView> CpuRank::Own(const UpdateHeader& header, size_t i) const {
  const std::vector<Extraction>* const taken = taken_.Find(header.round, header.bucket);
  if (taken == nullptr) {
    return absl::InternalError(absl::StrCat("update ", header.sequence.value(), " of round ",
                                            header.round.value(), " bucket ", header.bucket.value(),
                                            ": this group's own contribution is not remembered"));
  }
  const ChunkRun chunks = formats_.ChunksAt(header.round, shard_.runs(header.bucket)[i].extent);
  return PayloadView::ParseTrusted(std::as_bytes(std::span((*taken)[i].applied())),
                                   (*taken)[i].format, {header.round.value(), chunks});
}

absl::Status CpuRank::Apply(const UpdateHeader& header, const UpdateView& update) {
  const std::span<const Shard::Run> runs = shard_.runs(header.bucket);
  if (const UpdateFormat merged = formats_.MergedAt(header.round); merged != merged_) {
    merged_ = merged;
    direction_scratch_.emplace(merged, ActiveKernels());
  }
  for (size_t i = 0; i < runs.size(); ++i) {
    PayloadView own;
    if (update.needs_own()) {
      ISTHMUS_ASSIGN_OR_RETURN(own, Own(header, i));
    }
    ApplyRun(header, update, runs[i], update.needs_own() ? &own : nullptr);
  }
  return absl::OkStatus();
}

void CpuRank::ApplyRun(const UpdateHeader& header, const UpdateView& update, const Shard::Run& run,
                       const PayloadView* own) {
  const Extent whole = run.extent;
  const uint32_t chunk_size = formats_.At(header.round).chunk_size;
  const std::span<float> masters = std::span(masters_).subspan(run.start, whole.size());
  // A tile of chunks at a time, as far as it fits a block.
  const uint64_t length = std::min(kBlockLength, uint64_t{chunk_size} * kTileChunks);
  for (uint64_t begin = whole.begin; begin < whole.end; begin += length) {
    const Extent block{begin, std::min(begin + length, whole.end)};
    const std::span<float> direction = std::span(scratch_).first(block.size());
    direction_scratch_->ahead = Prefetcher(
        masters.subspan(block.end - whole.begin, std::min(length, whole.end - block.end)));
    update.Direction(block.begin / chunk_size, direction, own, *direction_scratch_);
    ApplyBlock(header, block, direction, run.start + begin - whole.begin);
  }
}

// `first` is where `block` begins in masters_.
void CpuRank::ApplyBlock(const UpdateHeader& header, const Extent& block,
                         std::span<const float> direction, uint64_t first) {
  const auto piece = [&](std::vector<float>& vector, const Extent& run) {
    return std::span(vector).subspan(first + run.begin - block.begin, run.size());
  };
  const std::vector<Layout::Segment>& segments = layout_.segments();
  auto segment = std::partition_point(segments.begin(), segments.end(),
                                      [&](const auto& s) { return s.end <= block.begin; });
  for (; segment != segments.end() && segment->begin < block.end; ++segment) {
    const Extent run{std::max(segment->begin, block.begin), std::min(segment->end, block.end)};
    const ParameterGroupScalars& group = header.scalars[segment->parameter_group];
    const OptimizerScalars scalars{.lr = group.lr,
                                   .decay = group.decay,
                                   .bias1 = header.bias1,
                                   .bias2_sqrt = header.bias2_sqrt,
                                   .first = header.first};
    std::span<float> state[2];
    for (size_t i = 0; i < optimizer_.size(); ++i) state[i] = piece(optimizer_[i], run);
    ApplyDirection(policy_.optimizer, scalars,
                   direction.subspan(run.begin - block.begin, run.size()), piece(masters_, run),
                   state[0], state[1]);
  }
}

void CpuRank::Settle(Round round, BucketIndex bucket, Credit credit) {
  if (credit == Credit::kNone) return;
  taken_.Settle(round, bucket, [&](const std::vector<Extraction>& taken) {
    if (credit != Credit::kReturn) return;
    for (size_t i = 0; i < taken.size(); ++i) {
      replicator_->Return(round, shard_.first_run(bucket) + i, taken[i]);
    }
  });
}

absl::Status CpuRank::Adopt(JobSession& job) {
  const Elements parameters = job.parameters(0);
  for (const Shard::Run& run : shard_.runs()) {
    CopyToFloats(parameters.subspan(run.extent.begin, run.extent.size()),
                 std::span(masters_).subspan(run.start, run.extent.size()));
  }
  return absl::OkStatus();
}

absl::Status CpuRank::ClearGradients(JobSession& job) {
  const Elements gradients = job.gradients(rank_);
  if (gradients.size() == 0) return absl::OkStatus();
  std::memset(gradients.data(), 0, gradients.size_bytes());
  return absl::OkStatus();
}

template <typename F>
void CpuRank::ForEachVector(F f) {
  f(masters_, uint64_t{0});
  for (size_t i = 0; i < optimizer_.size(); ++i) f(optimizer_[i], (i + 1) * layout_.length());
}

absl::Status CpuRank::Save(std::span<std::byte> image) {
  ForEachVector([&](const std::vector<float>& vector, uint64_t base) {
    for (const Shard::Run& run : shard_.runs()) {
      const std::span<const std::byte> from =
          std::as_bytes(std::span(vector).subspan(run.start, run.extent.size()));
      std::ranges::copy(from, image.subspan((base + run.extent.begin) * sizeof(float)).begin());
    }
  });
  return absl::OkStatus();
}

absl::Status CpuRank::Load(std::span<const std::byte> image, bool reset_momentum,
                           std::span<const Round> applied_rounds) {
  for (uint32_t b = 0; b < buckets().count(); ++b) JobStaysBehind(BucketIndex(b));
  ForEachVector([&](std::vector<float>& vector, uint64_t base) {
    for (const Shard::Run& run : shard_.runs()) {
      const std::span<std::byte> to =
          std::as_writable_bytes(std::span(vector).subspan(run.start, run.extent.size()));
      std::ranges::copy(image.subspan((base + run.extent.begin) * sizeof(float), to.size()),
                        to.begin());
    }
  });
  taken_.Forget(applied_rounds, reset_momentum, [](BucketIndex, const std::vector<Extraction>&) {});
  if (reset_momentum) replicator_->Reset();
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> CpuRank::Hash(BucketIndex bucket) {
  uint64_t hash = 0;
  for (const Shard::Run& run : shard_.runs(bucket)) {
    for (const Extent& logical : LogicalRuns(layout_, run.extent)) {
      const uint64_t start = run.start + logical.begin - run.extent.begin;
      hash += StateHash(logical.begin, std::span(masters_).subspan(start, logical.size()));
    }
  }
  return hash;
}

class CpuRanks : public LocalRanks {
 public:
  CpuRanks(uint32_t count, int threads, std::function<std::vector<MemoryLimit>()> limits)
      : communicators_(MakeLocalCommunicators(count)),
        threads_(threads),
        limits_(std::move(limits)),
        pool_(threads) {}

  uint32_t count() const override { return static_cast<uint32_t>(communicators_.size()); }
  absl::StatusOr<std::string> Invite() override {
    return absl::FailedPreconditionError(
        "CPU ranks of several machines cannot be one group: give each machine a group of its own");
  }
  absl::StatusOr<std::vector<std::unique_ptr<RankState>>> Make(const RunSpec& run,
                                                               const Layout& layout,
                                                               const Ownership& ownership,
                                                               const GroupPlace& place) override;
  void Abort(const absl::Status& reason) override {
    for (const auto& communicator : communicators_) communicator->Abort(reason);
  }

 private:
  const std::vector<std::unique_ptr<Communicator>> communicators_;
  const int threads_;
  const std::function<std::vector<MemoryLimit>()> limits_;
  WorkPool pool_;
};

absl::StatusOr<std::vector<std::unique_ptr<RankState>>> CpuRanks::Make(const RunSpec& run,
                                                                       const Layout& layout,
                                                                       const Ownership& ownership,
                                                                       const GroupPlace& place) {
  if (place.ranks != count()) return Invite().status();
  // The job was admitted by what was known of the run then, perhaps nothing. Its buffers are there
  // by now and partly touched: what others use can no longer be told from them.
  HostNeed need = StateNeed(run, layout, count(), /*on_host=*/true);
  const HostNeed buffers =
      BuffersNeed(layout, count(), {.own_optimizer = PolicyOf(run).job_steps()});
  need.buffers_bytes = buffers.buffers_bytes;
  need.largest_buffer_bytes = buffers.largest_buffer_bytes;
  std::vector<MemoryLimit> limits = limits_();
  for (MemoryLimit& limit : limits) limit.others_bytes = 0;
  ISTHMUS_RETURN_IF_ERROR(CheckHostMemory(layout, count(), need, limits));
  std::vector<std::unique_ptr<RankState>> ranks;
  try {
    for (uint32_t rank = 0; rank < count(); ++rank) {
      ranks.push_back(std::make_unique<CpuRank>(
          run, layout, ownership, place.group,
          ReplicatorPlace{.threads = threads_, .parallel = pool_.parallel_for()},
          communicators_[rank].get()));
    }
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("the state of ", layout.length(),
                                                     " elements: the system has no room for its ",
                                                     need.state_bytes, " bytes"));
  }
  return ranks;
}

}  // namespace

std::unique_ptr<LocalRanks> MakeCpuRanks(uint32_t count, int threads,
                                         std::function<std::vector<MemoryLimit>()> limits) {
  return std::make_unique<CpuRanks>(count, threads, std::move(limits));
}

}  // namespace isthmus
