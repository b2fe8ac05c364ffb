// What all schemes share whose momentum lies in rows: every one but FlexDeMo with a top k.
#ifndef ISTHMUS_WORKER_REPLICATION_ROW_REPLICATOR_H_
#define ISTHMUS_WORKER_REPLICATION_ROW_REPLICATOR_H_

#include <functional>
#include <span>

#include "worker/replication/part_momentum.h"
#include "worker/replication/replicator.h"

namespace isthmus {

class RowReplicator : public Replicator {
 public:
  // A scheme's own decision: how a part's gradient enters its momentum, which is as long. `scale`
  // is lr in runs with lr inside the momentum, else 1.
  using Enter =
      std::function<void(std::span<const float> gradient, float scale, std::span<float> momentum)>;

  // `alpha` is the share of what is sent that leaves the momentum.
  RowReplicator(const RunSpec& run, float alpha, const Buckets& buckets,
                const ReplicatorPlace& place, Enter enter);

  void Accumulate(BucketIndex bucket, std::span<const float> gradient, float lr) override;
  Extraction AccumulateAndExtract(Round round, BucketIndex bucket, std::span<const float> gradient,
                                  float lr) override;
  void Return(Round round, BucketIndex bucket, const Extraction& taken) override;
  void Reset() override { momentum_.Reset(); }

 private:
  const bool lr_in_momentum_;
  const float alpha_;
  const Enter enter_;
  PartMomentum momentum_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_REPLICATION_ROW_REPLICATOR_H_
