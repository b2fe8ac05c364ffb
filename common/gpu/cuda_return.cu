#include "common/gpu/cuda_gpu_kernels.h"
#include "common/gpu/cuda_launch.h"
#include "common/gpu/extract_kernel.h"
#include "common/gpu/launch_shape.h"

namespace isthmus {

void LaunchReturn(CudaStream& stream, const ReturnParams& params) {
  ForFormat<ReturnKernel, ReturnBlocksKernel>(params.format.payload.block_scales, params,
                                              CudaLauncher{stream, "Return"});
}

}  // namespace isthmus
