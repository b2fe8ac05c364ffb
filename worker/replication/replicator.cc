#include "worker/replication/replicator.h"

namespace isthmus {

std::unique_ptr<Replicator> MakeReplicator(const RunSpec& spec, const Shard& shard,
                                           const ReplicatorPlace& place) {
  if (spec.scheme == Scheme::kFlexDemo && !SendsWholeChunks(spec.format)) {
    return MakeTileReplicator(spec, shard, place);
  }
  return MakeRowReplicator(spec, shard);
}

}  // namespace isthmus
