// How a block of threads shares out chunks: up to 64 elements of a chunk at a thread, the threads
// of a chunk kChunks apart, so that a warp does the same part of 32 chunks. Rows of the chunks lie
// in shared memory, four floats apart from a multiple of 128 bytes: reading a row each, or one row
// together, 16 bytes at a time, meets no memory bank twice.
#ifndef ISTHMUS_COMMON_GPU_CHUNK_BLOCK_H_
#define ISTHMUS_COMMON_GPU_CHUNK_BLOCK_H_

#include <stddef.h>
#include <stdint.h>

#include "common/device/grid.h"
#include "common/gpu/lane_tiles.h"
#include "common/kernels/tile_kernels.h"
#include "common/kernels/value_codes.h"

namespace isthmus {

// Of chunks of N elements, a power of two from 16 to 4096.
template <int N>
struct ChunkShape {
  static constexpr int kPart = N < 64 ? N : 64;                        // elements at a thread
  static constexpr int kParts = N / kPart;                             // threads of a chunk
  static constexpr int kChunks = static_cast<int>(LaneTileChunks(N));  // of a block: a tile
  static constexpr int kThreads = kParts * kChunks;
  static constexpr int kRow = N + 4;           // floats from row to row
  static constexpr int kWords = MaskWords(N);  // of a chunk's bit mask
  static constexpr uint64_t kAllOfPart =
      kPart == 64 ? ~uint64_t{0} : (uint64_t{1} << (kPart % 64)) - 1;

  static constexpr uint32_t Blocks(uint64_t chunks) {
    return static_cast<uint32_t>((chunks + kChunks - 1) / kChunks);
  }
};

// The shared memory of a block.
template <int N>
struct alignas(16) ChunkMemory {
  using Shape = ChunkShape<N>;
  float rows[Shape::kChunks * Shape::kRow];
  uint32_t masks[Shape::kChunks * Shape::kWords];
  uint32_t parts[Shape::kThreads];  // what the threads of a chunk tell each other
  uint32_t chunks[Shape::kChunks];  // what one of them tells the others
};

// One thread's place. Every method that says so is for all threads of the block together, also
// those whose chunk does not exist: they work on what happens to be there, and store nothing.
template <int N, typename Thread>
class ChunkThread {
 public:
  using Shape = ChunkShape<N>;
  using Memory = ChunkMemory<N>;

  // Of chunks [0, chunk_count), `thread`'s block has [first_chunk(), ...).
  ISTHMUS_KERNEL ChunkThread(Thread& thread, uint64_t chunk_count)
      : thread_(thread),
        memory_(reinterpret_cast<Memory*>(thread.shared())),
        part_(thread.index() / Shape::kChunks),
        lane_(thread.index() % Shape::kChunks),
        first_chunk_(uint64_t{thread.block()} * Shape::kChunks) {
    const uint64_t left = chunk_count - first_chunk_;
    block_chunks_ = left < Shape::kChunks ? static_cast<uint32_t>(left) : Shape::kChunks;
  }

  ISTHMUS_KERNEL Thread& thread() { return thread_; }
  ISTHMUS_KERNEL Memory& memory() { return *memory_; }
  ISTHMUS_KERNEL uint32_t part() const { return part_; }  // of its chunk
  ISTHMUS_KERNEL uint32_t lane() const { return lane_; }  // its chunk, within the block
  ISTHMUS_KERNEL uint64_t first_chunk() const { return first_chunk_; }
  ISTHMUS_KERNEL uint32_t block_chunks() const { return block_chunks_; }
  ISTHMUS_KERNEL uint64_t chunk() const { return first_chunk_ + lane_; }
  ISTHMUS_KERNEL bool live() const { return lane_ < block_chunks_; }  // its chunk exists
  ISTHMUS_KERNEL bool leads() const { return part_ == 0; }

  // Its chunk's, [N].
  ISTHMUS_KERNEL float* row() { return memory_->rows + lane_ * Shape::kRow; }
  ISTHMUS_KERNEL uint32_t* mask() { return memory_->masks + lane_ * Shape::kWords; }
  ISTHMUS_KERNEL uint32_t& shared_word() { return memory_->chunks[lane_]; }

  // All: what the threads of a chunk wrote before is seen after.
  ISTHMUS_KERNEL void Meet() {
    if constexpr (Shape::kThreads == kWarpThreads) {
      thread_.SyncWarp();
    } else {
      thread_.Sync();
    }
  }
  // All: true if `value` is at some thread of the block.
  ISTHMUS_KERNEL bool Any(bool value) {
    if constexpr (Shape::kThreads == kWarpThreads) return thread_.Ballot(value) != 0;
    return thread_.Any(value);
  }

  // All: the sum over the threads of a chunk, and over those before this one. Threads that share a
  // chunk have met when it ends.
  struct Sums {
    uint32_t before;
    uint32_t all;
  };
  ISTHMUS_KERNEL Sums Scan(uint32_t value) {
    if constexpr (Shape::kParts == 1) return {0, value};
    memory_->parts[thread_.index()] = value;
    Meet();
    Sums sums = {0, 0};
    for (uint32_t i = 0; i < Shape::kParts; ++i) {
      const uint32_t other = memory_->parts[i * Shape::kChunks + lane_];
      if (i < part_) sums.before += other;
      sums.all += other;
    }
    Meet();
    return sums;
  }

  // All: the sum over the threads of a chunk. Rounds as it likes.
  ISTHMUS_KERNEL float Sum(float value) {
    if constexpr (Shape::kParts == 1) return value;
    memory_->parts[thread_.index()] = FloatBits(value);
    Meet();
    float sum = 0.0f;
    for (uint32_t i = 0; i < Shape::kParts; ++i) {
      sum += FloatOf(memory_->parts[i * Shape::kChunks + lane_]);
    }
    Meet();
    return sum;
  }
  // All: whether no thread of the chunk has a larger value, and none before this one has the same.
  ISTHMUS_KERNEL bool IsFirstOfLargest(uint32_t value) {
    if constexpr (Shape::kParts == 1) return true;
    memory_->parts[thread_.index()] = value;
    Meet();
    bool first = true;
    for (uint32_t i = 0; i < Shape::kParts; ++i) {
      const uint32_t other = memory_->parts[i * Shape::kChunks + lane_];
      first &= i < part_ ? other < value : other <= value;
    }
    Meet();
    return first;
  }

  // The block's rows in the order in which memory has them, four elements at a time, from
  // first_chunk() on: of all `fours()`, this thread reads or writes Four(0) to Four(kPart / 4 - 1),
  // so that neighbours go side by side.
  ISTHMUS_KERNEL uint32_t fours() const { return block_chunks_ * (N / 4); }
  ISTHMUS_KERNEL uint32_t Four(int j) const {
    return thread_.index() + static_cast<uint32_t>(j) * Shape::kThreads;
  }
  ISTHMUS_KERNEL Float4& RowFour(uint32_t four) {
    return *(reinterpret_cast<Float4*>(memory_->rows + four / (N / 4) * Shape::kRow) +
             four % (N / 4));
  }
  // All: rows become those of `from`, [chunk_count, N], 16-byte aligned. A thread fills others'
  // rows: they must meet before and after.
  ISTHMUS_KERNEL void LoadRows(const float* from) {
    const auto* source = reinterpret_cast<const Float4*>(from + first_chunk_ * N);
    ISTHMUS_KERNEL_UNROLL
    for (int j = 0; j < Shape::kPart / 4; ++j) {
      if (const uint32_t i = Four(j); i < fours()) RowFour(i) = source[i];
    }
  }

  // This thread's part of its row, to registers and back.
  ISTHMUS_KERNEL void LoadPart(float (&values)[Shape::kPart]) {
    const auto* from = reinterpret_cast<const Float4*>(row() + part_ * Shape::kPart);
    ISTHMUS_KERNEL_UNROLL
    for (int i = 0; i < Shape::kPart / 4; ++i) {
      const Float4 four = from[i];
      for (int j = 0; j < 4; ++j) values[4 * i + j] = four.at[j];
    }
  }
  ISTHMUS_KERNEL void StorePart(const float (&values)[Shape::kPart]) {
    auto* to = reinterpret_cast<Float4*>(row() + part_ * Shape::kPart);
    ISTHMUS_KERNEL_UNROLL
    for (int i = 0; i < Shape::kPart / 4; ++i) {
      to[i] = {{values[4 * i], values[4 * i + 1], values[4 * i + 2], values[4 * i + 3]}};
    }
  }

  // Where fours of this thread's part lie in momentum (lane_tiles.h): the i-th at [i * kChunks].
  ISTHMUS_KERNEL Float4* Momentum(float* momentum) {
    return reinterpret_cast<Float4*>(momentum + first_chunk_ * N) +
           part_ * (Shape::kPart / 4) * Shape::kChunks + lane_;
  }

 private:
  Thread& thread_;
  Memory* const memory_;
  const uint32_t part_;
  const uint32_t lane_;
  const uint64_t first_chunk_;
  uint32_t block_chunks_;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_CHUNK_BLOCK_H_
