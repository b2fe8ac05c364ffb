// Compiled for AVX2 and BMI2 (without FMA: products and sums are rounded apart).
#include "common/kernels/tile_kernels_impl.h"

#if defined(__x86_64__)
namespace isthmus {
const TileKernels kAvx2Kernels = MakeTileKernels<8>("avx2");
}  // namespace isthmus
#endif
