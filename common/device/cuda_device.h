// NVIDIA GPUs. Links the CUDA runtime statically and no driver, so that a program starts where
// there is neither.
#ifndef ISTHMUS_COMMON_DEVICE_CUDA_DEVICE_H_
#define ISTHMUS_COMMON_DEVICE_CUDA_DEVICE_H_

#include <absl/status/statusor.h>

#include <memory>

#include "common/device/device.h"

namespace isthmus {

// How many GPUs there are. Errors: FAILED_PRECONDITION, in words, without a driver that this build
// can use; or where it was built without CUDA.
absl::StatusOr<int> CountCudaDevices();

// Errors: as CountCudaDevices(); NOT_FOUND for an index there is not.
absl::StatusOr<std::unique_ptr<Device>> OpenCudaDevice(int index);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_DEVICE_CUDA_DEVICE_H_
