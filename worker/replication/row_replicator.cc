#include "worker/replication/row_replicator.h"

#include <utility>

#include "common/base/check.h"
#include "common/compression/demo_codec.h"

namespace isthmus {

RowReplicator::RowReplicator(const RunSpec& run, float alpha, const Buckets& buckets,
                             const ReplicatorPlace& place, Enter enter)
    : Replicator(ContributionFormat(run)),
      lr_in_momentum_(run.lr_in_momentum),
      alpha_(alpha),
      enter_(std::move(enter)),
      momentum_(MomentumLayout::kRows, buckets, place, run.chunk_size) {}

void RowReplicator::Accumulate(BucketIndex bucket, std::span<const float> gradient, float lr) {
  const std::span<float> momentum = momentum_.of(bucket);
  ISTHMUS_CHECK(gradient.size() == momentum.size());
  enter_(gradient, lr_in_momentum_ ? lr : 1.0f, momentum);
}

Extraction RowReplicator::AccumulateAndExtract(Round round, BucketIndex bucket,
                                               std::span<const float> gradient, float lr) {
  Accumulate(bucket, gradient, lr);
  std::string payload;
  Selection taken =
      Extract(format(), momentum_.place(round, bucket), alpha_, momentum_.of(bucket), &payload);
  Extraction extraction;
  extraction.payload = std::make_shared<const std::string>(std::move(payload));
  if (format().values == ValueFormat::kSign) extraction.exact = std::move(taken.values);
  return extraction;
}

void RowReplicator::Return(Round round, BucketIndex bucket, const Extraction& taken) {
  absl::StatusOr<Selection> selection = DecodePayload(std::as_bytes(std::span(*taken.payload)),
                                                      format(), momentum_.place(round, bucket));
  ISTHMUS_CHECK(selection.ok());  // our own
  if (!taken.exact.empty()) selection->values = taken.exact;
  ReturnSelection(format().chunk_size, alpha_, *selection, momentum_.of(bucket));
}

}  // namespace isthmus
