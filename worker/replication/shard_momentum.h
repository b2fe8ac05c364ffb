// The momentum of one rank: a vector for each run of its shard.
#ifndef ISTHMUS_WORKER_REPLICATION_SHARD_MOMENTUM_H_
#define ISTHMUS_WORKER_REPLICATION_SHARD_MOMENTUM_H_

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/ids.h"
#include "common/compression/payload.h"
#include "common/tensor/chunk_run.h"
#include "common/tensor/ownership.h"

namespace isthmus {

// How the chunks of a run lie in memory: one after the other, or in tiles of 16 side by side.
enum class MomentumLayout { kRows, kTiles };

// Single-threaded, as its replicator.
class ShardMomentum {
 public:
  // Zero, in blocks of `chunk_size`; in the frequency domain of these, if `transformed`.
  ShardMomentum(MomentumLayout layout, bool transformed, const Shard& shard, uint32_t chunk_size);

  // `run` counts the shard's.
  std::span<float> of(size_t run) { return runs_[run].momentum; }
  // The run's blocks become ones of `chunk_size`, by an inverse transform and a forward one.
  void Cut(size_t run, uint32_t chunk_size);
  // In the flat vector's chunk grid, which is the same for every rank.
  PayloadPlace place(Round round, size_t run) const;
  void Reset();

 private:
  struct Run {
    Extent extent;
    uint32_t chunk_size = 0;
    ChunkRun chunks;
    std::vector<float> momentum;
  };
  uint64_t LengthOf(const ChunkRun& chunks, uint32_t chunk_size) const;
  // Calls move(i, the `i`-th element of the run's blocks, one after the other).
  template <typename Move>
  static void ForEachInTiles(Run& run, Move move);

  const MomentumLayout layout_;
  const bool transformed_;
  std::vector<Run> runs_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_REPLICATION_SHARD_MOMENTUM_H_
