#include "common/base/check.h"
#include "worker/replication/part_momentum.h"
#include "worker/replication/replicator.h"

namespace isthmus {
namespace {

// What it holds between rounds is only what rounding left and what a late contribution returned:
// no decay, and the learning rate never enters.
class FullReplicator : public Replicator {
 public:
  FullReplicator(const RunSpec& run, const Buckets& buckets, const ReplicatorPlace& place)
      : Replicator(ContributionFormat(run)),
        momentum_(MomentumLayout::kRows, buckets, place, run.chunk_size) {}

  void Accumulate(BucketIndex bucket, std::span<const float> gradient, float /*lr*/) override {
    const std::span<float> momentum = momentum_.of(bucket);
    ISTHMUS_CHECK(gradient.size() == momentum.size());
    for (size_t i = 0; i < momentum.size(); ++i) momentum[i] += gradient[i];
  }

  Extraction AccumulateAndExtract(Round round, BucketIndex bucket, std::span<const float> gradient,
                                  float lr) override {
    Accumulate(bucket, gradient, lr);
    return ExtractRows(format(), momentum_.place(round, bucket), 1.0f, momentum_.of(bucket));
  }

  void Return(Round round, BucketIndex bucket, const Extraction& taken) override {
    ReturnRows(format(), momentum_.place(round, bucket), 1.0f, taken, momentum_.of(bucket));
  }

  void Reset() override { momentum_.Reset(); }

 private:
  PartMomentum momentum_;
};

// The same, but for what is sent: a payload without a single chunk in the place of its own.
class NoneReplicator : public FullReplicator {
 public:
  using FullReplicator::FullReplicator;

  Extraction AccumulateAndExtract(Round round, BucketIndex bucket, std::span<const float> gradient,
                                  float lr) override {
    Extraction taken = FullReplicator::AccumulateAndExtract(round, bucket, gradient, lr);
    const absl::StatusOr<PayloadPlace> place =
        PayloadView::PeekPlace(std::as_bytes(std::span(*taken.payload)));
    ISTHMUS_CHECK(place.ok());
    Selection nothing{place->first_chunk,
                      place->chunk_count,
                      {},
                      std::vector<float>(place->chunk_count * format().k)};
    taken.own = taken.payload;
    taken.payload =
        std::make_shared<const std::string>(EncodePayload(format(), round.value(), nothing));
    return taken;
  }

  void Return(Round round, BucketIndex bucket, const Extraction& taken) override {
    Extraction own = taken;
    own.payload = taken.own;
    FullReplicator::Return(round, bucket, own);
  }
};

}  // namespace

std::unique_ptr<Replicator> MakeFullReplicator(const RunSpec& run, const Buckets& buckets,
                                               const ReplicatorPlace& place) {
  ISTHMUS_CHECK(run.k == run.chunk_size);
  return std::make_unique<FullReplicator>(run, buckets, place);
}

std::unique_ptr<Replicator> MakeNoneReplicator(const RunSpec& run, const Buckets& buckets,
                                               const ReplicatorPlace& place) {
  ISTHMUS_CHECK(run.k == run.chunk_size);
  return std::make_unique<NoneReplicator>(run, buckets, place);
}

}  // namespace isthmus
