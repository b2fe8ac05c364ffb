// A libcuda.so.1 for tests: one device, whose memory and events are those that a HostDevice shares
// (common/device/host_sharing.h). Streams do their work at once; waiting for an event is waiting.
// It exports what client/gpu.c uses, and counts what is open.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "common/device/host_sharing.h"

namespace {

using isthmus::HostSharedCounts;
using isthmus::HostSharedFile;

constexpr int kSuccess = 0;
constexpr int kInvalidValue = 1;
constexpr int kInvalidContext = 201;
constexpr int kMapFailed = 205;

struct Handle {
  std::byte bytes[isthmus::kHostHandleBytes];
};
struct Uuid {
  char bytes[16];
};
struct Event {
  HostSharedFile file;
  HostSharedCounts& counts() { return *static_cast<HostSharedCounts*>(file.data()); }
};

std::mutex mu;
std::map<unsigned long long, HostSharedFile> open_memory;
int open_events = 0;
int retained = 0;
thread_local int contexts = 0;  // of the calling thread, pushed

bool Told(const char* what) {
  const char* told = std::getenv("FAKE_CUDA");
  return told != nullptr && std::strstr(told, what) != nullptr;
}

}  // namespace

extern "C" {

// For tests: what has been opened or retained and not closed.
int fake_cuda_open() {
  const std::lock_guard lock(mu);
  return static_cast<int>(open_memory.size()) + open_events + retained;
}

int cuInit(unsigned) { return Told("no_init") ? kInvalidValue : kSuccess; }
int cuGetErrorName(int result, const char** name) {
  *name = result == kMapFailed ? "CUDA_ERROR_MAP_FAILED" : "CUDA_ERROR_INVALID_VALUE";
  return kSuccess;
}
int cuDeviceGetCount(int* count) {
  *count = Told("no_device") ? 0 : 1;
  return kSuccess;
}
int cuDeviceGet(int* device, int) {
  *device = 0;
  return kSuccess;
}
int cuDeviceGetUuid_v2(Uuid* uuid, int) {
  *uuid = {};
  std::memcpy(uuid->bytes, "host", 4);
  return kSuccess;
}
int cuDevicePrimaryCtxRetain(void** context, int) {
  const std::lock_guard lock(mu);
  ++retained;
  *context = &retained;
  return kSuccess;
}
int cuDevicePrimaryCtxRelease_v2(int) {
  const std::lock_guard lock(mu);
  --retained;
  return kSuccess;
}
int cuCtxPushCurrent_v2(void*) {
  ++contexts;
  return kSuccess;
}
int cuCtxPopCurrent_v2(void**) {
  --contexts;
  return kSuccess;
}
int cuCtxSynchronize() { return contexts > 0 ? kSuccess : kInvalidContext; }

int cuIpcOpenMemHandle_v2(unsigned long long* pointer, Handle handle, unsigned) {
  HostSharedFile file = Told("no_map") ? HostSharedFile() : HostSharedFile::Open(handle.bytes);
  if (contexts == 0) return kInvalidContext;
  if (file.data() == nullptr) return kMapFailed;
  *pointer = reinterpret_cast<unsigned long long>(file.data());
  const std::lock_guard lock(mu);
  open_memory[*pointer] = std::move(file);
  return kSuccess;
}
int cuIpcCloseMemHandle(unsigned long long pointer) {
  const std::lock_guard lock(mu);
  return open_memory.erase(pointer) == 1 ? kSuccess : kInvalidValue;
}
int cuIpcOpenEventHandle(Event** event, Handle handle) {
  HostSharedFile file = HostSharedFile::Open(handle.bytes);
  if (file.data() == nullptr) return kMapFailed;
  *event = new Event{std::move(file)};
  const std::lock_guard lock(mu);
  ++open_events;
  return kSuccess;
}
int cuEventDestroy_v2(Event* event) {
  delete event;
  const std::lock_guard lock(mu);
  --open_events;
  return kSuccess;
}
int cuEventRecord(Event* event, void*) {
  if (contexts == 0) return kInvalidContext;
  isthmus::ReachShared(event->counts(), isthmus::RecordShared(event->counts()));
  return kSuccess;
}
int cuStreamWaitEvent(void*, Event* event, unsigned) {
  if (contexts == 0) return kInvalidContext;
  isthmus::AwaitShared(event->counts(), event->counts().recorded.load());
  return kSuccess;
}
int cuMemsetD32Async(unsigned long long to, unsigned value, size_t count, void*) {
  if (contexts == 0) return kInvalidContext;
  std::fill_n(reinterpret_cast<unsigned*>(to), count, value);
  return kSuccess;
}
int cuMemcpy(unsigned long long to, unsigned long long from, size_t size_bytes) {
  if (contexts == 0) return kInvalidContext;
  std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), size_bytes);
  return kSuccess;
}

}  // extern "C"
