// The CUDA stream behind a DeviceStream, for who launches kernels. Only where CUDA is.
#ifndef ISTHMUS_COMMON_DEVICE_CUDA_STREAM_H_
#define ISTHMUS_COMMON_DEVICE_CUDA_STREAM_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>

#include "common/device/device.h"

namespace isthmus {

// `error` as a status that names call, device and size; OK for cudaSuccess. RESOURCE_EXHAUSTED for
// too little memory, else INTERNAL.
absl::Status CudaStatus(cudaError_t error, const char* call, int device, size_t size_bytes = 0);

// Makes `device` the calling thread's: the runtime's calls, launches above all, are about that one.
// It stays so. (Going back would be to device 0 on a thread that had none, and make a context
// there.)
inline void UseDevice(int device) { cudaSetDevice(device); }

class CudaStream : public DeviceStream {
 public:
  static absl::StatusOr<std::unique_ptr<CudaStream>> Create(int device);
  ~CudaStream() override;

  cudaStream_t stream() const { return stream_; }
  int device() const { return device_; }
  // Remembers the first failure; launches report theirs here.
  void Check(cudaError_t error, const char* call, size_t size_bytes = 0);

  void CopyIn(void* device, const void* host, size_t size_bytes) override;
  void CopyOut(void* host, const void* device, size_t size_bytes) override;
  void Copy(void* to, const void* from, size_t size_bytes) override;
  void Zero(void* device, size_t size_bytes) override;
  std::shared_ptr<DeviceEvent> Record() override;
  void Wait(const std::shared_ptr<DeviceEvent>& event) override;
  absl::Status Synchronize() override;

 private:
  CudaStream(int device, cudaStream_t stream) : device_(device), stream_(stream) {}

  const int device_;
  const cudaStream_t stream_;
  absl::Status status_;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_DEVICE_CUDA_STREAM_H_
