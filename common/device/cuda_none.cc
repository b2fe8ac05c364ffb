// A build without CUDA.
#include "common/device/cuda_device.h"

namespace isthmus {
namespace {

absl::Status NoCuda() {
  return absl::FailedPreconditionError("CUDA: this program was built without it");
}

}  // namespace

absl::StatusOr<int> CountCudaDevices() { return NoCuda(); }
absl::StatusOr<std::unique_ptr<Device>> OpenCudaDevice(int /*index*/) { return NoCuda(); }

}  // namespace isthmus
