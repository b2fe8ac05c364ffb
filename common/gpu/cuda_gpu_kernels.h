// The kernels for CUDA.
#ifndef ISTHMUS_COMMON_GPU_CUDA_GPU_KERNELS_H_
#define ISTHMUS_COMMON_GPU_CUDA_GPU_KERNELS_H_

#include <memory>

#include "common/gpu/gpu_kernels.h"

namespace isthmus {

class CudaStream;  // common/device/cuda_stream.h

// For streams of cuda_device.h. CHECKs that the build has CUDA.
std::unique_ptr<GpuKernels> MakeCudaGpuKernels();

// One source file each, for they take long to compile.
void LaunchExtract(CudaStream& stream, const ExtractParams& params);
void LaunchReturn(CudaStream& stream, const ReturnParams& params);
void LaunchApply(CudaStream& stream, const ApplyParams& params);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_CUDA_GPU_KERNELS_H_
