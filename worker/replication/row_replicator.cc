#include <optional>
#include <utility>

#include "common/base/check.h"
#include "common/compression/block_transform.h"
#include "common/compression/demo_codec.h"
#include "common/kernels/simd.h"
#include "worker/replication/part_momentum.h"
#include "worker/replication/replicator.h"

namespace isthmus {
namespace {

class RowReplicator : public Replicator {
 public:
  RowReplicator(const RunSpec& run, const Buckets& buckets, const ReplicatorPlace& place)
      : group_(place.group),
        policy_(PolicyOf(run)),
        formats_(run),
        momentum_(MomentumLayout::kRows, buckets, place, run.format.chunk_size) {
    if (formats_.FormatAt(Round(1), group_).transform == Transform::kDct) {
      transform_.emplace(1, static_cast<int>(run.format.chunk_size));
    }
  }

  void Accumulate(BucketIndex bucket, std::span<const float> gradient, float lr) override {
    const std::span<float> momentum = momentum_.of(bucket);
    ISTHMUS_CHECK(gradient.size() == momentum.size());
    if (transform_) {
      AccumulateMomentum(*transform_, policy_.decay, policy_.Scale(lr), gradient, momentum);
    } else {
      ActiveKernels().accumulate_flat(policy_.decay, policy_.Scale(lr), gradient.data(),
                                      momentum.data(), momentum.size());
    }
  }

  Extraction AccumulateAndExtract(Round round, BucketIndex bucket, std::span<const float> gradient,
                                  float lr) override {
    Accumulate(bucket, gradient, lr);
    Extraction extraction{.format = formats_.FormatAt(round, group_)};
    const PayloadFormat& format = extraction.format;
    const PayloadPlace place = momentum_.place(round, bucket);
    std::string payload;
    Selection taken = Extract(format, place, policy_.alpha, momentum_.of(bucket), &payload);
    extraction.payload = std::make_shared<const std::string>(std::move(payload));
    if (format.values == ValueFormat::kSign) extraction.exact = std::move(taken.values);
    if (!policy_.exchanges) {
      extraction.own = std::exchange(
          extraction.payload, std::make_shared<const std::string>(EncodeNothing(format, place)));
    }
    return extraction;
  }

  void Return(Round round, BucketIndex bucket, const Extraction& taken) override {
    absl::StatusOr<Selection> selection = DecodePayload(
        std::as_bytes(std::span(taken.applied())), taken.format, momentum_.place(round, bucket));
    ISTHMUS_CHECK(selection.ok());  // our own
    if (!taken.exact.empty()) selection->values = taken.exact;
    ReturnSelection(taken.format.chunk_size, policy_.alpha, *selection, momentum_.of(bucket));
  }

  void Reset() override { momentum_.Reset(); }

 private:
  const GroupId group_;
  const ExchangePolicy policy_;
  const RoundFormats formats_;
  std::optional<BlockTransform> transform_;
  PartMomentum momentum_;
};

}  // namespace

std::unique_ptr<Replicator> MakeRowReplicator(const RunSpec& run, const Buckets& buckets,
                                              const ReplicatorPlace& place) {
  return std::make_unique<RowReplicator>(run, buckets, place);
}

}  // namespace isthmus
