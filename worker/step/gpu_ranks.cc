#include "worker/step/gpu_ranks.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <deque>
#include <map>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/collectives/local_communicator.h"
#include "common/gpu/lane_tiles.h"
#include "common/gpu/record_tables.h"
#include "common/gpu/update_image.h"

namespace isthmus {
namespace {

constexpr uint64_t kBlock = 64;  // elements that share a parameter group: tensors begin at these

// Elements of all of a rank's parts, one after the other.
uint64_t LengthOf(const Buckets& buckets, uint32_t rank, uint32_t ranks) {
  uint64_t length = 0;
  for (uint32_t b = 0; b < buckets.count(); ++b) {
    length += buckets.part(BucketIndex(b), rank, ranks).size();
  }
  return length;
}

// Device memory that is made once and grows.
class Growing {
 public:
  absl::Status Reserve(Device& device, size_t size_bytes, bool pinned) {
    if (memory_.size_bytes() >= size_bytes) return absl::OkStatus();
    memory_ = DeviceMemory();
    auto more = pinned ? device.AllocatePinned(size_bytes) : device.Allocate(size_bytes);
    ISTHMUS_RETURN_IF_ERROR(more.status());
    memory_ = *std::move(more);
    return absl::OkStatus();
  }
  const DeviceMemory& memory() const { return memory_; }

 private:
  DeviceMemory memory_;
};

class GpuRank : public RankState {
 public:
  GpuRank(const RunSpec& run, const Layout& layout, const Buckets& buckets, uint32_t rank,
          uint32_t ranks, const GpuRankPlace& place, Communicator* communicator)
      : RankState(buckets, rank, ranks),
        run_(run),
        merged_(MergedFormat(run)),
        layout_(layout),
        device_(place.device),
        kernels_(place.kernels),
        communicator_(communicator),
        tables_(ContributionFormat(run)) {}

  // Errors: RESOURCE_EXHAUSTED.
  absl::Status Create();

  absl::StatusOr<bool> Reduce(JobSession& job, BucketIndex bucket) override;
  absl::Status Gather(JobSession& job, BucketIndex bucket) override;
  absl::Status Barrier() override { return communicator_->Barrier(); }
  absl::Status Accumulate(BucketIndex bucket, float lr) override;
  absl::Status Extract(Round round, BucketIndex bucket, float lr, Extracted done) override;
  absl::Status Finish() override;
  absl::Status Apply(const UpdateHeader& header, const UpdateView& update) override;
  void Settle(Round round, BucketIndex bucket, Credit credit) override;
  absl::Status Adopt(JobSession& job) override;
  absl::Status ClearGradients(JobSession& job) override;
  absl::Status Save(std::span<std::byte> image) override;
  absl::Status Load(std::span<const std::byte> image, bool reset_momentum,
                    std::span<const Round> applied_rounds) override;
  absl::StatusOr<uint64_t> Hash(BucketIndex bucket) override;
  absl::Status FlipBit() override;

 private:
  using Key = std::pair<Round, BucketIndex>;
  // What was taken for a contribution, as kernels left it.
  struct Taken {
    DeviceMemory records, presence, exact;
  };
  // An extraction that is on its way to the host.
  struct Pending {
    PayloadPlace place;
    std::shared_ptr<DeviceEvent> copied;
    size_t slot = 0;
    Extracted done;
  };
  // The part's gradient; two, so that one is filled while the other is used.
  struct Gradient {
    DeviceMemory device, pinned;
    std::shared_ptr<DeviceEvent> used;
  };
  static constexpr size_t kSlots = 2;

  PayloadPlace PlaceOf(Round round, BucketIndex bucket) const {
    const Extent extent = part(bucket);
    return {round.value(), extent.begin / run_.chunk_size, extent.size() / run_.chunk_size};
  }
  uint64_t start(BucketIndex bucket) const { return starts_[bucket.value()]; }
  float* Masters(BucketIndex bucket) const { return masters_.as<float>() + start(bucket); }
  ExtractParams ParamsFor(BucketIndex bucket, float lr);
  float alpha() const {
    return run_.scheme == Scheme::kFull || run_.scheme == Scheme::kNone ? 1.0f : run_.alpha;
  }
  float decay() const {
    return run_.scheme == Scheme::kFull || run_.scheme == Scheme::kNone ? 1.0f : run_.decay;
  }
  absl::StatusOr<Taken> TakeRoom(BucketIndex bucket);
  absl::Status Deliver();
  absl::Status CopyVector(const DeviceMemory& vector, uint64_t base, std::span<std::byte> image);

  const RunSpec run_;
  const UpdateFormat merged_;
  const Layout& layout_;
  const std::shared_ptr<Device> device_;
  const std::shared_ptr<const GpuKernels> kernels_;
  Communicator* const communicator_;
  const RecordTables tables_;
  RecordFormat format_;

  std::vector<uint64_t> starts_;  // per bucket: where its part begins in the vectors below
  std::vector<uint64_t> momentum_starts_;
  DeviceMemory table_memory_;
  DeviceMemory masters_;
  std::vector<DeviceMemory> optimizer_;  // as masters_
  DeviceMemory momentum_;                // lane_tiles.h, bucket by bucket
  DeviceMemory groups_;                  // per 64 elements: the parameter group
  DeviceMemory logical_;                 // per 64 elements: how many are logical
  DeviceMemory word_, pinned_word_;      // of 8 bytes: what a kernel answers
  Gradient gradients_[kSlots];
  size_t gradient_ = 0;            // the slot of the last Reduce()
  DeviceMemory outgoing_[kSlots];  // pinned: records and presence
  Growing image_, pinned_image_;
  std::shared_ptr<DeviceEvent> image_copied_;
  DeviceMemory pinned_masters_;  // of the largest part

  std::map<Key, Taken> taken_;  // bounded by the rounds that are open
  std::map<BucketIndex, std::vector<Taken>> free_;
  std::deque<Pending> pending_;
  UpdateImage update_image_;
  // Last: they end before what they use.
  std::unique_ptr<DeviceStream> loading_;  // gradients come in
  std::unique_ptr<DeviceStream> stream_;   // all the rest
};

absl::Status GpuRank::Create() {
  uint64_t length = 0, momentum = 0, longest = 0, longest_records = 0;
  ISTHMUS_ASSIGN_OR_RETURN(stream_, device_->MakeStream());
  ISTHMUS_ASSIGN_OR_RETURN(loading_, device_->MakeStream());
  ISTHMUS_ASSIGN_OR_RETURN(table_memory_, device_->Allocate(tables_.size_bytes()));
  format_ = tables_.FormatAt(table_memory_.data());
  for (uint32_t b = 0; b < buckets_.count(); ++b) {
    const uint64_t size = part(BucketIndex(b)).size();
    const uint64_t chunks = size / run_.chunk_size;
    starts_.push_back(length);
    momentum_starts_.push_back(momentum);
    length += size;
    momentum += LaneTiledLength(chunks, run_.chunk_size);
    longest = std::max(longest, size);
    longest_records =
        std::max(longest_records, RecordWords(format_, chunks) + PresenceWords(chunks));
  }
  const size_t bytes = length * sizeof(float);
  ISTHMUS_ASSIGN_OR_RETURN(masters_, device_->Allocate(bytes));
  for (int i = 0; i < OptimizerStateVectors(run_.optimizer); ++i) {
    ISTHMUS_ASSIGN_OR_RETURN(optimizer_.emplace_back(), device_->Allocate(bytes));
  }
  ISTHMUS_ASSIGN_OR_RETURN(momentum_, device_->Allocate(momentum * sizeof(float)));
  ISTHMUS_ASSIGN_OR_RETURN(groups_, device_->Allocate(length / kBlock));
  ISTHMUS_ASSIGN_OR_RETURN(logical_, device_->Allocate(length / kBlock));
  ISTHMUS_ASSIGN_OR_RETURN(word_, device_->Allocate(sizeof(uint64_t)));
  ISTHMUS_ASSIGN_OR_RETURN(pinned_word_, device_->AllocatePinned(sizeof(uint64_t)));
  ISTHMUS_ASSIGN_OR_RETURN(pinned_masters_, device_->AllocatePinned(longest * sizeof(float)));
  for (size_t slot = 0; slot < kSlots; ++slot) {
    Gradient& gradient = gradients_[slot];
    ISTHMUS_ASSIGN_OR_RETURN(gradient.device, device_->Allocate(longest * sizeof(float)));
    ISTHMUS_ASSIGN_OR_RETURN(gradient.pinned, device_->AllocatePinned(longest * sizeof(float)));
    ISTHMUS_ASSIGN_OR_RETURN(outgoing_[slot],
                             device_->AllocatePinned(longest_records * sizeof(uint32_t)));
  }

  // What kernels look up of the layout.
  std::vector<uint8_t> groups(length / kBlock), logical(length / kBlock);
  for (uint32_t b = 0; b < buckets_.count(); ++b) {
    const Extent extent = part(BucketIndex(b));
    for (const Layout::Segment& segment : layout_.segments()) {
      const uint64_t begin = std::max(segment.begin, extent.begin);
      for (uint64_t i = begin; i < std::min(segment.end, extent.end); i += kBlock) {
        groups[(starts_[b] + i - extent.begin) / kBlock] =
            static_cast<uint8_t>(segment.parameter_group);
      }
    }
    for (const Extent& run : LogicalRuns(layout_, extent)) {
      for (uint64_t i = run.begin; i < run.end; i += kBlock) {
        logical[(starts_[b] + i - extent.begin) / kBlock] =
            static_cast<uint8_t>(std::min(kBlock, run.end - i));
      }
    }
  }
  const std::vector<std::byte> tables = tables_.BytesAt(table_memory_.data());
  stream_->CopyIn(table_memory_.data(), tables.data(), tables.size());
  stream_->CopyIn(groups_.data(), groups.data(), groups.size());
  stream_->CopyIn(logical_.data(), logical.data(), logical.size());
  stream_->Zero(masters_.data(), masters_.size_bytes());
  for (const DeviceMemory& vector : optimizer_) stream_->Zero(vector.data(), vector.size_bytes());
  stream_->Zero(momentum_.data(), momentum_.size_bytes());
  return stream_->Synchronize();
}

absl::StatusOr<bool> GpuRank::Reduce(JobSession& job, BucketIndex bucket) {
  const Extent whole = buckets_.bucket(bucket);
  const Extent extent = part(bucket);
  gradient_ = (gradient_ + 1) % kSlots;
  Gradient& gradient = gradients_[gradient_];
  // (Nothing reads the pinned one any more: the last Reduce() of this slot waited for its copy.)
  const std::span<float> mean(gradient.pinned.as<float>(), extent.size());
  ISTHMUS_RETURN_IF_ERROR(communicator_->ReduceScatterMean(
      job.gradients(rank_).subspan(whole.begin, whole.size()), extent.begin - whole.begin, mean));
  bool usable = true;
  if (!extent.empty()) {
    if (gradient.used != nullptr) loading_->Wait(gradient.used);
    loading_->CopyIn(gradient.device.data(), mean.data(), mean.size_bytes());
    loading_->Zero(word_.data(), sizeof(uint64_t));
    kernels_->FindUnusable(*loading_, {.gradient = gradient.device.as<float>(),
                                       .fours = extent.size() / 4,
                                       .most = kMaxGradient,
                                       .unusable = word_.as<uint32_t>()});
    loading_->CopyOut(pinned_word_.data(), word_.data(), sizeof(uint64_t));
    ISTHMUS_RETURN_IF_ERROR(loading_->Synchronize());
    usable = *pinned_word_.as<uint64_t>() == 0;
  }
  return communicator_->AllTrue(usable);
}

absl::Status GpuRank::Gather(JobSession& job, BucketIndex bucket) {
  const Extent whole = buckets_.bucket(bucket);
  const Extent extent = part(bucket);
  const std::span<float> masters(pinned_masters_.as<float>(), extent.size());
  stream_->CopyOut(masters.data(), Masters(bucket), masters.size_bytes());
  ISTHMUS_RETURN_IF_ERROR(stream_->Synchronize());
  return communicator_->AllGather(masters, extent.begin - whole.begin,
                                  job.parameters(rank_).subspan(whole.begin, whole.size()));
}

ExtractParams GpuRank::ParamsFor(BucketIndex bucket, float lr) {
  ExtractParams params;
  params.format = format_;
  params.chunks = part(bucket).size() / run_.chunk_size;
  params.gradient = gradients_[gradient_].device.as<float>();
  params.momentum = momentum_.as<float>() + momentum_starts_[bucket.value()];
  params.decay = decay();
  // (What is not decayed is the gradient itself, which no rate enters.)
  params.scale = run_.lr_in_momentum && run_.scheme != Scheme::kFull && run_.scheme != Scheme::kNone
                     ? lr
                     : 1.0f;
  params.alpha = alpha();
  return params;
}

absl::Status GpuRank::Accumulate(BucketIndex bucket, float lr) {
  ExtractParams params = ParamsFor(bucket, lr);
  params.extract = false;
  kernels_->Extract(*stream_, params);
  gradients_[gradient_].used = stream_->Record();
  return absl::OkStatus();
}

absl::StatusOr<GpuRank::Taken> GpuRank::TakeRoom(BucketIndex bucket) {
  std::vector<Taken>& free = free_[bucket];
  if (!free.empty()) {
    Taken taken = std::move(free.back());
    free.pop_back();
    return taken;
  }
  const uint64_t chunks = part(bucket).size() / run_.chunk_size;
  Taken taken;
  ISTHMUS_ASSIGN_OR_RETURN(taken.records,
                           device_->Allocate(RecordWords(format_, chunks) * sizeof(uint32_t)));
  ISTHMUS_ASSIGN_OR_RETURN(taken.presence,
                           device_->Allocate(PresenceWords(chunks) * sizeof(uint32_t)));
  if (format_.payload.values == ValueFormat::kSign) {
    ISTHMUS_ASSIGN_OR_RETURN(taken.exact, device_->Allocate(chunks * run_.k * sizeof(float)));
  }
  return taken;
}

absl::Status GpuRank::Extract(Round round, BucketIndex bucket, float lr, Extracted done) {
  if (pending_.size() == kSlots) ISTHMUS_RETURN_IF_ERROR(Deliver());
  ISTHMUS_ASSIGN_OR_RETURN(Taken room, TakeRoom(bucket));
  const auto [at, inserted] = taken_.try_emplace(Key(round, bucket), std::move(room));
  ISTHMUS_CHECK(inserted);
  const Taken& taken = at->second;
  for (const DeviceMemory* memory : {&taken.records, &taken.presence, &taken.exact}) {
    if (memory->size_bytes() > 0) stream_->Zero(memory->data(), memory->size_bytes());
  }
  const PayloadPlace place = PlaceOf(round, bucket);
  ExtractParams params = ParamsFor(bucket, lr);
  params.round = round.value();
  params.first_chunk = place.first_chunk;
  params.records = taken.records.as<uint32_t>();
  params.presence = taken.presence.as<uint32_t>();
  params.exact = taken.exact.as<float>();
  kernels_->Extract(*stream_, params);
  gradients_[gradient_].used = stream_->Record();
  if (run_.scheme == Scheme::kNone) {  // says nothing to others
    Selection nothing{
        place.first_chunk, place.chunk_count, {}, std::vector<float>(place.chunk_count * run_.k)};
    done(std::make_shared<const std::string>(
        EncodePayload(format_.payload, round.value(), nothing)));
    return absl::OkStatus();
  }
  const size_t slot = pending_.empty() ? 0 : (pending_.back().slot + 1) % kSlots;
  auto* const out = outgoing_[slot].as<std::byte>();
  stream_->CopyOut(out, taken.records.data(), taken.records.size_bytes());
  stream_->CopyOut(out + taken.records.size_bytes(), taken.presence.data(),
                   taken.presence.size_bytes());
  pending_.push_back({place, stream_->Record(), slot, std::move(done)});
  return absl::OkStatus();
}

// Gives the oldest extraction to who asked for it.
absl::Status GpuRank::Deliver() {
  Pending pending = std::move(pending_.front());
  pending_.pop_front();
  pending.copied->Await();
  const auto* const words = outgoing_[pending.slot].as<uint32_t>();
  const uint64_t record_words = RecordWords(format_, pending.place.chunk_count);
  auto payload = std::make_shared<const std::string>(
      AssemblePayload(format_.payload, pending.place, std::span(words, record_words),
                      std::span(words + record_words, PresenceWords(pending.place.chunk_count))));
  pending.done(std::move(payload));
  return absl::OkStatus();
}

absl::Status GpuRank::Finish() {
  while (!pending_.empty()) ISTHMUS_RETURN_IF_ERROR(Deliver());
  return absl::OkStatus();
}

absl::Status GpuRank::Apply(const UpdateHeader& header, const UpdateView& update) {
  const Extent extent = part(header.bucket);
  if (extent.empty()) return absl::OkStatus();
  PartRecords own;
  if (update.needs_own()) {
    const auto taken = taken_.find(Key(header.round, header.bucket));
    if (taken == taken_.end()) {
      return absl::InternalError(absl::StrCat(
          "update ", header.sequence.value(), " of round ", header.round.value(), " bucket ",
          header.bucket.value(), ": this group's own contribution is not remembered"));
    }
    own = {.first_chunk = extent.begin / run_.chunk_size,
           .chunks = extent.size() / run_.chunk_size,
           .records = taken->second.records.as<uint32_t>(),
           .presence = {taken->second.presence.as<uint32_t>(), nullptr}};
  }
  update_image_.Begin(update, PlaceOf(header.round, header.bucket), own);
  const size_t image_bytes = (update_image_.size_bytes() + 15) / 16 * 16;
  const size_t scalar_bytes = header.scalars.size() * sizeof(OptimizerScalars);
  if (image_copied_ != nullptr) image_copied_->Await();  // the pinned one may change
  if (image_.memory().size_bytes() < image_bytes + scalar_bytes) {
    ISTHMUS_RETURN_IF_ERROR(stream_->Synchronize());  // nobody reads the old one
  }
  ISTHMUS_RETURN_IF_ERROR(image_.Reserve(*device_, image_bytes + scalar_bytes, false));
  ISTHMUS_RETURN_IF_ERROR(pinned_image_.Reserve(*device_, image_bytes + scalar_bytes, true));
  auto* const pinned = pinned_image_.memory().as<std::byte>();
  auto* const on_device = image_.memory().as<std::byte>();
  ApplyParams params;
  update_image_.Write(on_device, {pinned, image_bytes}, &params);
  for (size_t i = 0; i < header.scalars.size(); ++i) {
    const OptimizerScalars scalars{.lr = header.scalars[i].lr,
                                   .decay = header.scalars[i].decay,
                                   .bias1 = header.bias1,
                                   .bias2_sqrt = header.bias2_sqrt,
                                   .first = header.first};
    std::memcpy(pinned + image_bytes + i * sizeof(scalars), &scalars, sizeof(scalars));
  }
  stream_->CopyIn(on_device, pinned, image_bytes + scalar_bytes);
  image_copied_ = stream_->Record();
  params.format = format_;
  params.merge = merged_.merge;
  params.sign = merged_.sign;
  params.optimizer = run_.optimizer;
  params.scalars = reinterpret_cast<const OptimizerScalars*>(on_device + image_bytes);
  params.groups = groups_.as<uint8_t>() + start(header.bucket) / kBlock;
  params.parameters = Masters(header.bucket);
  if (!optimizer_.empty()) params.state1 = optimizer_[0].as<float>() + start(header.bucket);
  if (optimizer_.size() > 1) params.state2 = optimizer_[1].as<float>() + start(header.bucket);
  kernels_->Apply(*stream_, params);
  return absl::OkStatus();
}

void GpuRank::Settle(Round round, BucketIndex bucket, Credit credit) {
  if (credit == Credit::kNone) return;
  const auto at = taken_.find(Key(round, bucket));
  if (at == taken_.end()) return;  // an empty part, or forgotten with a snapshot
  const PayloadPlace place = PlaceOf(round, bucket);
  if (credit == Credit::kReturn) {
    kernels_->Return(*stream_,
                     {.format = format_,
                      .chunks = place.chunk_count,
                      .momentum = momentum_.as<float>() + momentum_starts_[bucket.value()],
                      .alpha = alpha(),
                      .round = place.round,
                      .first_chunk = place.first_chunk,
                      .records = at->second.records.as<uint32_t>(),
                      .presence = at->second.presence.as<uint32_t>(),
                      .exact = at->second.exact.as<float>()});
  }
  free_[bucket].push_back(std::move(at->second));  // what comes next is behind it on the stream
  taken_.erase(at);
}

absl::Status GpuRank::Adopt(JobSession& job) {
  const std::span<const float> parameters = job.parameters(0);
  for (uint32_t b = 0; b < buckets_.count(); ++b) {
    const Extent extent = part(BucketIndex(b));
    const std::span<const float> from = parameters.subspan(extent.begin, extent.size());
    stream_->CopyIn(Masters(BucketIndex(b)), from.data(), from.size_bytes());
  }
  return stream_->Synchronize();
}

absl::Status GpuRank::ClearGradients(JobSession& job) {
  std::ranges::fill(job.gradients(rank_), 0.0f);
  return absl::OkStatus();
}

absl::Status GpuRank::Save(std::span<std::byte> image) {
  const auto save = [&](const DeviceMemory& vector, uint64_t base) {
    for (uint32_t b = 0; b < buckets_.count(); ++b) {
      const Extent extent = part(BucketIndex(b));
      stream_->CopyOut(image.data() + (base + extent.begin) * sizeof(float),
                       vector.as<float>() + starts_[b], extent.size() * sizeof(float));
    }
  };
  save(masters_, 0);
  for (size_t i = 0; i < optimizer_.size(); ++i) save(optimizer_[i], (i + 1) * layout_.length());
  return stream_->Synchronize();
}

absl::Status GpuRank::Load(std::span<const std::byte> image, bool reset_momentum,
                           std::span<const Round> applied_rounds) {
  ISTHMUS_RETURN_IF_ERROR(Finish());
  const auto load = [&](const DeviceMemory& vector, uint64_t base) {
    for (uint32_t b = 0; b < buckets_.count(); ++b) {
      const Extent extent = part(BucketIndex(b));
      stream_->CopyIn(vector.as<float>() + starts_[b],
                      image.data() + (base + extent.begin) * sizeof(float),
                      extent.size() * sizeof(float));
    }
  };
  load(masters_, 0);
  for (size_t i = 0; i < optimizer_.size(); ++i) load(optimizer_[i], (i + 1) * layout_.length());
  for (auto entry = taken_.begin(); entry != taken_.end();) {
    const auto& [round, bucket] = entry->first;
    if (!reset_momentum && round > applied_rounds[bucket.value()]) {
      ++entry;
      continue;
    }
    free_[bucket].push_back(std::move(entry->second));
    entry = taken_.erase(entry);
  }
  if (reset_momentum) stream_->Zero(momentum_.data(), momentum_.size_bytes());
  return stream_->Synchronize();
}

absl::StatusOr<uint64_t> GpuRank::Hash(BucketIndex bucket) {
  const Extent extent = part(bucket);
  if (extent.empty()) return 0;
  stream_->Zero(word_.data(), sizeof(uint64_t));
  kernels_->Hash(*stream_, {.parameters = Masters(bucket),
                            .begin = extent.begin,
                            .blocks_of_64 = extent.size() / kBlock,
                            .logical = logical_.as<uint8_t>() + start(bucket) / kBlock,
                            .sum = word_.as<uint64_t>()});
  stream_->CopyOut(pinned_word_.data(), word_.data(), sizeof(uint64_t));
  ISTHMUS_RETURN_IF_ERROR(stream_->Synchronize());
  return *pinned_word_.as<uint64_t>();
}

absl::Status GpuRank::FlipBit() {
  if (part(BucketIndex(0)).empty() || part(BucketIndex(0)).begin != 0) return absl::OkStatus();
  std::vector<float> masters(masters_.size_bytes() / sizeof(float));
  stream_->CopyOut(masters.data(), masters_.data(), masters_.size_bytes());
  ISTHMUS_RETURN_IF_ERROR(stream_->Synchronize());
  float* largest = nullptr;
  for (uint32_t b = 0; b < buckets_.count(); ++b) {
    const Extent extent = part(BucketIndex(b));
    for (const Extent& run : LogicalRuns(layout_, extent)) {
      for (uint64_t i = run.begin; i < run.end; ++i) {
        float& master = masters[starts_[b] + i - extent.begin];
        if (largest == nullptr || std::fabs(master) > std::fabs(*largest)) largest = &master;
      }
    }
  }
  if (largest == nullptr) return absl::OkStatus();
  *largest = std::bit_cast<float>(std::bit_cast<uint32_t>(*largest) ^ (uint32_t{1} << 22));
  stream_->CopyIn(masters_.as<float>() + (largest - masters.data()), largest, sizeof(float));
  return stream_->Synchronize();
}

class GpuRanks : public LocalRanks {
 public:
  explicit GpuRanks(std::vector<GpuRankPlace> places)
      : places_(std::move(places)),
        communicators_(MakeLocalCommunicators(static_cast<uint32_t>(places_.size()))) {}

  uint32_t count() const override { return static_cast<uint32_t>(places_.size()); }

  absl::StatusOr<std::vector<std::unique_ptr<RankState>>> Make(const RunSpec& run,
                                                               const Layout& layout,
                                                               const Buckets& buckets) override {
    std::vector<std::unique_ptr<RankState>> ranks;
    for (uint32_t rank = 0; rank < count(); ++rank) {
      auto made = std::make_unique<GpuRank>(run, layout, buckets, rank, count(), places_[rank],
                                            communicators_[rank].get());
      if (const absl::Status status = made->Create(); !status.ok()) {
        if (!absl::IsResourceExhausted(status)) return status;
        const uint64_t vectors = 2 + static_cast<uint64_t>(OptimizerStateVectors(run.optimizer));
        return absl::ResourceExhaustedError(
            absl::StrCat("the state of ", layout.length(), " elements needs over ",
                         vectors * LengthOf(buckets, rank, count()) * sizeof(float),
                         " bytes at rank ", rank, ": ", std::string(status.message())));
      }
      ranks.push_back(std::move(made));
    }
    return ranks;
  }

  void Abort(const absl::Status& reason) override {
    for (const auto& communicator : communicators_) communicator->Abort(reason);
  }

 private:
  const std::vector<GpuRankPlace> places_;
  const std::vector<std::unique_ptr<Communicator>> communicators_;
};

}  // namespace

std::unique_ptr<LocalRanks> MakeGpuRanks(std::vector<GpuRankPlace> places) {
  return std::make_unique<GpuRanks>(std::move(places));
}

}  // namespace isthmus
