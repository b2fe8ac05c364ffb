#include "worker/replication/shard_momentum.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/compression/dct.h"
#include "common/compression/tile_codec.h"

namespace isthmus {

ShardMomentum::ShardMomentum(MomentumLayout layout, bool transformed, const Shard& shard,
                             uint32_t chunk_size)
    : layout_(layout), transformed_(transformed) {
  ISTHMUS_CHECK(chunk_size > 0 && kUnitLength % chunk_size == 0);
  runs_.reserve(shard.runs().size());
  for (const Shard::Run& run : shard.runs()) {
    const ChunkRun chunks = ChunksOf(run.extent, chunk_size);
    runs_.push_back(
        {run.extent, chunk_size, chunks, std::vector<float>(LengthOf(chunks, chunk_size))});
  }
}

uint64_t ShardMomentum::LengthOf(const ChunkRun& chunks, uint32_t chunk_size) const {
  return layout_ == MomentumLayout::kTiles ? TiledLength(chunks.count, chunk_size)
                                           : chunks.count * chunk_size;
}

template <typename Move>
void ShardMomentum::ForEachInTiles(Run& run, Move move) {
  const uint64_t size = run.chunk_size;
  for (uint64_t chunk = 0; chunk < run.chunks.count; ++chunk) {
    float* const column = run.momentum.data() + chunk / kTileChunks * kTileChunks * size;
    for (uint64_t i = 0; i < size; ++i) {
      move(chunk * size + i, column[i * kTileChunks + chunk % kTileChunks]);
    }
  }
}

void ShardMomentum::Cut(size_t index, uint32_t chunk_size) {
  Run& run = runs_[index];
  if (run.chunk_size == chunk_size) return;
  ISTHMUS_CHECK(chunk_size > 0 && kUnitLength % chunk_size == 0);
  std::vector<float> rows;
  if (layout_ == MomentumLayout::kRows) {
    rows = std::move(run.momentum);
  } else {
    rows.resize(run.extent.size());
    ForEachInTiles(run, [&](uint64_t i, float value) { rows[i] = value; });
  }
  if (transformed_) {
    RecutDct(static_cast<int>(run.chunk_size), static_cast<int>(chunk_size), rows);
  }
  run.chunk_size = chunk_size;
  run.chunks = ChunksOf(run.extent, chunk_size);
  if (layout_ == MomentumLayout::kRows) {
    run.momentum = std::move(rows);
    return;
  }
  run.momentum.assign(LengthOf(run.chunks, chunk_size), 0.0f);
  ForEachInTiles(run, [&](uint64_t i, float& value) { value = rows[i]; });
}

PayloadPlace ShardMomentum::place(Round round, size_t run) const {
  const ChunkRun& chunks = runs_[run].chunks;
  return {round.value(), chunks};
}

void ShardMomentum::Reset() {
  for (Run& run : runs_) std::ranges::fill(run.momentum, 0.0f);
}

}  // namespace isthmus
