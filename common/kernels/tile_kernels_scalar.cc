// One chunk at a time, in plain floats.
#include "common/kernels/tile_kernels_impl.h"

namespace isthmus {
const TileKernels kScalarKernels = MakeTileKernels<1>("scalar");
}  // namespace isthmus
