#include "common/base/check.h"
#include "common/compression/demo_codec.h"
#include "worker/replication/part_momentum.h"
#include "worker/replication/replicator.h"

namespace isthmus {
namespace {

// What it holds between rounds is only what rounding left and what a late contribution returned:
// no decay, and the learning rate never enters.
class FullReplicator : public Replicator {
 public:
  FullReplicator(const PayloadFormat& format, const Buckets& buckets, uint32_t rank, uint32_t ranks)
      : format_(format), momentum_(buckets, rank, ranks, format.chunk_size) {}

  const PayloadFormat& format() const override { return format_; }

  void Accumulate(BucketIndex bucket, std::span<const float> gradient, float /*lr*/) override {
    const std::span<float> momentum = momentum_.of(bucket);
    ISTHMUS_CHECK(gradient.size() == momentum.size());
    for (size_t i = 0; i < momentum.size(); ++i) momentum[i] += gradient[i];
  }

  Selection Extract(BucketIndex bucket) override {
    return ExtractAll(format_, momentum_.first_chunk(bucket), momentum_.of(bucket));
  }

  void Return(BucketIndex bucket, const Selection& taken) override {
    momentum_.Return(bucket, taken);
  }

  void Reset() override { momentum_.Reset(); }

 private:
  const PayloadFormat format_;
  PartMomentum momentum_;
};

}  // namespace

std::unique_ptr<Replicator> MakeFullReplicator(const ReplicatorSpec& spec, const Buckets& buckets,
                                               uint32_t rank, uint32_t ranks) {
  ISTHMUS_CHECK(spec.format.transform == Transform::kNone);
  ISTHMUS_CHECK(spec.format.k == spec.format.chunk_size);
  return std::make_unique<FullReplicator>(spec.format, buckets, rank, ranks);
}

}  // namespace isthmus
