// Registers of 128 bits, which every machine of these architectures has.
#include "common/kernels/tile_kernels_impl.h"

namespace isthmus {
#if defined(__aarch64__)
const TileKernels kVector128Kernels = MakeTileKernels<4>("neon");
#else
const TileKernels kVector128Kernels = MakeTileKernels<4>("sse2");
#endif
}  // namespace isthmus
