#include "common/gpu/cuda_gpu_kernels.h"
#include "common/gpu/cuda_launch.h"

namespace isthmus {
namespace {

class CudaGpuKernels : public GpuKernels {
 public:
  void Extract(DeviceStream& stream, const ExtractParams& params) const override {
    LaunchExtract(static_cast<CudaStream&>(stream), params);
  }
  void Return(DeviceStream& stream, const ReturnParams& params) const override {
    LaunchReturn(static_cast<CudaStream&>(stream), params);
  }
  void Apply(DeviceStream& stream, const ApplyParams& params) const override {
    LaunchApply(static_cast<CudaStream&>(stream), params);
  }
  void FindUnusable(DeviceStream& stream, const UsableKernel& kernel) const override {
    CudaLauncher{static_cast<CudaStream&>(stream), "FindUnusable"}(kernel, FlatShape(kernel.fours));
  }
  void Hash(DeviceStream& stream, const HashKernel& kernel) const override {
    CudaLauncher{static_cast<CudaStream&>(stream), "Hash"}(kernel,
                                                           FlatShape(kernel.blocks_of_64 * 64));
  }
  void Widen(DeviceStream& stream, const WidenKernel& kernel) const override {
    CudaLauncher{static_cast<CudaStream&>(stream), "Widen"}(kernel, FlatShape(kernel.fours));
  }
  void Narrow(DeviceStream& stream, const NarrowKernel& kernel) const override {
    CudaLauncher{static_cast<CudaStream&>(stream), "Narrow"}(kernel, FlatShape(kernel.fours));
  }
  void TakeProgress(DeviceStream& stream, const ProgressKernel& kernel) const override {
    CudaLauncher{static_cast<CudaStream&>(stream), "TakeProgress"}(kernel, FlatShape(kernel.fours));
  }
  void AddWay(DeviceStream& stream, const AddWayKernel& kernel) const override {
    CudaLauncher{static_cast<CudaStream&>(stream), "AddWay"}(kernel, FlatShape(kernel.fours));
  }

 private:
  // A thread for each item, up to what fills a large GPU several times.
  static GridShape FlatShape(uint64_t items) {
    constexpr uint64_t kMost = 4096;
    const uint64_t blocks = (items + kFlatThreads - 1) / kFlatThreads;
    return {.blocks = static_cast<uint32_t>(blocks < kMost ? (blocks > 0 ? blocks : 1) : kMost),
            .threads = kFlatThreads,
            .shared_bytes = 0};
  }
};

}  // namespace

std::unique_ptr<GpuKernels> MakeCudaGpuKernels() { return std::make_unique<CudaGpuKernels>(); }

}  // namespace isthmus
