#include "cli/bench/dense_workloads.h"

#include <algorithm>
#include <cstring>

#include "cli/bench/normal_numbers.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/mix64.h"
#include "common/compression/demo_codec.h"
#include "common/compression/intake.h"
#include "common/compression/prefetch.h"
#include "common/compression/state_hash.h"
#include "common/kernels/simd.h"

namespace isthmus {
namespace {

// As scheme local has it: a chunk is a block, and an update of many says twice the bits.
constexpr PayloadFormat k2Bit{.transform = Transform::kNone,
                              .chunk_size = kScaleBlock,
                              .k = kScaleBlock,
                              .values = ValueFormat::kTwoBit,
                              .block_scales = true};
// More than are forwarded.
constexpr int kManyGroups = 4;

std::span<const std::byte> Bytes(const std::string& s) { return std::as_bytes(std::span(s)); }

}  // namespace

DenseWorkloads::DenseWorkloads(const Options& options)
    : options_(options),
      format_{.contribution = k2Bit,
              .merge = MergeRule::kMean,
              .sign = false,
              .requantized = ValueFormat::kInt4},
      masters_(options.parameters),
      job_(options.parameters),
      momentum_(options.parameters),
      copy_(options.parameters),
      progress_(options.bucket),
      direction_(size_t{kScaleBlock} * kTileChunks),
      scratch_(format_, ActiveKernels()),
      payloads_(buckets()),
      others_(buckets()),
      requantized_(buckets()),
      contributions_(2) {
  ISTHMUS_CHECK(options.parameters % options.bucket == 0);
  ISTHMUS_CHECK(options.bucket % direction_.size() == 0);
  contributions_[1].parts.resize(1);
  FillNormal(1, masters_);
  std::vector<std::vector<std::string>> received(kManyGroups);
  for (size_t group = 0; group < received.size(); ++group) {
    FillNormal(group + 2, job_);
    for (size_t i = 0; i < job_.size(); ++i) job_[i] = masters_[i] + 0.01f * job_[i];
    std::ranges::fill(momentum_, 0.0f);
    Upload();
    received[group] = payloads_;
  }
  others_ = received[0];
  std::vector<PayloadView> views(received.size());
  std::vector<MergeInput> inputs(received.size());
  for (uint64_t bucket = 0; bucket < buckets(); ++bucket) {
    for (size_t group = 0; group < received.size(); ++group) {
      views[group] = *PayloadView::Parse(Bytes(received[group][bucket]), k2Bit, place(bucket));
      inputs[group].parts = {&views[group], 1};
    }
    requantized_[bucket] = EncodeUpdate(format_, place(bucket), inputs);
  }
}

PayloadPlace DenseWorkloads::place(uint64_t bucket) const {
  const uint64_t chunks = options_.bucket / kScaleBlock;
  return {1, {bucket * chunks, chunks}};
}

uint64_t DenseWorkloads::payload_bytes() const {
  uint64_t bytes = 0;
  for (const std::string& payload : payloads_) bytes += payload.size();
  return bytes;
}

uint64_t DenseWorkloads::requantized_bytes() const {
  uint64_t bytes = 0;
  for (const std::string& update : requantized_) bytes += update.size();
  return bytes;
}

uint64_t DenseWorkloads::hash() const {
  uint64_t hash = StateHash(0, masters_) + StateHash(masters_.size(), momentum_);
  for (const std::string& payload : payloads_) hash = Mix64(hash ^ Crc32c(Bytes(payload)));
  return hash;
}

void DenseWorkloads::Memcpy() {
  std::memcpy(copy_.data(), job_.data(), job_.size() * sizeof(float));
}

bool DenseWorkloads::TakeIn(uint64_t bucket) {
  return TakeProgress(Of(masters_, bucket), Of(job_, bucket), 1.0f, progress_);
}

void DenseWorkloads::Progress() {
  for (uint64_t bucket = 0; bucket < buckets(); ++bucket) ISTHMUS_CHECK(TakeIn(bucket));
}

void DenseWorkloads::Upload() {
  for (uint64_t bucket = 0; bucket < buckets(); ++bucket) {
    ISTHMUS_CHECK(TakeIn(bucket));
    AccumulateAndExtract(k2Bit, place(bucket), 1.0f, 1.0f, progress_, Of(momentum_, bucket),
                         writer_, &payloads_[bucket]);
  }
}

void DenseWorkloads::ApplyView(const UpdateView& view, uint64_t bucket, const PayloadView* own) {
  const PayloadPlace at = place(bucket);
  const std::span<float> masters = Of(masters_, bucket);
  const uint64_t batch = direction_.size();
  for (uint64_t begin = 0; begin < masters.size(); begin += batch) {
    const uint64_t next = begin + batch;
    scratch_.ahead = Prefetcher(masters.subspan(next, std::min(batch, masters.size() - next)));
    view.Direction(at.chunks.first + begin / kScaleBlock, direction_, own, scratch_);
    // At a rate that leaves masters where they are measured.
    ActiveKernels().sgd(1.0f, 1e-6f, direction_.data(), masters.data() + begin, batch);
  }
}

void DenseWorkloads::ApplyForwarded() {
  for (uint64_t bucket = 0; bucket < buckets(); ++bucket) {
    contributions_[1].parts[0] = Bytes(others_[bucket]);
    const absl::Status status = update_.SetContributions(contributions_, 0, format_, place(bucket));
    ISTHMUS_CHECK(status.ok());
    const auto own = PayloadView::ParseTrusted(Bytes(payloads_[bucket]), k2Bit, place(bucket));
    ISTHMUS_CHECK(own.ok());
    ApplyView(update_, bucket, &*own);
  }
}

void DenseWorkloads::ApplyRequantized() {
  for (uint64_t bucket = 0; bucket < buckets(); ++bucket) {
    ISTHMUS_CHECK(update_.SetPayload(Bytes(requantized_[bucket]), format_, place(bucket)).ok());
    ApplyView(update_, bucket, nullptr);
  }
}

}  // namespace isthmus
