// One chunk at a time, in plain floats: the specification of the others.
#include "common/kernels/tile_kernels_impl.h"

namespace isthmus {
const TileKernels kScalarKernels = MakeTileKernels<1>("scalar");
}  // namespace isthmus
