#include <utility>

#include "common/base/check.h"
#include "common/compression/block_transform.h"
#include "common/compression/demo_codec.h"
#include "common/kernels/simd.h"
#include "worker/replication/replicator.h"
#include "worker/replication/shard_momentum.h"

namespace isthmus {
namespace {

class RowReplicator : public Replicator {
 public:
  RowReplicator(const RunSpec& spec, const Shard& shard)
      : policy_(PolicyOf(spec)),
        transformed_(SelectionOf(spec) == SelectionKind::kDct),
        momentum_(MomentumLayout::kRows, transformed_, shard, spec.format.chunk_size) {}

  void Accumulate(const PayloadFormat& format, size_t run, std::span<const float> gradient,
                  float lr) override {
    momentum_.Cut(run, format.chunk_size);
    const std::span<float> momentum = momentum_.of(run);
    ISTHMUS_CHECK(gradient.size() == momentum.size());
    if (transformed_) {
      AccumulateMomentum(BlockTransform(1, static_cast<int>(format.chunk_size)), policy_.decay,
                         policy_.Scale(lr), gradient, momentum);
    } else {
      ActiveKernels().accumulate_flat(policy_.decay, policy_.Scale(lr), gradient.data(),
                                      momentum.data(), momentum.size());
    }
  }

  Extraction AccumulateAndExtract(const PayloadFormat& format, Round round, size_t run,
                                  std::span<const float> gradient, float lr) override {
    momentum_.Cut(run, format.chunk_size);
    Extraction extraction{.format = format};
    const PayloadPlace place = momentum_.place(round, run);
    std::string payload;
    if (format.block_scales) {
      ISTHMUS_CHECK(policy_.alpha == 1.0f);
      isthmus::AccumulateAndExtract(format, place, policy_.decay, policy_.Scale(lr), gradient,
                                    momentum_.of(run), writer_, &payload);
    } else {
      Accumulate(format, run, gradient, lr);
      Selection taken = Extract(format, place, policy_.alpha, momentum_.of(run), &payload);
      if (format.values == ValueFormat::kSign) extraction.exact = std::move(taken.values);
    }
    extraction.payload = std::make_shared<const std::string>(std::move(payload));
    if (!policy_.exchanges) {
      extraction.own = std::exchange(
          extraction.payload, std::make_shared<const std::string>(EncodeNothing(format, place)));
    }
    return extraction;
  }

  void Return(Round round, size_t run, const Extraction& taken) override {
    absl::StatusOr<Selection> selection = DecodePayload(std::as_bytes(std::span(taken.applied())),
                                                        taken.format, momentum_.place(round, run));
    ISTHMUS_CHECK(selection.ok());  // our own
    if (!taken.exact.empty()) selection->values = taken.exact;
    ReturnSelection(taken.format.chunk_size, policy_.alpha, *selection, momentum_.of(run));
  }

  void Reset() override { momentum_.Reset(); }

 private:
  const ExchangePolicy policy_;
  const bool transformed_;
  ShardMomentum momentum_;
  PayloadWriter writer_;
};

}  // namespace

std::unique_ptr<Replicator> MakeRowReplicator(const RunSpec& spec, const Shard& shard) {
  return std::make_unique<RowReplicator>(spec, shard);
}

}  // namespace isthmus
