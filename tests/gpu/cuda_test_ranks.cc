// The tests of tests/worker/step with ranks on a GPU, which they share.
#include "common/gpu/cuda_gpu_kernels.h"
#include "tests/gpu/cuda_main.h"
#include "tests/worker/step/test_ranks.h"
#include "worker/step/gpu_ranks.h"

namespace isthmus {

std::unique_ptr<LocalRanks> MakeTestRanks(uint32_t count) {
  const std::shared_ptr<Device> device = OpenCudaDevice(0).value();
  const std::shared_ptr<const GpuKernels> kernels = MakeCudaGpuKernels();
  return MakeGpuRanks(std::vector<GpuRankPlace>(count, {device, kernels}));
}

}  // namespace isthmus

int main(int argc, char** argv) { return isthmus::RunCudaTests(argc, argv); }
