// The kernels of formats with a scale for each 64 elements, which send all of them as they are: a
// thread has one such block, whatever the chunk size. As extract_kernel.h and apply_kernel.h do for
// the rest, and held to the same by extract_kernel_test.cc and apply_kernel_test.cc.
#ifndef ISTHMUS_COMMON_GPU_SCALE_BLOCK_KERNELS_H_
#define ISTHMUS_COMMON_GPU_SCALE_BLOCK_KERNELS_H_

#include <stdint.h>

#include "common/gpu/apply_params.h"
#include "common/gpu/block_step.h"
#include "common/gpu/chunk_block.h"
#include "common/gpu/extract_kernel.h"
#include "common/gpu/scale_block.h"

namespace isthmus {

// A thread's place among blocks that are chunks of a grid of their own: momentum lies in its tiles.
template <typename Thread>
using ScaleBlockThread = ChunkThread<kScaleBlockLength, Thread>;

// Blocks of a chunk, and of all chunks of `params`.
ISTHMUS_KERNEL uint32_t BlocksOfChunk(const RecordFormat& format) {
  return format.payload.chunk_size / kScaleBlock;
}
template <typename Params>
constexpr uint64_t ScaleBlocksOf(const Params& params) {
  return params.chunks * (params.format.payload.chunk_size / kScaleBlock);
}

// Every record is written, absent or not; alpha is 1.
struct TakeBlocksKernel {
  ExtractParams params;

  static constexpr size_t kSharedBytes = sizeof(ChunkMemory<kScaleBlockLength>);

  template <typename Thread>
  ISTHMUS_KERNEL void operator()(Thread& thread) const {
    ScaleBlockThread<Thread> place(thread, ScaleBlocksOf(params));
    float values[kScaleBlockLength];
    place.LoadRows(params.gradient);
    place.Meet();
    place.LoadPart(values);
    AddToMomentum(place, params, 1.0f, values);
    if (params.extract) {
      place.Meet();  // rows have been read
      WithScaleBlock(params.format.payload.values,
                     [&](auto block) { Take<decltype(block)>(place, values); });
    }
    StoreMomentum(place, params, values);
  }

 private:
  // All: takes what is said out of `values`, and writes the records of all threads, which follow
  // one another, 16 bytes at a time.
  template <typename Block, typename Thread>
  ISTHMUS_KERNEL void Take(ScaleBlockThread<Thread>& place,
                           float (&values)[kScaleBlockLength]) const {
    static_assert(ScaleBlockThread<Thread>::Shape::kChunks * Block::kBytes % sizeof(Float4) == 0);
    Block taken;
    if (place.live()) taken = Block::Take(values);
    auto* const bytes = reinterpret_cast<unsigned char*>(place.memory().rows);
    taken.StoreBytes(bytes + place.lane() * Block::kBytes);
    place.Meet();
    const uint64_t begin = place.first_chunk() * Block::kBytes;
    const uint32_t size = place.block_chunks() * Block::kBytes;
    auto* const to = reinterpret_cast<Float4*>(params.records) + begin / sizeof(Float4);
    for (uint32_t i = place.lane(); i * sizeof(Float4) < size; i += kWarpThreads) {
      to[i] = reinterpret_cast<const Float4*>(bytes)[i];
    }
    if (taken.scale_code == 0) return;
    const uint64_t chunk = place.chunk() / BlocksOfChunk(params.format);
    place.thread().Or(params.presence + chunk / 32, uint32_t{1} << (chunk % 32));
  }
};

// Adds back what TakeBlocksKernel took.
struct ReturnBlocksKernel {
  ReturnParams params;

  static constexpr size_t kSharedBytes = sizeof(ChunkMemory<kScaleBlockLength>);

  template <typename Thread>
  ISTHMUS_KERNEL void operator()(Thread& thread) const {
    ScaleBlockThread<Thread> place(thread, ScaleBlocksOf(params));
    if (!place.live()) return;
    WithScaleBlock(params.format.payload.values,
                   [&](auto block) { Return<decltype(block)>(place); });
  }

 private:
  template <typename Block, typename Thread>
  ISTHMUS_KERNEL void Return(ScaleBlockThread<Thread>& place) const {
    const Block taken = Block::Load(params.records, place.chunk());
    if (taken.scale_code == 0) return;
    Float4* const momentum = place.Momentum(params.momentum);
    Float4 four;
    taken.ForEachValue([&](int i, float value) {
      Float4& at = momentum[i / 4 * ScaleBlockThread<Thread>::Shape::kChunks];
      if (i % 4 == 0) four = at;
      if (value != 0.0f) four.at[i % 4] += params.alpha * value;
      if (i % 4 == 3) at = four;
    });
  }
};

// Contributions, or a mean that was said in blocks again; of any formats that have them.
struct ApplyBlocksKernel {
  ApplyParams params;

  static constexpr size_t kSharedBytes = sizeof(ChunkMemory<kScaleBlockLength>);

  template <typename Thread>
  ISTHMUS_KERNEL void operator()(Thread& thread) const {
    ScaleBlockThread<Thread> place(thread, ScaleBlocksOf(params));
    float sums[kScaleBlockLength] = {};
    if (place.live()) {
      for (uint32_t i = 0; i < params.contribution_count; ++i) {
        Add(params.contributions[i], place.chunk(), sums);
      }
      if (params.merge == MergeRule::kMean && params.contribution_count > 1) Divide(sums);
    }
    place.StorePart(sums);
    place.Meet();
    BlockStep<kScaleBlockLength, Thread>::Run(place, params);
  }

 private:
  // What a contribution says of the `index`-th block that is applied, by its weight.
  ISTHMUS_KERNEL void Add(const ContributionRecords& contribution, uint64_t index,
                          float (&sums)[kScaleBlockLength]) const {
    const uint32_t blocks = BlocksOfChunk(params.format);
    const uint64_t chunk = params.first_chunk + index / blocks;
    const PartRecords* part = contribution.parts;
    while (chunk >= part->first_chunk + part->chunks) ++part;
    const RecordPlace at = FindRecord(part->presence, chunk - part->first_chunk);
    if (!at.present) return;
    const float weight = contribution.weight;
    WithScaleBlock(part->values, [&](auto block) {
      using Block = decltype(block);
      Block::Load(part->records, at.record * blocks + index % blocks)
          .ForEachValue([&](int i, float value) { sums[i] += weight * value; });
    });
  }

  // By the number of contributions; never -0. Division by a power of two is a product, of the same
  // bits.
  ISTHMUS_KERNEL void Divide(float (&sums)[kScaleBlockLength]) const {
    const uint32_t count = params.contribution_count;
    const bool exact = (count & (count - 1)) == 0;
    const auto by = static_cast<float>(count);
    const float part = 1.0f / by;
    ISTHMUS_KERNEL_UNROLL
    for (int i = 0; i < kScaleBlockLength; ++i) {
      sums[i] = (exact ? sums[i] * part : sums[i] / by) + 0.0f;
    }
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_SCALE_BLOCK_KERNELS_H_
