#include "worker/replication/shard_momentum.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/compression/tile_codec.h"

namespace isthmus {

ShardMomentum::ShardMomentum(MomentumLayout layout, const Shard& shard, uint32_t chunk_size) {
  ISTHMUS_CHECK(chunk_size > 0 && kUnitLength % chunk_size == 0);
  runs_.reserve(shard.runs().size());
  for (const Shard::Run& run : shard.runs()) {
    const ChunkRun chunks = ChunksOf(run.extent, chunk_size);
    const uint64_t length = layout == MomentumLayout::kTiles ? TiledLength(chunks.count, chunk_size)
                                                             : run.extent.size();
    runs_.push_back({chunks, std::vector<float>(length)});
  }
}

PayloadPlace ShardMomentum::place(Round round, size_t run) const {
  const ChunkRun& chunks = runs_[run].chunks;
  return {round.value(), chunks};
}

void ShardMomentum::Reset() {
  for (Run& run : runs_) std::ranges::fill(run.momentum, 0.0f);
}

}  // namespace isthmus
