// Starting a kernel of grid.h on a CUDA stream. For .cu files.
#ifndef ISTHMUS_COMMON_GPU_CUDA_LAUNCH_H_
#define ISTHMUS_COMMON_GPU_CUDA_LAUNCH_H_

#include "common/device/cuda_stream.h"
#include "common/device/grid.h"

namespace isthmus {

template <typename Kernel>
__global__ void RunOnDevice(const __grid_constant__ Kernel kernel) {
  CudaThread thread;
  kernel(thread);
}

// Queues one launch.
struct CudaLauncher {
  CudaStream& stream;
  const char* name;

  template <typename Kernel>
  void operator()(const Kernel& kernel, const GridShape& shape) const {
    UseDevice(stream.device());
    if (shape.shared_bytes > 48 << 10) {  // more has to be asked for
      stream.Check(
          cudaFuncSetAttribute(RunOnDevice<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shape.shared_bytes)),
          "cudaFuncSetAttribute", shape.shared_bytes);
    }
    cudaGetLastError();  // of another call that failed, and was told: not this launch's
    RunOnDevice<<<shape.blocks, shape.threads, shape.shared_bytes, stream.stream()>>>(kernel);
    stream.Check(cudaGetLastError(), name);
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_CUDA_LAUNCH_H_
