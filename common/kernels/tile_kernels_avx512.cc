// Compiled for AVX-512 F, BW, DQ, VL and BMI2.
#include "common/kernels/tile_kernels_impl.h"

#if defined(__x86_64__)
namespace isthmus {
const TileKernels kAvx512Kernels = MakeTileKernels<16>("avx512");
}  // namespace isthmus
#endif
