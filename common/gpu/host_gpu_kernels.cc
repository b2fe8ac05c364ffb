#include "common/device/host_device.h"
#include "common/device/host_grid.h"
#include "common/gpu/gpu_kernels.h"
#include "common/gpu/launch_shape.h"

namespace isthmus {
namespace {

// Queues one launch.
struct HostLauncher {
  DeviceStream& stream;
  uint64_t seed;

  template <typename Kernel>
  void operator()(const Kernel& kernel, const GridShape& shape) const {
    static_cast<HostStream&>(stream).Queue([kernel, shape, run_seed = seed] {
      RunOnHost(shape, run_seed, kernel);
      return absl::OkStatus();
    });
  }
};

class HostGpuKernels : public GpuKernels {
 public:
  explicit HostGpuKernels(uint64_t seed) : seed_(seed) {}

  void Extract(DeviceStream& stream, const ExtractParams& params) const override {
    ForFormat<ExtractKernel, TakeBlocksKernel>(params.format.payload.block_scales, params,
                                               HostLauncher{stream, seed_});
  }
  void Return(DeviceStream& stream, const ReturnParams& params) const override {
    ForFormat<ReturnKernel, ReturnBlocksKernel>(params.format.payload.block_scales, params,
                                                HostLauncher{stream, seed_});
  }
  void Apply(DeviceStream& stream, const ApplyParams& params) const override {
    ForFormat<ApplyKernel, ApplyBlocksKernel>(params.block_scales, params,
                                              HostLauncher{stream, seed_});
  }
  void FindUnusable(DeviceStream& stream, const UsableKernel& kernel) const override {
    HostLauncher{stream, seed_}(kernel, kFlatShape);
  }
  void Hash(DeviceStream& stream, const HashKernel& kernel) const override {
    HostLauncher{stream, seed_}(kernel, kFlatShape);
  }
  void Widen(DeviceStream& stream, const WidenKernel& kernel) const override {
    HostLauncher{stream, seed_}(kernel, kFlatShape);
  }
  void Narrow(DeviceStream& stream, const NarrowKernel& kernel) const override {
    HostLauncher{stream, seed_}(kernel, kFlatShape);
  }
  void TakeProgress(DeviceStream& stream, const ProgressKernel& kernel) const override {
    HostLauncher{stream, seed_}(kernel, kFlatShape);
  }
  void AddWay(DeviceStream& stream, const AddWayKernel& kernel) const override {
    HostLauncher{stream, seed_}(kernel, kFlatShape);
  }

 private:
  // Few: every thread is a fiber.
  static constexpr GridShape kFlatShape = {.blocks = 2, .threads = 64, .shared_bytes = 0};

  const uint64_t seed_;
};

}  // namespace

std::unique_ptr<GpuKernels> MakeHostGpuKernels(uint64_t seed) {
  return std::make_unique<HostGpuKernels>(seed);
}

}  // namespace isthmus
