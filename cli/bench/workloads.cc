#include "cli/bench/workloads.h"

#include <algorithm>
#include <cstring>

#include "cli/bench/normal_numbers.h"
#include "common/base/check.h"
#include "common/compression/prefetch.h"
#include "common/compression/state_hash.h"
#include "common/kernels/simd.h"

namespace isthmus {
namespace {

std::span<const std::byte> Bytes(const std::string& s) { return std::as_bytes(std::span(s)); }

}  // namespace

Workloads::Workloads(const Options& options)
    : options_(options),
      update_format_{.contribution = options.format},
      gradient_(options.parameters),
      momentum_(options.parameters),
      parameters_(options.parameters),
      direction_(options.format.chunk_size * kTileChunks),
      codec_(options.format, {}, ActiveKernels(), options.threads, options.parallel),
      merger_(update_format_.merge, options.format.chunk_size, options.format.k, ActiveKernels()),
      scratch_(update_format_, ActiveKernels()),
      payloads_(buckets()),
      received_(static_cast<size_t>(options.groups)),
      signs_(buckets()),
      views_(static_cast<size_t>(options.groups)),
      contributions_(static_cast<size_t>(options.groups)) {
  ISTHMUS_CHECK(options.parameters % options.bucket == 0);
  ISTHMUS_CHECK(options.bucket % (kTileChunks * options.format.chunk_size) == 0);
  for (size_t group = 0; group < received_.size(); ++group) {
    FillNormal(group + 1, gradient_);
    std::ranges::fill(momentum_, 0.0f);
    Compress();
    received_[group] = payloads_;
    contributions_[group].parts.resize(1);
  }
  std::vector<MergeInput> inputs(received_.size());
  for (uint64_t bucket = 0; bucket < buckets(); ++bucket) {
    for (size_t group = 0; group < received_.size(); ++group) {
      views_[group] =
          *PayloadView::Parse(Bytes(received_[group][bucket]), options_.format, place(bucket));
      inputs[group].parts = {&views_[group], 1};
    }
    signs_[bucket] = EncodeUpdate(update_format_, place(bucket), inputs);
  }
}

PayloadPlace Workloads::place(uint64_t bucket) const {
  const uint64_t chunks = options_.bucket / options_.format.chunk_size;
  return {1, {bucket * chunks, chunks}};
}

uint64_t Workloads::components() const {
  return options_.parameters / options_.format.chunk_size * options_.format.k;
}

uint64_t Workloads::payload_bytes() const {
  uint64_t bytes = 0;
  for (const std::string& payload : payloads_) bytes += payload.size();
  return bytes;
}

uint64_t Workloads::signs_bytes() const {
  uint64_t bytes = 0;
  for (const std::string& update : signs_) bytes += update.size();
  return bytes;
}

void Workloads::Memcpy() {
  std::memcpy(parameters_.data(), gradient_.data(), gradient_.size() * sizeof(float));
}

void Workloads::MomentumUpdate() {
  ActiveKernels().accumulate_flat(0.999f, 1.0f, gradient_.data(), parameters_.data(),
                                  parameters_.size());
}

void Workloads::Compress() {
  for (uint64_t bucket = 0; bucket < buckets(); ++bucket) {
    const uint64_t begin = bucket * options_.bucket;
    codec_.AccumulateAndExtract(
        place(bucket), 1.0f, std::span(gradient_).subspan(begin, options_.bucket),
        std::span(momentum_).subspan(begin, options_.bucket), &payloads_[bucket], &exact_);
  }
}

void Workloads::Merge() {
  const bool sign_tiles = HasSignTiles(options_.format);
  for (uint64_t bucket = 0; bucket < buckets(); ++bucket) {
    const PayloadPlace at = place(bucket);
    for (size_t group = 0; group < received_.size(); ++group) {
      auto view = PayloadView::Parse(Bytes(received_[group][bucket]), options_.format, at);
      ISTHMUS_CHECK(view.ok());
      views_[group] = *view;
    }
    for (uint64_t chunk = 0; chunk < at.chunks.count; chunk += kTileChunks) {
      merger_.Begin(sign_tiles);
      for (const PayloadView& view : views_) {
        merger_.Add(view, 1.0f, at.chunks.first + chunk, kTileChunks);
      }
      merger_.Finish(views_.size());
    }
  }
}

void Workloads::ApplyView(const UpdateView& view, uint64_t bucket, const PayloadView* own) {
  const uint64_t batch = options_.format.chunk_size * kTileChunks;
  const PayloadPlace at = place(bucket);
  const std::span<float> parameters =
      std::span(parameters_).subspan(bucket * options_.bucket, options_.bucket);
  for (uint64_t begin = 0; begin < parameters.size(); begin += batch) {
    const uint64_t next = begin + batch;
    scratch_.ahead =
        Prefetcher(parameters.subspan(next, std::min(batch, parameters.size() - next)));
    view.Direction(at.chunks.first + begin / options_.format.chunk_size, direction_, own, scratch_);
    ActiveKernels().sgd(1.0f, 1e-3f, direction_.data(), parameters.data() + begin, batch);
  }
}

void Workloads::ApplyContributions() {
  for (uint64_t bucket = 0; bucket < buckets(); ++bucket) {
    for (size_t group = 1; group < received_.size(); ++group) {
      contributions_[group].parts[0] = Bytes(received_[group][bucket]);
    }
    const absl::Status status =
        update_.SetContributions(contributions_, 0, update_format_, place(bucket));
    ISTHMUS_CHECK(status.ok());
    const auto own =  // as a worker reads what it sent itself
        PayloadView::ParseTrusted(Bytes(received_[0][bucket]), options_.format, place(bucket));
    ISTHMUS_CHECK(own.ok());
    ApplyView(update_, bucket, &*own);
  }
}

void Workloads::ApplySigns() {
  for (uint64_t bucket = 0; bucket < buckets(); ++bucket) {
    const auto view = UpdateView::Parse(Bytes(signs_[bucket]), update_format_, place(bucket));
    ISTHMUS_CHECK(view.ok());
    ApplyView(*view, bucket, nullptr);
  }
}

void Workloads::Hash() { hash_ = StateHash(0, parameters_); }

}  // namespace isthmus
