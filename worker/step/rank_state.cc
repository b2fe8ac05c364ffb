#include "worker/step/rank_state.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/compression/prefetch.h"
#include "common/compression/state_hash.h"
#include "common/kernels/simd.h"

namespace isthmus {
namespace {

static_assert(std::endian::native == std::endian::little, "images are little-endian");

// A direction is written and used at most this many elements at a time, so that it stays in the
// cache. A multiple of every chunk size.
constexpr uint64_t kBlockLength = kUnitLength;

}  // namespace

bool AllUsable(std::span<const float> gradient) {
  // Without a branch per element, and NaN fails every comparison.
  bool usable = true;
  for (const float g : gradient) usable &= std::fabs(g) <= kMaxGradient;
  return usable;
}

RankState::RankState(const RunSpec& run, const Layout& layout, const Buckets& buckets,
                     const ReplicatorPlace& place)
    : run_(run),
      layout_(layout),
      buckets_(buckets),
      rank_(place.rank),
      ranks_(place.ranks),
      direction_scratch_(MergedFormat(run), ActiveKernels()) {
  uint64_t length = 0;
  uint64_t longest = 0;
  for (uint32_t b = 0; b < buckets.count(); ++b) {
    const uint64_t size = part(BucketIndex(b)).size();
    starts_.push_back(length);
    length += size;
    longest = std::max(longest, size);
  }
  masters_.resize(length);
  optimizer_.resize(static_cast<size_t>(OptimizerStateVectors(run.optimizer)));
  for (std::vector<float>& vector : optimizer_) vector.resize(length);
  scratch_.resize(longest);
  replicator_ = MakeReplicator(run, buckets, place);
}

std::span<const float> RankState::masters(BucketIndex bucket) const {
  return std::span(masters_).subspan(starts_[bucket.value()], part(bucket).size());
}

std::span<float> RankState::scratch(BucketIndex bucket) {
  return std::span(scratch_).first(part(bucket).size());
}

std::span<float> RankState::PartOf(std::vector<float>& vector, BucketIndex bucket) const {
  return std::span(vector).subspan(starts_[bucket.value()], part(bucket).size());
}

void RankState::Accumulate(BucketIndex bucket, std::span<const float> gradient, float lr) {
  replicator_->Accumulate(bucket, gradient, lr);
}

std::shared_ptr<const std::string> RankState::AccumulateAndExtract(Round round, BucketIndex bucket,
                                                                   std::span<const float> gradient,
                                                                   float lr) {
  const auto [taken, inserted] = taken_.try_emplace(Key(round, bucket));
  ISTHMUS_CHECK(inserted);
  taken->second = replicator_->AccumulateAndExtract(round, bucket, gradient, lr);
  return taken->second.payload;
}

absl::StatusOr<std::optional<PayloadView>> RankState::Own(const UpdateHeader& header,
                                                          const Extent& extent, bool needed) const {
  if (!needed || extent.empty()) return std::optional<PayloadView>();
  const auto taken = taken_.find(Key(header.round, header.bucket));
  if (taken == taken_.end()) {
    return absl::InternalError(absl::StrCat("update ", header.sequence.value(), " of round ",
                                            header.round.value(), " bucket ", header.bucket.value(),
                                            ": this group's own contribution is not remembered"));
  }
  const Extraction& extraction = taken->second;
  const std::string& payload = extraction.own != nullptr ? *extraction.own : *extraction.payload;
  ISTHMUS_ASSIGN_OR_RETURN(
      PayloadView view,
      PayloadView::ParseTrusted(
          std::as_bytes(std::span(payload)), replicator_->format(),
          {header.round.value(), extent.begin / run_.chunk_size, extent.size() / run_.chunk_size}));
  return std::optional<PayloadView>(std::move(view));
}

absl::Status RankState::Apply(const UpdateHeader& header, const UpdateView& update) {
  const Extent whole = part(header.bucket);
  ISTHMUS_ASSIGN_OR_RETURN(const std::optional<PayloadView> own,
                           Own(header, whole, update.needs_own()));
  const std::span<float> masters = PartOf(masters_, header.bucket);
  // A tile of chunks at a time, as far as it fits a block.
  const uint64_t length = std::min(kBlockLength, uint64_t{run_.chunk_size} * kTileChunks);
  for (uint64_t begin = whole.begin; begin < whole.end; begin += length) {
    const Extent block{begin, std::min(begin + length, whole.end)};
    const std::span<float> direction = std::span(scratch_).first(block.size());
    direction_scratch_.ahead = Prefetcher(
        masters.subspan(block.end - whole.begin, std::min(length, whole.end - block.end)));
    update.Direction(block.begin / run_.chunk_size, direction, own ? &*own : nullptr,
                     direction_scratch_);
    ApplyBlock(header, block, direction, starts_[header.bucket.value()] + begin - whole.begin);
  }
  return absl::OkStatus();
}

// `first` is where `block` begins in masters_.
void RankState::ApplyBlock(const UpdateHeader& header, const Extent& block,
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
    ApplyDirection(run_.optimizer, scalars, direction.subspan(run.begin - block.begin, run.size()),
                   piece(masters_, run), state[0], state[1]);
  }
}

void RankState::Settle(Round round, BucketIndex bucket, Credit credit) {
  if (credit == Credit::kNone) return;
  const auto taken = taken_.find(Key(round, bucket));
  if (taken == taken_.end()) return;  // an empty part, or forgotten with a snapshot
  if (credit == Credit::kReturn) replicator_->Return(round, bucket, taken->second);
  taken_.erase(taken);
}

void RankState::Adopt(std::span<const float> parameters) {
  for (uint32_t b = 0; b < buckets_.count(); ++b) {
    const Extent extent = part(BucketIndex(b));
    const std::span<const float> from = parameters.subspan(extent.begin, extent.size());
    std::copy(from.begin(), from.end(), PartOf(masters_, BucketIndex(b)).begin());
  }
}

void RankState::Save(std::span<std::byte> image) const {
  const auto save = [&](const std::vector<float>& vector, uint64_t base) {
    for (uint32_t b = 0; b < buckets_.count(); ++b) {
      const Extent extent = part(BucketIndex(b));
      const std::span<const std::byte> from =
          std::as_bytes(std::span(vector).subspan(starts_[b], extent.size()));
      std::copy(from.begin(), from.end(), image.begin() + (base + extent.begin) * sizeof(float));
    }
  };
  save(masters_, 0);
  for (size_t i = 0; i < optimizer_.size(); ++i) save(optimizer_[i], (i + 1) * layout_.length());
}

void RankState::Load(std::span<const std::byte> image, bool reset_momentum,
                     std::span<const Round> applied_rounds) {
  const auto load = [&](std::vector<float>& vector, uint64_t base) {
    for (uint32_t b = 0; b < buckets_.count(); ++b) {
      const std::span<std::byte> to = std::as_writable_bytes(PartOf(vector, BucketIndex(b)));
      const uint64_t begin = (base + part(BucketIndex(b)).begin) * sizeof(float);
      const std::span<const std::byte> from = image.subspan(begin, to.size());
      std::copy(from.begin(), from.end(), to.begin());
    }
  };
  load(masters_, 0);
  for (size_t i = 0; i < optimizer_.size(); ++i) load(optimizer_[i], (i + 1) * layout_.length());
  std::erase_if(taken_, [&](const auto& entry) {
    const auto& [round, bucket] = entry.first;
    return reset_momentum || round <= applied_rounds[bucket.value()];
  });
  if (reset_momentum) replicator_->Reset();
}

std::vector<Extent> RankState::LogicalRuns(BucketIndex bucket) const {
  const std::vector<uint64_t>& offsets = layout_.offsets();
  const std::vector<uint64_t>& counts = layout_.counts();
  const Extent extent = part(bucket);
  std::vector<Extent> runs;
  // Tensors ascend; the first to look at is the last that begins before the part, or the next.
  const auto after = std::upper_bound(offsets.begin(), offsets.end(), extent.begin);
  auto tensor = static_cast<size_t>(after - offsets.begin());
  if (tensor > 0) --tensor;
  for (; tensor < offsets.size() && offsets[tensor] < extent.end; ++tensor) {
    const uint64_t begin = std::max(offsets[tensor], extent.begin);
    const uint64_t end = std::min(offsets[tensor] + counts[tensor], extent.end);
    if (begin < end) runs.push_back({begin, end});
  }
  return runs;
}

uint64_t RankState::Hash(BucketIndex bucket) const {
  uint64_t hash = 0;
  for (const Extent& run : LogicalRuns(bucket)) {
    hash +=
        StateHash(run.begin, masters(bucket).subspan(run.begin - part(bucket).begin, run.size()));
  }
  return hash;
}

void RankState::FlipBit() {
  if (part(BucketIndex(0)).empty() || part(BucketIndex(0)).begin != 0) return;
  float* largest = nullptr;
  for (uint32_t b = 0; b < buckets_.count(); ++b) {
    const BucketIndex bucket(b);
    for (const Extent& run : LogicalRuns(bucket)) {
      for (float& master :
           PartOf(masters_, bucket).subspan(run.begin - part(bucket).begin, run.size())) {
        if (largest == nullptr || std::fabs(master) > std::fabs(*largest)) largest = &master;
      }
    }
  }
  if (largest == nullptr) return;
  *largest = std::bit_cast<float>(std::bit_cast<uint32_t>(*largest) ^ (uint32_t{1} << 22));
}

}  // namespace isthmus
