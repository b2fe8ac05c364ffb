#include <utility>

#include "common/base/check.h"
#include "common/compression/block_transform.h"
#include "common/compression/demo_codec.h"
#include "common/kernels/simd.h"
#include "worker/replication/part_momentum.h"
#include "worker/replication/row_replicator.h"

namespace isthmus {
namespace {

class DemoReplicator : public Replicator {
 public:
  DemoReplicator(const RunSpec& run, const Buckets& buckets, const ReplicatorPlace& place)
      : Replicator(ContributionFormat(run)),
        lr_in_momentum_(run.lr_in_momentum),
        codec_(format(), {.decay = run.decay, .alpha = run.alpha}, ActiveKernels(), place.threads,
               place.parallel),
        momentum_(MomentumLayout::kTiles, buckets, place, run.chunk_size) {}

  void Accumulate(BucketIndex bucket, std::span<const float> gradient, float lr) override {
    codec_.Accumulate(Scale(lr), gradient, momentum_.of(bucket));
  }

  Extraction AccumulateAndExtract(Round round, BucketIndex bucket, std::span<const float> gradient,
                                  float lr) override {
    Extraction taken;
    std::string payload;
    codec_.AccumulateAndExtract(momentum_.place(round, bucket), Scale(lr), gradient,
                                momentum_.of(bucket), &payload, &taken.exact);
    taken.payload = std::make_shared<const std::string>(std::move(payload));
    return taken;
  }

  void Return(Round round, BucketIndex bucket, const Extraction& taken) override {
    const auto view = PayloadView::ParseTrusted(std::as_bytes(std::span(*taken.payload)), format(),
                                                momentum_.place(round, bucket));
    ISTHMUS_CHECK(view.ok());  // our own
    codec_.Return(*view, taken.exact, momentum_.of(bucket));
  }

  void Reset() override { momentum_.Reset(); }

 private:
  float Scale(float lr) const { return lr_in_momentum_ ? lr : 1.0f; }

  const bool lr_in_momentum_;
  TileCodec codec_;
  PartMomentum momentum_;
};

// k = chunk_size: every coefficient is sent, and nothing is selected.
std::unique_ptr<Replicator> MakeWholeDemoReplicator(const RunSpec& run, const Buckets& buckets,
                                                    const ReplicatorPlace& place) {
  return std::make_unique<RowReplicator>(
      run, run.alpha, buckets, place,
      [transform = BlockTransform(1, static_cast<int>(run.chunk_size)), decay = run.decay](
          std::span<const float> gradient, float scale, std::span<float> momentum) {
        AccumulateMomentum(transform, decay, scale, gradient, momentum);
      });
}

}  // namespace

std::unique_ptr<Replicator> MakeDemoReplicator(const RunSpec& run, const Buckets& buckets,
                                               const ReplicatorPlace& place) {
  ISTHMUS_CHECK(run.scheme == Scheme::kFlexDemo);
  if (run.k == run.chunk_size) return MakeWholeDemoReplicator(run, buckets, place);
  return std::make_unique<DemoReplicator>(run, buckets, place);
}

}  // namespace isthmus
