#include "worker/step/gpu_rank.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compression/direction.h"

namespace isthmus {

namespace {

uint64_t LongestBucket(const Buckets& buckets) {
  uint64_t longest = 0;
  for (uint32_t b = 0; b < buckets.count(); ++b) {
    longest = std::max(longest, buckets.bucket(BucketIndex(b)).size());
  }
  return longest;
}

}  // namespace

absl::StatusOr<std::unique_ptr<GpuRank>> GpuRank::Create(const RunSpec& run, const Layout& layout,
                                                         const Buckets& buckets,
                                                         const GpuRankPlace& place, GroupId group,
                                                         uint32_t job_rank,
                                                         DeviceCommunicator* communicator) {
  Device& device = *place.device;
  Parts made;
  ISTHMUS_ASSIGN_OR_RETURN(made.loading, device.MakeStream());
  ISTHMUS_ASSIGN_OR_RETURN(made.stream, device.MakeStream());
  ISTHMUS_ASSIGN_OR_RETURN(made.memory,
                           GpuRankMemory::Create(run, group, layout, buckets, communicator->rank(),
                                                 communicator->size(), device, *made.stream));
  ISTHMUS_ASSIGN_OR_RETURN(made.word, device.Allocate(sizeof(uint64_t)));
  ISTHMUS_ASSIGN_OR_RETURN(made.pinned_word, device.AllocatePinned(sizeof(uint64_t)));
  for (DeviceMemory& outgoing : made.outgoing) {
    ISTHMUS_ASSIGN_OR_RETURN(outgoing,
                             device.AllocatePinned(made.memory.longest_records * sizeof(uint32_t)));
  }
  std::unique_ptr<GpuRank> rank(
      new GpuRank(run, layout, buckets, place, group, job_rank, communicator, std::move(made)));
  // What every round takes, now: allocating may wait for every device's work.
  for (uint32_t b = 0; b < buckets.count(); ++b) {
    const BucketIndex bucket(b);
    if (rank->part(bucket).empty()) continue;
    ISTHMUS_ASSIGN_OR_RETURN(rank->free_[bucket].emplace_back(), rank->MakeRoom(bucket));
  }
  return rank;
}

GpuRank::GpuRank(const RunSpec& run, const Layout& layout, const Buckets& buckets,
                 const GpuRankPlace& place, GroupId group, uint32_t job_rank,
                 DeviceCommunicator* communicator, Parts parts)
    : RankState(buckets, communicator->rank(), communicator->size()),
      group_(group),
      policy_(PolicyOf(run)),
      formats_(run),
      merged_(formats_.MergedAt(Round(1))),
      layout_(layout),
      device_(place.device),
      kernels_(place.kernels),
      communicator_(communicator),
      memory_(std::move(parts.memory)),
      word_(std::move(parts.word)),
      pinned_word_(std::move(parts.pinned_word)),
      outgoing_{std::move(parts.outgoing[0]), std::move(parts.outgoing[1])},
      loading_(std::move(parts.loading)),
      stream_(std::move(parts.stream)),
      transfer_(job_rank, LongestBucket(buckets), memory_.longest, *device_, *kernels_,
                *communicator_, *loading_, *stream_) {}

GpuRank::~GpuRank() {
  // Before anything that it uses goes.
  loading_->Synchronize().IgnoreError();
  stream_->Synchronize().IgnoreError();
}

std::vector<uint64_t> GpuRank::PartsOf(BucketIndex bucket) const {
  std::vector<uint64_t> cuts{0};
  for (uint32_t rank = 0; rank < ranks_; ++rank) {
    cuts.push_back(buckets_.part(bucket, rank, ranks_).end - buckets_.bucket(bucket).begin);
  }
  return cuts;
}

absl::StatusOr<bool> GpuRank::Reduce(JobSession& job, BucketIndex bucket) {
  ISTHMUS_ASSIGN_OR_RETURN(gradient_,
                           transfer_.ReduceMean(job, buckets_.bucket(bucket), PartsOf(bucket)));
  *pinned_word_.as<uint64_t>() = gradient_.whole ? 0 : 1;
  loading_->CopyIn(word_.data(), pinned_word_.data(), sizeof(uint64_t));
  if (!part(bucket).empty() || gradient_.mark != nullptr) {
    kernels_->FindUnusable(*loading_, {.gradient = gradient_.data,
                                       .fours = part(bucket).size() / 4,
                                       .most = kMaxGradient,
                                       .unusable = word_.as<uint32_t>(),
                                       .mark = gradient_.mark,
                                       .expected = gradient_.expected});
  }
  if (ranks_ > 1) {
    ISTHMUS_RETURN_IF_ERROR(communicator_->Max(*loading_, word_.as<uint32_t>()));
  }
  loading_->CopyOut(pinned_word_.data(), word_.data(), sizeof(uint64_t));
  ISTHMUS_RETURN_IF_ERROR(communicator_->Synchronize(*loading_));
  return *pinned_word_.as<uint64_t>() == 0;
}

absl::Status GpuRank::Gather(JobSession& job, BucketIndex bucket) {
  return transfer_.Gather(memory_.MastersOf(bucket), job, buckets_.bucket(bucket), PartsOf(bucket));
}

void GpuRank::GradientUsed() {
  if (gradient_.used != nullptr) *gradient_.used = stream_->Record();
}

ExtractParams GpuRank::ParamsFor(BucketIndex bucket, float lr) const {
  ExtractParams params;
  params.format = memory_.format;
  params.chunks = ChunksOf(part(bucket), memory_.format.payload.chunk_size).count;
  params.gradient = gradient_.data;
  params.momentum = memory_.MomentumOf(bucket);
  params.decay = policy_.decay;
  params.scale = policy_.Scale(lr);
  params.alpha = policy_.alpha;
  return params;
}

absl::Status GpuRank::Accumulate(BucketIndex bucket, float lr) {
  ExtractParams params = ParamsFor(bucket, lr);
  params.extract = false;
  kernels_->Extract(*stream_, params);
  GradientUsed();
  return absl::OkStatus();
}

absl::StatusOr<GpuRank::Taken> GpuRank::TakeRoom(BucketIndex bucket) {
  std::vector<Taken>& free = free_[bucket];
  if (!free.empty()) {
    Taken taken = std::move(free.back());
    free.pop_back();
    return taken;
  }
  ISTHMUS_RETURN_IF_ERROR(Synchronize());  // as Apply() does
  return MakeRoom(bucket);
}

absl::StatusOr<GpuRank::Taken> GpuRank::MakeRoom(BucketIndex bucket) {
  const PayloadFormat& format = memory_.format.payload;
  const uint64_t chunks = ChunksOf(part(bucket), format.chunk_size).count;
  Taken taken{.format = format};
  ISTHMUS_ASSIGN_OR_RETURN(
      taken.records, device_->Allocate(RecordWords(memory_.format, chunks) * sizeof(uint32_t)));
  ISTHMUS_ASSIGN_OR_RETURN(taken.presence,
                           device_->Allocate(PresenceWords(chunks) * sizeof(uint32_t)));
  if (format.values == ValueFormat::kSign) {
    ISTHMUS_ASSIGN_OR_RETURN(taken.exact, device_->Allocate(chunks * format.k * sizeof(float)));
  }
  return taken;
}

absl::Status GpuRank::Extract(Round round, BucketIndex bucket, float lr, Extracted done) {
  if (pending_.size() == kSlots) ISTHMUS_RETURN_IF_ERROR(Deliver());
  ISTHMUS_ASSIGN_OR_RETURN(Taken room, TakeRoom(bucket));
  const Taken& taken = taken_.Put(round, bucket, std::move(room));
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
  GradientUsed();
  if (!policy_.exchanges) {
    done(std::make_shared<const std::string>(EncodeNothing(taken.format, place)));
    return absl::OkStatus();
  }
  const size_t slot = pending_.empty() ? 0 : (pending_.back().slot + 1) % kSlots;
  auto* const out = outgoing_[slot].as<std::byte>();
  stream_->CopyOut(out, taken.records.data(), taken.records.size_bytes());
  stream_->CopyOut(out + taken.records.size_bytes(), taken.presence.data(),
                   taken.presence.size_bytes());
  pending_.push_back({bucket, place, stream_->Record(), slot, std::move(done)});
  return absl::OkStatus();
}

// Gives the oldest extraction to who asked for it.
absl::Status GpuRank::Deliver() {
  Pending pending = std::move(pending_.front());
  pending_.pop_front();
  ISTHMUS_RETURN_IF_ERROR(communicator_->Await(*pending.copied));
  const auto* const words = outgoing_[pending.slot].as<uint32_t>();
  const uint64_t record_words = RecordWords(memory_.format, pending.place.chunk_count);
  auto payload = std::make_shared<const std::string>(
      AssemblePayload(memory_.format.payload, pending.place, std::span(words, record_words),
                      std::span(words + record_words, PresenceWords(pending.place.chunk_count))));
  if (!merged_.uniform) {
    Taken* const taken = taken_.Find(Round(pending.place.round), pending.bucket);
    if (taken != nullptr) taken->payload = payload;
  }
  pending.done(std::move(payload));
  return absl::OkStatus();
}

absl::Status GpuRank::Finish() {
  while (!pending_.empty()) ISTHMUS_RETURN_IF_ERROR(Deliver());
  return absl::OkStatus();
}

absl::Status GpuRank::Complete() {
  ISTHMUS_RETURN_IF_ERROR(Synchronize());
  device_->FreeLeft();
  return absl::OkStatus();
}

absl::Status GpuRank::Apply(const UpdateHeader& header, const UpdateView& update) {
  if (part(header.bucket).empty()) return absl::OkStatus();
  const PayloadPlace place = PlaceOf(header.round, header.bucket);
  if (!merged_.uniform && update.encoding() == UpdateEncoding::kContributions) {
    ISTHMUS_ASSIGN_OR_RETURN(const std::string merged, MergeOnHost(header, update, place));
    ISTHMUS_ASSIGN_OR_RETURN(const UpdateView view,
                             UpdateView::Parse(std::as_bytes(std::span(merged)), merged_, place));
    return ApplyEncoded(header, view, {});
  }
  PartRecords own;
  if (update.needs_own()) {
    ISTHMUS_ASSIGN_OR_RETURN(const Taken* taken, Own(header));
    own = {.first_chunk = place.first_chunk,
           .chunks = place.chunk_count,
           .records = taken->records.as<uint32_t>(),
           .presence = {taken->presence.as<uint32_t>(), nullptr}};
  }
  return ApplyEncoded(header, update, own);
}

absl::StatusOr<const GpuRank::Taken*> GpuRank::Own(const UpdateHeader& header) {
  if (const Taken* taken = taken_.Find(header.round, header.bucket)) return taken;
  return absl::InternalError(absl::StrCat("update ", header.sequence.value(), " of round ",
                                          header.round.value(), " bucket ", header.bucket.value(),
                                          ": this group's own contribution is not remembered"));
}

absl::StatusOr<std::string> GpuRank::MergeOnHost(const UpdateHeader& header,
                                                 const UpdateView& update,
                                                 const PayloadPlace& place) {
  PayloadView own;
  if (update.needs_own()) {
    ISTHMUS_ASSIGN_OR_RETURN(const Taken* taken, Own(header));
    ISTHMUS_RETURN_IF_ERROR(Finish());  // it may be on its way to the host
    ISTHMUS_ASSIGN_OR_RETURN(
        own,
        PayloadView::ParseTrusted(std::as_bytes(std::span(*taken->payload)), taken->format, place));
  }
  const UpdateView::Contents contents = update.contents();
  std::vector<MergeInput> inputs;
  for (const UpdateView::Contribution& contribution : contents.contributions) {
    const bool here = !contribution.parts.empty();
    inputs.push_back({contribution.weight, here ? contribution.parts : std::span(&own, 1)});
  }
  return EncodeUpdate(merged_, place, inputs);
}

absl::Status GpuRank::ApplyEncoded(const UpdateHeader& header, const UpdateView& update,
                                   const PartRecords& own) {
  update_image_.Begin(update, PlaceOf(header.round, header.bucket), own);
  const size_t image_bytes = (update_image_.size_bytes() + 15) / 16 * 16;
  const size_t scalar_bytes = header.scalars.size() * sizeof(OptimizerScalars);
  if (image_copied_ != nullptr) {  // the pinned one may change
    ISTHMUS_RETURN_IF_ERROR(communicator_->Await(*image_copied_));
  }
  const size_t all_bytes = image_bytes + scalar_bytes;
  if (!image_.Holds(all_bytes) || !pinned_image_.Holds(all_bytes)) {
    ISTHMUS_RETURN_IF_ERROR(Synchronize());  // allocating may wait for it, and hold others up
  }
  ISTHMUS_RETURN_IF_ERROR(image_.Reserve(*device_, all_bytes));
  ISTHMUS_RETURN_IF_ERROR(pinned_image_.Reserve(*device_, all_bytes, true));
  auto* const pinned = pinned_image_.as<std::byte>();
  auto* const on_device = image_.as<std::byte>();
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
  stream_->CopyIn(on_device, pinned, all_bytes);
  image_copied_ = stream_->Record();
  params.format = memory_.format;
  params.merge = merged_.merge;
  params.sign = merged_.sign;
  params.known_signs = HasKnownSigns(merged_);
  params.optimizer = policy_.optimizer;
  params.scalars = reinterpret_cast<const OptimizerScalars*>(on_device + image_bytes);
  params.groups = memory_.GroupsOf(header.bucket);
  params.parameters = memory_.MastersOf(header.bucket);
  const uint64_t start = memory_.start(header.bucket);
  const std::vector<DeviceMemory>& state = memory_.optimizer;
  if (!state.empty()) params.state1 = state[0].as<float>() + start;
  if (state.size() > 1) params.state2 = state[1].as<float>() + start;
  kernels_->Apply(*stream_, params);
  return absl::OkStatus();
}

void GpuRank::Settle(Round round, BucketIndex bucket, Credit credit) {
  if (credit == Credit::kNone) return;
  taken_.Settle(round, bucket, [&](Taken taken) {
    const PayloadPlace place = PlaceOf(round, bucket);
    if (credit == Credit::kReturn) {
      kernels_->Return(*stream_, {.format = memory_.format,
                                  .chunks = place.chunk_count,
                                  .momentum = memory_.MomentumOf(bucket),
                                  .alpha = policy_.alpha,
                                  .round = place.round,
                                  .first_chunk = place.first_chunk,
                                  .records = taken.records.as<uint32_t>(),
                                  .presence = taken.presence.as<uint32_t>(),
                                  .exact = taken.exact.as<float>()});
    }
    GiveRoom(bucket, std::move(taken));
  });
}

absl::Status GpuRank::Adopt(JobSession& job) {
  for (uint32_t b = 0; b < buckets_.count(); ++b) {
    const BucketIndex bucket(b);
    ISTHMUS_RETURN_IF_ERROR(
        transfer_.Adopt(job, buckets_.bucket(bucket), PartsOf(bucket), memory_.MastersOf(bucket)));
  }
  return absl::OkStatus();
}

absl::Status GpuRank::ClearGradients(JobSession& job) { return transfer_.ClearGradients(job); }

absl::Status GpuRank::Save(std::span<std::byte> image) {
  ISTHMUS_RETURN_IF_ERROR(Synchronize());  // copies to memory that is not pinned block, unwatched
  const auto save = [&](const DeviceMemory& vector, uint64_t base) {
    for (uint32_t b = 0; b < buckets_.count(); ++b) {
      const Extent extent = part(BucketIndex(b));
      stream_->CopyOut(image.data() + (base + extent.begin) * sizeof(float),
                       vector.as<float>() + memory_.starts[b], extent.size() * sizeof(float));
    }
  };
  save(memory_.masters, 0);
  for (size_t i = 0; i < memory_.optimizer.size(); ++i)
    save(memory_.optimizer[i], (i + 1) * layout_.length());
  return Synchronize();
}

absl::Status GpuRank::Load(std::span<const std::byte> image, bool reset_momentum,
                           std::span<const Round> applied_rounds) {
  ISTHMUS_RETURN_IF_ERROR(Finish());
  const auto load = [&](const DeviceMemory& vector, uint64_t base) {
    for (uint32_t b = 0; b < buckets_.count(); ++b) {
      const Extent extent = part(BucketIndex(b));
      stream_->CopyIn(vector.as<float>() + memory_.starts[b],
                      image.data() + (base + extent.begin) * sizeof(float),
                      extent.size() * sizeof(float));
    }
  };
  load(memory_.masters, 0);
  for (size_t i = 0; i < memory_.optimizer.size(); ++i)
    load(memory_.optimizer[i], (i + 1) * layout_.length());
  taken_.Forget(applied_rounds, reset_momentum,
                [this](BucketIndex bucket, Taken taken) { GiveRoom(bucket, std::move(taken)); });
  if (reset_momentum) stream_->Zero(memory_.momentum.data(), memory_.momentum.size_bytes());
  return Synchronize();
}

absl::StatusOr<uint64_t> GpuRank::Hash(BucketIndex bucket) {
  const Extent extent = part(bucket);
  if (extent.empty()) return 0;
  stream_->Zero(word_.data(), sizeof(uint64_t));
  kernels_->Hash(*stream_, {.parameters = memory_.MastersOf(bucket),
                            .begin = extent.begin,
                            .blocks_of_64 = extent.size() / kGroupBlock,
                            .logical = memory_.LogicalOf(bucket),
                            .sum = word_.as<uint64_t>()});
  stream_->CopyOut(pinned_word_.data(), word_.data(), sizeof(uint64_t));
  ISTHMUS_RETURN_IF_ERROR(Synchronize());
  return *pinned_word_.as<uint64_t>();
}

absl::Status GpuRank::FlipBit() {
  ISTHMUS_RETURN_IF_ERROR(Synchronize());
  std::vector<float> masters(memory_.masters.size_bytes() / sizeof(float));
  stream_->CopyOut(masters.data(), memory_.masters.data(), memory_.masters.size_bytes());
  ISTHMUS_RETURN_IF_ERROR(Synchronize());
  const float* const flipped = FlipOf(layout_, masters);
  if (flipped == nullptr) return absl::OkStatus();
  stream_->CopyIn(memory_.masters.as<float>() + (flipped - masters.data()), flipped, sizeof(float));
  return Synchronize();
}

}  // namespace isthmus
