#include "common/base/check.h"
#include "common/kernels/simd.h"
#include "worker/replication/part_momentum.h"
#include "worker/replication/replicator.h"

namespace isthmus {
namespace {

class PositionsReplicator : public Replicator {
 public:
  PositionsReplicator(const RunSpec& run, const Buckets& buckets, const ReplicatorPlace& place)
      : Replicator(ContributionFormat(run)),
        run_(run),
        momentum_(MomentumLayout::kRows, buckets, place, run.chunk_size) {}

  void Accumulate(BucketIndex bucket, std::span<const float> gradient, float lr) override {
    const std::span<float> momentum = momentum_.of(bucket);
    ISTHMUS_CHECK(gradient.size() == momentum.size());
    ActiveKernels().accumulate_flat(run_.decay, run_.lr_in_momentum ? lr : 1.0f, gradient.data(),
                                    momentum.data(), momentum.size());
  }

  Extraction AccumulateAndExtract(Round round, BucketIndex bucket, std::span<const float> gradient,
                                  float lr) override {
    Accumulate(bucket, gradient, lr);
    return ExtractRows(format(), momentum_.place(round, bucket), run_.alpha, momentum_.of(bucket));
  }

  void Return(Round round, BucketIndex bucket, const Extraction& taken) override {
    ReturnRows(format(), momentum_.place(round, bucket), run_.alpha, taken, momentum_.of(bucket));
  }

  void Reset() override { momentum_.Reset(); }

 private:
  const RunSpec run_;
  PartMomentum momentum_;
};

}  // namespace

std::unique_ptr<Replicator> MakePositionsReplicator(const RunSpec& run, const Buckets& buckets,
                                                    const ReplicatorPlace& place) {
  ISTHMUS_CHECK(HasPositions(run.chunk_size, run.k));
  return std::make_unique<PositionsReplicator>(run, buckets, place);
}

}  // namespace isthmus
