// A build without CUDA.
#include "common/base/check.h"
#include "common/gpu/cuda_gpu_kernels.h"

namespace isthmus {

std::unique_ptr<GpuKernels> MakeCudaGpuKernels() {
  ISTHMUS_CHECK(false);  // nobody has a CUDA stream to run them on: OpenCudaDevice() fails
  return nullptr;
}

}  // namespace isthmus
