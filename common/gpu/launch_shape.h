// Which instance of a kernel runs for a chunk size, and on what grid.
#ifndef ISTHMUS_COMMON_GPU_LAUNCH_SHAPE_H_
#define ISTHMUS_COMMON_GPU_LAUNCH_SHAPE_H_

#include <cstdint>

#include "common/base/check.h"
#include "common/device/grid.h"
#include "common/gpu/chunk_block.h"
#include "common/gpu/scale_block_kernels.h"

namespace isthmus {

// Calls run(kernel, shape) with Kernel<chunk_size>{params}, for params.chunks chunks. Nothing for
// none. CHECKs that chunk_size is a power of two from 16 to 4096.
template <template <int> class Kernel, typename Params, typename Run>
void ForChunkSize(uint32_t chunk_size, const Params& params, const Run& run) {
  if (params.chunks == 0) return;
  const auto of = [&]<int N>(Kernel<N> kernel) {
    run(kernel, GridShape{.blocks = ChunkShape<N>::Blocks(params.chunks),
                          .threads = ChunkShape<N>::kThreads,
                          .shared_bytes = Kernel<N>::kSharedBytes});
  };
  switch (chunk_size) {
    case 16:
      return of(Kernel<16>{params});
    case 32:
      return of(Kernel<32>{params});
    case 64:
      return of(Kernel<64>{params});
    case 128:
      return of(Kernel<128>{params});
    case 256:
      return of(Kernel<256>{params});
    case 512:
      return of(Kernel<512>{params});
    case 1024:
      return of(Kernel<1024>{params});
    case 2048:
      return of(Kernel<2048>{params});
    case 4096:
      return of(Kernel<4096>{params});
  }
  ISTHMUS_CHECK(false);
}

// The same; of records with block scales OfBlocks{params}.
template <template <int> class OfChunks, typename OfBlocks, typename Params, typename Run>
void ForFormat(bool block_scales, const Params& params, const Run& run) {
  const uint32_t chunk_size = params.format.payload.chunk_size;
  if (!block_scales) return ForChunkSize<OfChunks>(chunk_size, params, run);
  ISTHMUS_CHECK(chunk_size % kScaleBlock == 0);
  if (params.chunks == 0) return;
  using Shape = ChunkShape<static_cast<int>(kScaleBlock)>;
  run(OfBlocks{params}, GridShape{.blocks = Shape::Blocks(ScaleBlocksOf(params)),
                                  .threads = Shape::kThreads,
                                  .shared_bytes = OfBlocks::kSharedBytes});
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_LAUNCH_SHAPE_H_
