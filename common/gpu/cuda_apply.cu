#include "common/gpu/apply_kernel.h"
#include "common/gpu/cuda_gpu_kernels.h"
#include "common/gpu/cuda_launch.h"
#include "common/gpu/launch_shape.h"

namespace isthmus {

void LaunchApply(CudaStream& stream, const ApplyParams& params) {
  ForFormat<ApplyKernel, ApplyBlocksKernel>(params.block_scales, params,
                                            CudaLauncher{stream, "Apply"});
}

}  // namespace isthmus
