// The kernels of common/gpu on the streams of a device: one instance for CUDA
// (cuda_gpu_kernels.h), one for the host in its place.
#ifndef ISTHMUS_COMMON_GPU_GPU_KERNELS_H_
#define ISTHMUS_COMMON_GPU_GPU_KERNELS_H_

#include <cstdint>
#include <memory>

#include "common/device/device.h"
#include "common/gpu/apply_kernel.h"
#include "common/gpu/extract_kernel.h"
#include "common/gpu/flat_kernels.h"

namespace isthmus {

// Queues and returns; params are taken by value. Streams are those of the device that the kernels
// are for. Thread-safe for distinct streams.
class GpuKernels {
 public:
  virtual ~GpuKernels() = default;

  virtual void Extract(DeviceStream& stream, const ExtractParams& params) const = 0;
  virtual void Return(DeviceStream& stream, const ReturnParams& params) const = 0;
  virtual void Apply(DeviceStream& stream, const ApplyParams& params) const = 0;
  virtual void FindUnusable(DeviceStream& stream, const UsableKernel& kernel) const = 0;
  virtual void Hash(DeviceStream& stream, const HashKernel& kernel) const = 0;
  virtual void Widen(DeviceStream& stream, const WidenKernel& kernel) const = 0;
  virtual void Narrow(DeviceStream& stream, const NarrowKernel& kernel) const = 0;
  virtual void TakeProgress(DeviceStream& stream, const ProgressKernel& kernel) const = 0;
  virtual void AddWay(DeviceStream& stream, const AddWayKernel& kernel) const = 0;
};

// For HostDevice; threads run in the order of its seed.
std::unique_ptr<GpuKernels> MakeHostGpuKernels(uint64_t seed = 0);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_GPU_KERNELS_H_
