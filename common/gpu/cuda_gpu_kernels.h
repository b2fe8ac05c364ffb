// The kernels for CUDA. Only where CUDA is.
#ifndef ISTHMUS_COMMON_GPU_CUDA_GPU_KERNELS_H_
#define ISTHMUS_COMMON_GPU_CUDA_GPU_KERNELS_H_

#include <memory>

#include "common/device/cuda_stream.h"
#include "common/gpu/gpu_kernels.h"

namespace isthmus {

// For streams of cuda_device.h.
std::unique_ptr<GpuKernels> MakeCudaGpuKernels();

// One source file each, for they take long to compile.
void LaunchExtract(CudaStream& stream, const ExtractParams& params);
void LaunchReturn(CudaStream& stream, const ReturnParams& params);
void LaunchApply(CudaStream& stream, const ApplyParams& params);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_CUDA_GPU_KERNELS_H_
