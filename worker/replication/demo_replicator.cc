#include "common/base/check.h"
#include "common/compression/block_transform.h"
#include "common/compression/dct.h"
#include "common/compression/demo_codec.h"
#include "worker/replication/part_momentum.h"
#include "worker/replication/replicator.h"

namespace isthmus {
namespace {

class DemoReplicator : public Replicator {
 public:
  DemoReplicator(const ReplicatorSpec& spec, const Buckets& buckets, uint32_t rank, uint32_t ranks)
      : spec_(spec),
        transform_(1, static_cast<int>(spec.format.chunk_size)),
        momentum_(buckets, rank, ranks, spec.format.chunk_size) {}

  const PayloadFormat& format() const override { return spec_.format; }

  void Accumulate(BucketIndex bucket, std::span<const float> gradient, float lr) override {
    AccumulateMomentum(transform_, spec_.decay, spec_.lr_in_momentum ? lr : 1.0f, gradient,
                       momentum_.of(bucket));
  }

  Selection Extract(BucketIndex bucket) override {
    return ExtractTopK(spec_.format, momentum_.first_chunk(bucket), momentum_.of(bucket));
  }

  void Return(BucketIndex bucket, const Selection& taken) override {
    momentum_.Return(bucket, taken);
  }

  void Reset() override { momentum_.Reset(); }

 private:
  const ReplicatorSpec spec_;
  const BlockTransform transform_;
  PartMomentum momentum_;
};

}  // namespace

std::unique_ptr<Replicator> MakeDemoReplicator(const ReplicatorSpec& spec, const Buckets& buckets,
                                               uint32_t rank, uint32_t ranks) {
  ISTHMUS_CHECK(spec.format.transform == Transform::kDct);
  ISTHMUS_CHECK(IsChunkSize(spec.format.chunk_size));
  ISTHMUS_CHECK(0 < spec.format.k && spec.format.k <= spec.format.chunk_size);
  return std::make_unique<DemoReplicator>(spec, buckets, rank, ranks);
}

}  // namespace isthmus
