#include "common/gpu/cuda_gpu_kernels.h"
#include "common/gpu/cuda_launch.h"
#include "common/gpu/extract_kernel.h"
#include "common/gpu/launch_shape.h"

namespace isthmus {

void LaunchExtract(CudaStream& stream, const ExtractParams& params) {
  ForFormat<ExtractKernel, TakeBlocksKernel>(params.format.payload.block_scales, params,
                                             CudaLauncher{stream, "Extract"});
}

}  // namespace isthmus
