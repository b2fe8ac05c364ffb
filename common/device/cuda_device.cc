#include "common/device/cuda_device.h"

#include <absl/strings/str_cat.h>
#include <cuda_runtime_api.h>

#include <cstring>
#include <utility>

#include "common/base/status_macros.h"
#include "common/device/cuda_stream.h"

namespace isthmus {
namespace {

class CudaEvent : public DeviceEvent {
 public:
  CudaEvent(int device, cudaEvent_t event) : device_(device), event_(event) {}
  ~CudaEvent() override {
    UseDevice(device_);
    cudaEventDestroy(event_);
  }
  cudaEvent_t event() const { return event_; }
  bool Done() override { return cudaEventQuery(event_) != cudaErrorNotReady; }
  void Await() override { cudaEventSynchronize(event_); }

 private:
  const int device_;
  const cudaEvent_t event_;
};

// Apart from others: a handle gives access to whole blocks of this size.
constexpr size_t kSharedBytes = size_t{2} << 20;

static_assert(sizeof(cudaIpcMemHandle_t) == sizeof(DeviceHandle));
static_assert(sizeof(cudaIpcEventHandle_t) == sizeof(DeviceHandle));

class CudaSharedEvent : public SharedDeviceEvent {
 public:
  CudaSharedEvent(int device, cudaEvent_t event, const DeviceHandle& handle)
      : device_(device), event_(event), handle_(handle) {}
  ~CudaSharedEvent() override {
    UseDevice(device_);
    cudaEventDestroy(event_);
  }
  const DeviceHandle& handle() const override { return handle_; }
  void Record(DeviceStream& stream) override {
    auto& cuda = static_cast<CudaStream&>(stream);
    UseDevice(cuda.device());
    cuda.Check(cudaEventRecord(event_, cuda.stream()), "cudaEventRecord, shared");
  }
  bool Done() override {
    UseDevice(device_);
    return cudaEventQuery(event_) != cudaErrorNotReady;
  }

 private:
  const int device_;
  const cudaEvent_t event_;
  const DeviceHandle handle_;
};

class CudaDevice : public Device {
 public:
  CudaDevice(int index, const cudaDeviceProp& properties)
      : index_(index), name_(absl::StrCat("cuda:", index, " (", properties.name, ")")) {
    static_assert(sizeof(properties.uuid) == sizeof(Uuid));
    std::memcpy(uuid_.data(), &properties.uuid, sizeof(Uuid));
  }

  ~CudaDevice() override { FreeLeft(); }

  std::string name() const override { return name_; }

  absl::StatusOr<DeviceMemory> Allocate(size_t size_bytes) override {
    UseDevice(index_);
    void* data = nullptr;
    cudaError_t error = cudaMalloc(&data, size_bytes);
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // or the next call would report it again
      if (FreeLeft()) {
        error = cudaMalloc(&data, size_bytes);
        cudaGetLastError();
      }
    }
    if (error == cudaErrorMemoryAllocation) {
      size_t free_bytes = 0, all_bytes = 0;
      cudaMemGetInfo(&free_bytes, &all_bytes);
      return absl::ResourceExhaustedError(absl::StrCat(name_, ": ", size_bytes, " bytes needed, ",
                                                       free_bytes, " of ", all_bytes, " free"));
    }
    ISTHMUS_RETURN_IF_ERROR(CudaStatus(error, "cudaMalloc", index_, size_bytes));
    return DeviceMemory(this, data, size_bytes, false);
  }

  absl::StatusOr<DeviceMemory> AllocatePinned(size_t size_bytes) override {
    UseDevice(index_);
    void* data = nullptr;
    ISTHMUS_RETURN_IF_ERROR(CudaStatus(cudaHostAlloc(&data, size_bytes, cudaHostAllocDefault),
                                       "cudaHostAlloc", index_, size_bytes));
    return DeviceMemory(this, data, size_bytes, true);
  }

  absl::StatusOr<std::unique_ptr<DeviceStream>> MakeStream() override {
    return CudaStream::Create(index_);
  }

  Uuid uuid() const override { return uuid_; }

  absl::StatusOr<SharedDeviceMemory> AllocateShared(size_t size_bytes) override {
    const size_t whole = (size_bytes + kSharedBytes - 1) / kSharedBytes * kSharedBytes;
    SharedDeviceMemory shared;
    ISTHMUS_ASSIGN_OR_RETURN(shared.memory, Allocate(whole));
    UseDevice(index_);
    ISTHMUS_RETURN_IF_ERROR(
        CudaStatus(cudaMemset(shared.memory.data(), 0, whole), "cudaMemset", index_, whole));
    ISTHMUS_RETURN_IF_ERROR(
        CudaStatus(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize", index_));
    cudaIpcMemHandle_t handle;
    ISTHMUS_RETURN_IF_ERROR(
        Shareable(cudaIpcGetMemHandle(&handle, shared.memory.data()), "cudaIpcGetMemHandle"));
    std::memcpy(shared.handle.data(), &handle, sizeof(handle));
    return shared;
  }

  absl::StatusOr<std::unique_ptr<SharedDeviceEvent>> MakeSharedEvent() override {
    UseDevice(index_);
    cudaEvent_t event = nullptr;
    ISTHMUS_RETURN_IF_ERROR(
        CudaStatus(cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventInterprocess),
                   "cudaEventCreateWithFlags, interprocess", index_));
    cudaIpcEventHandle_t handle;
    const absl::Status status =
        Shareable(cudaIpcGetEventHandle(&handle, event), "cudaIpcGetEventHandle");
    if (!status.ok()) {
      cudaEventDestroy(event);
      return status;
    }
    DeviceHandle bytes;
    std::memcpy(bytes.data(), &handle, sizeof(handle));
    return std::make_unique<CudaSharedEvent>(index_, event, bytes);
  }

 private:
  // As CudaStatus; what the system does not allow is FAILED_PRECONDITION.
  absl::Status Shareable(cudaError_t error, const char* call) const {
    const absl::Status status = CudaStatus(error, call, index_);
    if (status.ok()) return status;
    cudaGetLastError();
    return absl::FailedPreconditionError(status.message());
  }

  void Free(const DeviceMemory& memory) override {
    UseDevice(index_);
    if (memory.pinned()) {
      cudaFreeHost(memory.data());
    } else {
      cudaFree(memory.data());
    }
  }

  const int index_;
  const std::string name_;
  Uuid uuid_;
};

}  // namespace

absl::Status CudaStatus(cudaError_t error, const char* call, int device, size_t size_bytes) {
  if (error == cudaSuccess) return absl::OkStatus();
  std::string message = absl::StrCat("cuda:", device, ": ", call);
  if (size_bytes > 0) absl::StrAppend(&message, " of ", size_bytes, " bytes");
  absl::StrAppend(&message, ": ", cudaGetErrorName(error), ": ", cudaGetErrorString(error));
  return error == cudaErrorMemoryAllocation ? absl::ResourceExhaustedError(message)
                                            : absl::InternalError(message);
}

absl::StatusOr<std::unique_ptr<CudaStream>> CudaStream::Create(int device) {
  UseDevice(device);
  cudaStream_t stream = nullptr;
  ISTHMUS_RETURN_IF_ERROR(CudaStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                                     "cudaStreamCreateWithFlags", device));
  return std::unique_ptr<CudaStream>(new CudaStream(device, stream));
}

CudaStream::~CudaStream() {
  UseDevice(device_);
  cudaStreamSynchronize(stream_);
  cudaStreamDestroy(stream_);
}

void CudaStream::Check(cudaError_t error, const char* call, size_t size_bytes) {
  if (error != cudaSuccess && status_.ok()) status_ = CudaStatus(error, call, device_, size_bytes);
}

void CudaStream::CopyIn(void* device, const void* host, size_t size_bytes) {
  UseDevice(device_);
  Check(cudaMemcpyAsync(device, host, size_bytes, cudaMemcpyHostToDevice, stream_),
        "cudaMemcpyAsync to the device", size_bytes);
}

void CudaStream::CopyOut(void* host, const void* device, size_t size_bytes) {
  UseDevice(device_);
  Check(cudaMemcpyAsync(host, device, size_bytes, cudaMemcpyDeviceToHost, stream_),
        "cudaMemcpyAsync to the host", size_bytes);
}

void CudaStream::Copy(void* to, const void* from, size_t size_bytes) {
  UseDevice(device_);
  Check(cudaMemcpyAsync(to, from, size_bytes, cudaMemcpyDeviceToDevice, stream_),
        "cudaMemcpyAsync on the device", size_bytes);
}

void CudaStream::Zero(void* device, size_t size_bytes) {
  UseDevice(device_);
  Check(cudaMemsetAsync(device, 0, size_bytes, stream_), "cudaMemsetAsync", size_bytes);
}

std::shared_ptr<DeviceEvent> CudaStream::Record() {
  UseDevice(device_);
  cudaEvent_t event = nullptr;
  Check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  Check(cudaEventRecord(event, stream_), "cudaEventRecord");
  return std::make_shared<CudaEvent>(device_, event);
}

void CudaStream::Wait(const std::shared_ptr<DeviceEvent>& event) {
  UseDevice(device_);
  Check(cudaStreamWaitEvent(stream_, static_cast<CudaEvent&>(*event).event(), 0),
        "cudaStreamWaitEvent");
}

absl::Status CudaStream::Synchronize() {
  UseDevice(device_);
  Check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  return status_;
}

absl::StatusOr<int> CountCudaDevices() {
  int count = 0;  // left alone by a call that fails
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
    return absl::FailedPreconditionError("CUDA: there is no GPU");
  }
  if (error != cudaSuccess) {
    return absl::FailedPreconditionError(absl::StrCat(
        "CUDA: there is no driver that this program can use: ", cudaGetErrorName(error), ": ",
        cudaGetErrorString(error)));
  }
  return count;
}

absl::StatusOr<std::unique_ptr<Device>> OpenCudaDevice(int index) {
  ISTHMUS_ASSIGN_OR_RETURN(const int count, CountCudaDevices());
  if (index < 0 || index >= count) {
    return absl::NotFoundError(
        absl::StrCat("cuda:", index, ": expected an index from 0 to ", count - 1));
  }
  cudaDeviceProp properties;
  ISTHMUS_RETURN_IF_ERROR(
      CudaStatus(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties", index));
  return std::make_unique<CudaDevice>(index, properties);
}

}  // namespace isthmus
