#include "worker/replication/replicator.h"

#include <algorithm>

namespace isthmus {
namespace {

// Some group sends every element: then nothing is selected, and rows do (tiles are for top-k).
bool SendsWholeChunks(const RunSpec& run) {
  const uint32_t size = run.format.chunk_size;
  return run.format.all.k == size ||
         std::ranges::any_of(run.format.own, [&](const auto& own) { return own.second.k == size; });
}

}  // namespace

std::unique_ptr<Replicator> MakeReplicator(const RunSpec& spec, const Shard& shard,
                                           const ReplicatorPlace& place) {
  if (spec.scheme == Scheme::kFlexDemo && !SendsWholeChunks(spec)) {
    return MakeTileReplicator(spec, shard, place);
  }
  return MakeRowReplicator(spec, shard, place);
}

}  // namespace isthmus
