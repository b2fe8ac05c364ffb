#include "common/base/check.h"
#include "worker/replication/row_replicator.h"

namespace isthmus {
namespace {

// What the momentum holds between rounds is only what rounding left and what a late contribution
// returned: no decay, and the learning rate never enters.
void AddGradient(std::span<const float> gradient, float /*scale*/, std::span<float> momentum) {
  for (size_t i = 0; i < momentum.size(); ++i) momentum[i] += gradient[i];
}

// Sends nothing: a payload without a single chunk in the place of its own.
class NoneReplicator : public RowReplicator {
 public:
  using RowReplicator::RowReplicator;

  Extraction AccumulateAndExtract(Round round, BucketIndex bucket, std::span<const float> gradient,
                                  float lr) override {
    Extraction taken = RowReplicator::AccumulateAndExtract(round, bucket, gradient, lr);
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
    RowReplicator::Return(round, bucket, own);
  }
};

}  // namespace

std::unique_ptr<Replicator> MakeFullReplicator(const RunSpec& run, const Buckets& buckets,
                                               const ReplicatorPlace& place) {
  ISTHMUS_CHECK(run.k == run.chunk_size);
  return std::make_unique<RowReplicator>(run, 1.0f, buckets, place, AddGradient);
}

std::unique_ptr<Replicator> MakeNoneReplicator(const RunSpec& run, const Buckets& buckets,
                                               const ReplicatorPlace& place) {
  ISTHMUS_CHECK(run.k == run.chunk_size);
  return std::make_unique<NoneReplicator>(run, 1.0f, buckets, place, AddGradient);
}

}  // namespace isthmus
