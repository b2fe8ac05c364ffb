#include "worker/step/gpu_rank.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compression/direction.h"
#include "common/compression/intake.h"
#include "worker/jobs/attach_table.h"

namespace isthmus {

namespace {

uint64_t LongestBucket(const Buckets& buckets) {
  uint64_t longest = 0;
  for (uint32_t b = 0; b < buckets.count(); ++b) {
    longest = std::max(longest, buckets.bucket(BucketIndex(b)).size());
  }
  return longest;
}

// What says a mean without a loss.
UpdateFormat Exactly(UpdateFormat format) {
  format.requantized.reset();
  return format;
}

// Kernels merge contributions of one format, or of any that have a scale per block.
bool KernelsMerge(const RoundFormats& formats, Round round) {
  const UpdateFormat merged = formats.MergedAt(round);
  return merged.uniform || (merged.contribution.block_scales &&
                            std::ranges::all_of(formats.At(round).own, [](const auto& own) {
                              return HasScale(own.second.values);
                            }));
}

}  // namespace

absl::StatusOr<std::unique_ptr<GpuRank>> GpuRank::Create(const RunSpec& run, const Layout& layout,
                                                         const Ownership& ownership,
                                                         const GpuRankPlace& place, GroupId group,
                                                         uint32_t job_rank,
                                                         DeviceCommunicator* communicator) {
  Device& device = *place.device;
  Resources made;
  ISTHMUS_ASSIGN_OR_RETURN(made.loading, device.MakeStream());
  ISTHMUS_ASSIGN_OR_RETURN(made.stream, device.MakeStream());
  ISTHMUS_ASSIGN_OR_RETURN(
      made.memory, GpuRankMemory::Create(run, group, layout, Shard(ownership, communicator->rank()),
                                         communicator->rank(), device, *made.stream));
  ISTHMUS_ASSIGN_OR_RETURN(made.word, device.Allocate(sizeof(uint64_t)));
  ISTHMUS_ASSIGN_OR_RETURN(made.pinned_word, device.AllocatePinned(sizeof(uint64_t)));
  std::unique_ptr<GpuRank> rank(
      new GpuRank(run, layout, ownership, place, group, job_rank, communicator, std::move(made)));
  ISTHMUS_RETURN_IF_ERROR(rank->MakeRooms());
  return rank;
}

// What every round takes, now: allocating may wait for every device's work.
absl::Status GpuRank::MakeRooms() {
  for (DeviceMemory& outgoing : outgoing_) {
    outgoing = DeviceMemory();  // before the new one: both may not fit
    ISTHMUS_ASSIGN_OR_RETURN(
        outgoing, device_->AllocatePinned(memory_.momentum.longest_records * sizeof(uint32_t)));
  }
  free_.clear();
  for (size_t i = 0; i < shard_.runs().size(); ++i) {
    ISTHMUS_ASSIGN_OR_RETURN(free_.emplace_back().emplace_back(), MakeRoom(i));
  }
  return absl::OkStatus();
}

absl::Status GpuRank::UseFormatOf(Round round) {
  const PayloadFormat format = formats_.FormatAt(round, group_);
  if (format == memory_.momentum.payload()) return absl::OkStatus();
  ISTHMUS_RETURN_IF_ERROR(Finish());
  ISTHMUS_RETURN_IF_ERROR(Synchronize());
  free_.clear();
  device_->FreeLeft();
  ISTHMUS_ASSIGN_OR_RETURN(memory_.momentum,
                           Recut(std::move(memory_.momentum), format, shard_, *device_, *stream_));
  return MakeRooms();
}

absl::StatusOr<RecordFormat> GpuRank::RecordsOf(Round round) {
  const PayloadFormat format = formats_.FormatAt(round, group_);
  if (format == memory_.momentum.payload()) return memory_.momentum.contributions.format;
  if (other_format_.tables.size_bytes() == 0 || format != other_format_.format.payload) {
    ISTHMUS_RETURN_IF_ERROR(Synchronize());
    ISTHMUS_ASSIGN_OR_RETURN(other_format_, GpuFormat::Create(format, *device_, *stream_));
  }
  return other_format_.format;
}

GpuRank::GpuRank(const RunSpec& run, const Layout& layout, const Ownership& ownership,
                 const GpuRankPlace& place, GroupId group, uint32_t job_rank,
                 DeviceCommunicator* communicator, Resources made)
    : RankState(ownership, communicator->rank()),
      group_(group),
      policy_(PolicyOf(run)),
      formats_(run),
      layout_(layout),
      device_(place.device),
      kernels_(place.kernels),
      communicator_(communicator),
      memory_(std::move(made.memory)),
      word_(std::move(made.word)),
      pinned_word_(std::move(made.pinned_word)),
      loading_(std::move(made.loading)),
      stream_(std::move(made.stream)),
      transfer_(job_rank, LongestBucket(ownership.buckets()), shard_.longest(), *device_, *kernels_,
                *communicator_, *loading_, *stream_) {
  if (policy_.keeps_way) {
    taken_at_ =
        WhereTaken({TypeOf(layout), memory_.taken_at.data(), layout.length()}, buckets().count());
  }
}

GpuRank::~GpuRank() {
  // Before anything that it uses goes.
  loading_->Synchronize().IgnoreError();
  stream_->Synchronize().IgnoreError();
}

absl::StatusOr<GpuJobTransfer::Mean> GpuRank::TakeIn(JobSession& job, BucketIndex bucket,
                                                     float weight) {
  const Extent whole = buckets().bucket(bucket);
  const Partition& owners = ownership_.of(bucket);
  if (!policy_.job_steps()) return transfer_.ReduceMean(job, whole, owners);
  if (progress_moved_ != nullptr) loading_->Wait(progress_moved_);
  const auto* const kept = given_.Kept(bucket);
  return transfer_.ReduceProgress(job, whole, owners,
                                  {.given = kept != nullptr ? *kept : MastersOf(bucket),
                                   .weight = weight,
                                   .unusable = word_.as<uint32_t>()});
}

absl::StatusOr<bool> GpuRank::Reduce(JobSession& job, BucketIndex bucket, float weight) {
  loading_->Zero(word_.data(), sizeof(uint64_t));
  ISTHMUS_ASSIGN_OR_RETURN(gradient_, TakeIn(job, bucket, weight));
  if (!gradient_.whole) {
    *pinned_word_.as<uint64_t>() = 1;
    loading_->CopyIn(word_.data(), pinned_word_.data(), sizeof(uint64_t));
  }
  if (!gradient_.checked && (shard_.length(bucket) > 0 || gradient_.mark != nullptr)) {
    kernels_->FindUnusable(*loading_, {.gradient = gradient_.data,
                                       .fours = shard_.length(bucket) / 4,
                                       .most = kMaxGradient,
                                       .unusable = word_.as<uint32_t>(),
                                       .mark = gradient_.mark,
                                       .expected = gradient_.expected});
  }
  if (ownership_.ranks() > 1) {
    ISTHMUS_RETURN_IF_ERROR(communicator_->Max(*loading_, word_.as<uint32_t>()));
  }
  loading_->CopyOut(pinned_word_.data(), word_.data(), sizeof(uint64_t));
  ISTHMUS_RETURN_IF_ERROR(communicator_->Synchronize(*loading_));
  return *pinned_word_.as<uint64_t>() == 0;
}

absl::Status GpuRank::Gather(JobSession& job, BucketIndex bucket, Gathering how) {
  const Extent whole = buckets().bucket(bucket);
  const Partition& owners = ownership_.of(bucket);
  if (GiveWithWay(bucket, how, given_, taken_at_)) {
    ISTHMUS_RETURN_IF_ERROR(
        transfer_.GatherWithWay(MastersOf(bucket), taken_at_.Of(whole), job, whole, owners));
  } else {
    ISTHMUS_RETURN_IF_ERROR(transfer_.Gather(MastersOf(bucket), job, whole, owners));
  }
  ProgressMoved();
  return absl::OkStatus();
}

void GpuRank::JobGoesOn(JobSession& job, BucketIndex bucket) {
  const Extent whole = buckets().bucket(bucket);
  transfer_.KeepWhereTaken(job, whole, taken_at_.Keep(bucket, whole));
  ProgressMoved();
}

void GpuRank::JobStaysBehind(BucketIndex bucket) {
  if (!policy_.job_steps()) return;
  given_.StaysBehind(bucket, [&] {
    float* const copy = memory_.given.as<float>() + shard_.start(bucket);
    stream_->Copy(copy, MastersOf(bucket), shard_.length(bucket) * sizeof(float));
    return copy;
  });
}

absl::Status GpuRank::ReleaseJob() {
  given_.Release();
  taken_at_.Clear();
  return transfer_.Release();
}

void GpuRank::GradientUsed() {
  if (gradient_.used != nullptr) *gradient_.used = stream_->Record();
}

ExtractParams GpuRank::ParamsFor(BucketIndex bucket, size_t i, float lr) const {
  const Shard::Run& run = shard_.runs()[i];
  ExtractParams params;
  params.format = memory_.momentum.contributions.format;
  params.chunks = ChunksOf(run.extent, memory_.momentum.payload().chunk_size).count;
  params.gradient = gradient_.data + (run.start - shard_.start(bucket));
  params.momentum = memory_.momentum.Of(i);
  params.decay = policy_.decay;
  params.scale = policy_.Scale(lr);
  params.alpha = policy_.alpha;
  return params;
}

absl::Status GpuRank::Accumulate(Round round, BucketIndex bucket, float lr) {
  ISTHMUS_RETURN_IF_ERROR(UseFormatOf(round));
  const size_t first = shard_.first_run(bucket);
  for (size_t i = first; i < first + shard_.runs(bucket).size(); ++i) {
    ExtractParams params = ParamsFor(bucket, i, lr);
    params.extract = false;
    kernels_->Extract(*stream_, params);
  }
  GradientUsed();
  return absl::OkStatus();
}

absl::StatusOr<GpuRank::Taken> GpuRank::TakeRoom(size_t i) {
  std::vector<Taken>& free = free_[i];
  if (!free.empty()) {
    Taken taken = std::move(free.back());
    free.pop_back();
    return taken;
  }
  ISTHMUS_RETURN_IF_ERROR(Synchronize());  // as Apply() does
  return MakeRoom(i);
}

absl::StatusOr<GpuRank::Taken> GpuRank::MakeRoom(size_t i) {
  const PayloadFormat& format = memory_.momentum.payload();
  const uint64_t chunks = ChunksOf(shard_.runs()[i].extent, format.chunk_size).count;
  Taken taken{.format = format};
  ISTHMUS_ASSIGN_OR_RETURN(
      taken.records, device_->Allocate(RecordWords(memory_.momentum.contributions.format, chunks) *
                                       sizeof(uint32_t)));
  ISTHMUS_ASSIGN_OR_RETURN(taken.presence,
                           device_->Allocate(PresenceWords(chunks) * sizeof(uint32_t)));
  if (format.values == ValueFormat::kSign) {
    ISTHMUS_ASSIGN_OR_RETURN(taken.exact, device_->Allocate(chunks * format.k * sizeof(float)));
  }
  return taken;
}

void GpuRank::GiveRooms(BucketIndex bucket, std::vector<Taken> taken) {
  for (size_t i = 0; i < taken.size(); ++i) {
    taken[i].payload = nullptr;
    free_[shard_.first_run(bucket) + i].push_back(std::move(taken[i]));
  }
}

absl::Status GpuRank::Extract(Round round, BucketIndex bucket, float lr, Extracted done) {
  ISTHMUS_RETURN_IF_ERROR(UseFormatOf(round));
  std::vector<Taken>& taken = taken_.Put(round, bucket, {});
  const size_t first = shard_.first_run(bucket);
  for (size_t i = first; i < first + shard_.runs(bucket).size(); ++i) {
    ISTHMUS_RETURN_IF_ERROR(ExtractRun(round, bucket, i, lr, done, &taken));
  }
  GradientUsed();
  return absl::OkStatus();
}

absl::Status GpuRank::ExtractRun(Round round, BucketIndex bucket, size_t i, float lr,
                                 const Extracted& done, std::vector<Taken>* all_taken) {
  if (pending_.size() == kSlots) ISTHMUS_RETURN_IF_ERROR(Deliver());
  ISTHMUS_ASSIGN_OR_RETURN(Taken room, TakeRoom(i));
  const Taken& taken = all_taken->emplace_back(std::move(room));
  for (const DeviceMemory* memory : {&taken.records, &taken.presence, &taken.exact}) {
    if (memory->size_bytes() > 0) stream_->Zero(memory->data(), memory->size_bytes());
  }
  const PayloadPlace place = PlaceOf(round, shard_.runs()[i]);
  ExtractParams params = ParamsFor(bucket, i, lr);
  params.round = round.value();
  params.first_chunk = place.chunks.first;
  params.records = taken.records.as<uint32_t>();
  params.presence = taken.presence.as<uint32_t>();
  params.exact = taken.exact.as<float>();
  kernels_->Extract(*stream_, params);
  if (!policy_.exchanges) {
    done({place.chunks.first, place.chunks.count},
         std::make_shared<const std::string>(EncodeNothing(taken.format, place)));
    return absl::OkStatus();
  }
  const size_t slot = pending_.empty() ? 0 : (pending_.back().slot + 1) % kSlots;
  auto* const out = outgoing_[slot].as<std::byte>();
  stream_->CopyOut(out, taken.records.data(), taken.records.size_bytes());
  stream_->CopyOut(out + taken.records.size_bytes(), taken.presence.data(),
                   taken.presence.size_bytes());
  pending_.push_back({bucket, i - shard_.first_run(bucket), place, stream_->Record(), slot, done});
  return absl::OkStatus();
}

// Gives the oldest extraction to who asked for it.
absl::Status GpuRank::Deliver() {
  Pending pending = std::move(pending_.front());
  pending_.pop_front();
  ISTHMUS_RETURN_IF_ERROR(communicator_->Await(*pending.copied));
  const auto* const words = outgoing_[pending.slot].as<uint32_t>();
  const uint64_t record_words =
      RecordWords(memory_.momentum.contributions.format, pending.place.chunks.count);
  auto payload = std::make_shared<const std::string>(
      AssemblePayload(memory_.momentum.payload(), pending.place, std::span(words, record_words),
                      std::span(words + record_words, PresenceWords(pending.place.chunks.count))));
  if (!KernelsMerge(formats_, Round(pending.place.round))) {
    std::vector<Taken>* const taken = taken_.Find(Round(pending.place.round), pending.bucket);
    if (taken != nullptr) (*taken)[pending.run].payload = payload;
  }
  pending.done({pending.place.chunks.first, pending.place.chunks.count}, std::move(payload));
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
  for (size_t i = 0; i < shard_.runs(header.bucket).size(); ++i) {
    ISTHMUS_RETURN_IF_ERROR(ApplyRun(header, update, i));
  }
  ProgressMoved();
  return absl::OkStatus();
}

absl::Status GpuRank::ApplyRun(const UpdateHeader& header, const UpdateView& update, size_t i) {
  const Shard::Run& run = shard_.runs(header.bucket)[i];
  const PayloadPlace place = PlaceOf(header.round, run);
  if (update.encoding() == UpdateEncoding::kContributions &&
      !KernelsMerge(formats_, header.round)) {
    ISTHMUS_ASSIGN_OR_RETURN(const std::string merged, MergeOnHost(header, update, i));
    ISTHMUS_ASSIGN_OR_RETURN(const UpdateView view,
                             UpdateView::Parse(std::as_bytes(std::span(merged)),
                                               Exactly(formats_.MergedAt(header.round)), place));
    return ApplyEncoded(header, view, run, {});
  }
  PartRecords own;
  if (update.needs_own()) {
    ISTHMUS_ASSIGN_OR_RETURN(const Taken* taken, Own(header, i));
    own = {.first_chunk = place.chunks.first,
           .chunks = place.chunks.count,
           .records = taken->records.as<uint32_t>(),
           .presence = {taken->presence.as<uint32_t>(), nullptr},
           .values = taken->format.values};
  }
  return ApplyEncoded(header, update, run, own);
}

absl::StatusOr<const GpuRank::Taken*> GpuRank::Own(const UpdateHeader& header, size_t i) {
  if (const auto* taken = taken_.Find(header.round, header.bucket)) return &(*taken)[i];
  return absl::InternalError(absl::StrCat("update ", header.sequence.value(), " of round ",
                                          header.round.value(), " bucket ", header.bucket.value(),
                                          ": this group's own contribution is not remembered"));
}

absl::StatusOr<std::string> GpuRank::MergeOnHost(const UpdateHeader& header,
                                                 const UpdateView& update, size_t i) {
  const PayloadPlace place = PlaceOf(header.round, shard_.runs(header.bucket)[i]);
  PayloadView own;
  if (update.needs_own()) {
    ISTHMUS_ASSIGN_OR_RETURN(const Taken* taken, Own(header, i));
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
  return EncodeUpdate(Exactly(formats_.MergedAt(header.round)), place, inputs);
}

absl::Status GpuRank::ApplyEncoded(const UpdateHeader& header, const UpdateView& update,
                                   const Shard::Run& run, const PartRecords& own) {
  update_image_.Begin(update, PlaceOf(header.round, run), own);
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
  ISTHMUS_ASSIGN_OR_RETURN(params.format, RecordsOf(header.round));
  const UpdateFormat merged = formats_.MergedAt(header.round);
  params.merge = merged.merge;
  params.sign = merged.sign;
  params.known_signs = HasKnownSigns(merged);
  params.optimizer = policy_.optimizer;
  params.scalars = reinterpret_cast<const OptimizerScalars*>(on_device + image_bytes);
  params.groups = memory_.GroupsAt(run.start);
  params.parameters = memory_.masters.as<float>() + run.start;
  const std::vector<DeviceMemory>& state = memory_.optimizer;
  if (!state.empty()) params.state1 = state[0].as<float>() + run.start;
  if (state.size() > 1) params.state2 = state[1].as<float>() + run.start;
  kernels_->Apply(*stream_, params);
  return absl::OkStatus();
}

void GpuRank::Settle(Round round, BucketIndex bucket, Credit credit) {
  if (credit == Credit::kNone) return;
  taken_.Settle(round, bucket, [&](std::vector<Taken> taken) {
    if (credit == Credit::kReturn) {
      for (size_t i = 0; i < taken.size(); ++i) {
        const PayloadPlace place = PlaceOf(round, shard_.runs(bucket)[i]);
        kernels_->Return(*stream_, {.format = memory_.momentum.contributions.format,
                                    .chunks = place.chunks.count,
                                    .momentum = memory_.momentum.Of(shard_.first_run(bucket) + i),
                                    .alpha = policy_.alpha,
                                    .round = place.round,
                                    .first_chunk = place.chunks.first,
                                    .records = taken[i].records.as<uint32_t>(),
                                    .presence = taken[i].presence.as<uint32_t>(),
                                    .exact = taken[i].exact.as<float>()});
      }
    }
    GiveRooms(bucket, std::move(taken));
  });
}

absl::Status GpuRank::Adopt(JobSession& job) {
  for (uint32_t b = 0; b < buckets().count(); ++b) {
    const BucketIndex bucket(b);
    ISTHMUS_RETURN_IF_ERROR(
        transfer_.Adopt(job, buckets().bucket(bucket), ownership_.of(bucket), MastersOf(bucket)));
  }
  return absl::OkStatus();
}

absl::Status GpuRank::ClearGradients(JobSession& job) { return transfer_.ClearGradients(job); }

template <typename F>
void GpuRank::ForEachVector(F f) const {
  f(memory_.masters.as<float>(), uint64_t{0});
  for (size_t i = 0; i < memory_.optimizer.size(); ++i) {
    f(memory_.optimizer[i].as<float>(), (i + 1) * layout_.length());
  }
}

absl::Status GpuRank::Save(std::span<std::byte> image) {
  ISTHMUS_RETURN_IF_ERROR(Synchronize());  // copies to memory that is not pinned block, unwatched
  ForEachVector([&](const float* vector, uint64_t base) {
    for (const Shard::Run& run : shard_.runs()) {
      stream_->CopyOut(image.data() + (base + run.extent.begin) * sizeof(float), vector + run.start,
                       run.extent.size() * sizeof(float));
    }
  });
  return Synchronize();
}

absl::Status GpuRank::Load(std::span<const std::byte> image, bool reset_momentum,
                           std::span<const Round> applied_rounds) {
  ISTHMUS_RETURN_IF_ERROR(Finish());
  for (uint32_t b = 0; b < buckets().count(); ++b) JobStaysBehind(BucketIndex(b));
  ForEachVector([&](float* vector, uint64_t base) {
    for (const Shard::Run& run : shard_.runs()) {
      stream_->CopyIn(vector + run.start, image.data() + (base + run.extent.begin) * sizeof(float),
                      run.extent.size() * sizeof(float));
    }
  });
  taken_.Forget(applied_rounds, reset_momentum,
                [this](BucketIndex bucket, std::vector<Taken> taken) {
                  GiveRooms(bucket, std::move(taken));
                });
  if (reset_momentum)
    stream_->Zero(memory_.momentum.values.data(), memory_.momentum.values.size_bytes());
  return Synchronize();
}

absl::StatusOr<uint64_t> GpuRank::Hash(BucketIndex bucket) {
  if (shard_.length(bucket) == 0) return 0;
  stream_->Zero(word_.data(), sizeof(uint64_t));
  for (const Shard::Run& run : shard_.runs(bucket)) {
    kernels_->Hash(*stream_, {.parameters = memory_.masters.as<float>() + run.start,
                              .begin = run.extent.begin,
                              .blocks_of_64 = run.extent.size() / kGroupBlock,
                              .logical = memory_.LogicalAt(run.start),
                              .sum = word_.as<uint64_t>()});
  }
  stream_->CopyOut(pinned_word_.data(), word_.data(), sizeof(uint64_t));
  ISTHMUS_RETURN_IF_ERROR(Synchronize());
  return *pinned_word_.as<uint64_t>();
}

}  // namespace isthmus
