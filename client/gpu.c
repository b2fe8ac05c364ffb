#include "client/gpu.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is used of the driver's interface, which is stable: names and types as in cuda.h. */
typedef int cu_result;
typedef int cu_device;
typedef struct cu_context* cu_context;
typedef struct cu_event* cu_event;
typedef unsigned long long cu_pointer;
typedef struct {
  unsigned char bytes[ISTHMUS_WIRE_HANDLE_BYTES];
} cu_handle;
typedef struct {
  unsigned char bytes[16];
} cu_uuid;
enum { CU_SUCCESS = 0, CU_OUT_OF_MEMORY = 2, CU_LAZY_PEER_ACCESS = 1 };

typedef struct driver {
  void* library;
  cu_result (*init)(unsigned);
  cu_result (*error_name)(cu_result, const char**);
  cu_result (*device_count)(int*);
  cu_result (*device_get)(cu_device*, int);
  cu_result (*device_uuid)(cu_uuid*, cu_device);
  cu_result (*context_retain)(cu_context*, cu_device);
  cu_result (*context_release)(cu_device);
  cu_result (*context_push)(cu_context);
  cu_result (*context_pop)(cu_context*);
  cu_result (*context_synchronize)(void);
  cu_result (*open_memory)(cu_pointer*, cu_handle, unsigned);
  cu_result (*close_memory)(cu_pointer);
  cu_result (*open_event)(cu_event*, cu_handle);
  cu_result (*event_destroy)(cu_event);
  cu_result (*event_record)(cu_event, void*);
  cu_result (*stream_wait_event)(void*, cu_event, unsigned);
  cu_result (*copy)(cu_pointer, cu_pointer, size_t);
  cu_result (*fill)(cu_pointer, unsigned, size_t, void*);
} driver;

struct isthmus_gpu {
  driver cu;
  cu_device device;
  cu_context context; /* the device's primary one, which the CUDA runtime uses as well */
  cu_pointer parameters;
  cu_pointer gradients;
  size_t gradient_bytes; /* before the mark */
  cu_event gradients_ready;
  cu_event parameters_ready;
};

static isthmus_code check(isthmus_channel* channel, const driver* cu, cu_result result,
                          const char* call) {
  if (result == CU_SUCCESS) return ISTHMUS_OK;
  const char* name = NULL;
  if (cu->error_name(result, &name) != CU_SUCCESS || name == NULL) name = "unknown error";
  return isthmus_fail(channel,
                      result == CU_OUT_OF_MEMORY ? ISTHMUS_RESOURCE_EXHAUSTED : ISTHMUS_INTERNAL,
                      "CUDA: %s: %s (%d)", call, name, result);
}

static isthmus_code load(isthmus_channel* channel, driver* cu) {
  /* Names as libcuda exports them. Function and object pointers are alike where dlsym is. */
  const struct {
    const char* name;
    void* function;
  } functions[] = {
      {"cuInit", &cu->init},
      {"cuGetErrorName", &cu->error_name},
      {"cuDeviceGetCount", &cu->device_count},
      {"cuDeviceGet", &cu->device_get},
      {"cuDeviceGetUuid_v2", &cu->device_uuid}, /* of a MIG slice, its own */
      {"cuDevicePrimaryCtxRetain", &cu->context_retain},
      {"cuDevicePrimaryCtxRelease_v2", &cu->context_release},
      {"cuCtxPushCurrent_v2", &cu->context_push},
      {"cuCtxPopCurrent_v2", &cu->context_pop},
      {"cuCtxSynchronize", &cu->context_synchronize},
      {"cuIpcOpenMemHandle_v2", &cu->open_memory},
      {"cuIpcCloseMemHandle", &cu->close_memory},
      {"cuIpcOpenEventHandle", &cu->open_event},
      {"cuEventDestroy_v2", &cu->event_destroy},
      {"cuEventRecord", &cu->event_record},
      {"cuStreamWaitEvent", &cu->stream_wait_event},
      {"cuMemcpy", &cu->copy},
      {"cuMemsetD32Async", &cu->fill},
  };
  cu->library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (cu->library == NULL) {
    return isthmus_fail(channel, ISTHMUS_FAILED_PRECONDITION,
                        "memory: device memory needs the CUDA driver: %s", dlerror());
  }
  for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); ++i) {
    void* found = dlsym(cu->library, functions[i].name);
    if (found == NULL && functions[i].function == (void*)&cu->device_uuid) {
      found = dlsym(cu->library, "cuDeviceGetUuid");
    }
    if (found == NULL) {
      return isthmus_fail(channel, ISTHMUS_FAILED_PRECONDITION,
                          "memory: the CUDA driver is too old: libcuda.so.1 has no %s",
                          functions[i].name);
    }
    memcpy(functions[i].function, &found, sizeof(found));
  }
  const isthmus_code code = check(channel, cu, cu->init(0), "cuInit");
  return code == ISTHMUS_OK ? ISTHMUS_OK : ISTHMUS_FAILED_PRECONDITION;
}

/* Daemon and job may number GPUs differently (CUDA_VISIBLE_DEVICES): the UUID tells. */
static isthmus_code find_device(isthmus_channel* channel, isthmus_gpu* gpu,
                                const unsigned char* uuid) {
  const driver* cu = &gpu->cu;
  int count = 0;
  isthmus_code code = check(channel, cu, cu->device_count(&count), "cuDeviceGetCount");
  for (int i = 0; code == ISTHMUS_OK && i < count; ++i) {
    cu_uuid found;
    code = check(channel, cu, cu->device_get(&gpu->device, i), "cuDeviceGet");
    if (code == ISTHMUS_OK) {
      code = check(channel, cu, cu->device_uuid(&found, gpu->device), "cuDeviceGetUuid");
    }
    if (code == ISTHMUS_OK && memcmp(found.bytes, uuid, sizeof(found.bytes)) == 0) {
      return ISTHMUS_OK;
    }
  }
  if (code != ISTHMUS_OK) return code;
  char text[33];
  for (int i = 0; i < 16; ++i) {
    text[2 * i] = "0123456789abcdef"[uuid[i] >> 4];
    text[2 * i + 1] = "0123456789abcdef"[uuid[i] & 15];
  }
  text[32] = '\0';
  return isthmus_fail(channel, ISTHMUS_FAILED_PRECONDITION,
                      "memory: the daemon's GPU %s is none of the %d that this process sees "
                      "(CUDA_VISIBLE_DEVICES?)",
                      text, count);
}

static isthmus_code map_handles(isthmus_channel* channel, isthmus_gpu* gpu,
                                const isthmus_wire_buffers* buffers) {
  const driver* cu = &gpu->cu;
  const struct {
    const unsigned char* handle;
    cu_pointer* memory;
    cu_event* event;
  } parts[] = {{buffers->parameters, &gpu->parameters, NULL},
               {buffers->gradients, &gpu->gradients, NULL},
               {buffers->gradients_ready, NULL, &gpu->gradients_ready},
               {buffers->parameters_ready, NULL, &gpu->parameters_ready}};
  for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); ++i) {
    cu_handle handle;
    memcpy(handle.bytes, parts[i].handle, sizeof(handle.bytes));
    const isthmus_code code =
        parts[i].memory != NULL
            ? check(channel, cu, cu->open_memory(parts[i].memory, handle, CU_LAZY_PEER_ACCESS),
                    "cuIpcOpenMemHandle")
            : check(channel, cu, cu->open_event(parts[i].event, handle), "cuIpcOpenEventHandle");
    if (code != ISTHMUS_OK) {
      char said[256];
      snprintf(said, sizeof(said), "%.200s", channel->error);
      return isthmus_fail(
          channel, ISTHMUS_FAILED_PRECONDITION,
          "memory: %s (in containers, job and daemon need one IPC namespace, a shared "
          "/dev/shm, and process ids that differ)",
          said);
    }
  }
  return ISTHMUS_OK;
}

static isthmus_code enter(isthmus_channel* channel, isthmus_gpu* gpu) {
  return check(channel, &gpu->cu, gpu->cu.context_push(gpu->context), "cuCtxPushCurrent");
}

static void leave(isthmus_gpu* gpu) {
  cu_context mine = NULL;
  gpu->cu.context_pop(&mine);
}

isthmus_code isthmus_gpu_open(isthmus_channel* channel, const isthmus_wire_buffers* buffers,
                              size_t gradient_bytes, isthmus_gpu** made) {
  *made = NULL;
  isthmus_gpu* gpu = calloc(1, sizeof(*gpu));
  if (gpu == NULL) return isthmus_fail(channel, ISTHMUS_RESOURCE_EXHAUSTED, "no memory for a GPU");
  gpu->gradient_bytes = gradient_bytes;
  isthmus_code code = load(channel, &gpu->cu);
  if (code == ISTHMUS_OK) code = find_device(channel, gpu, buffers->device);
  if (code == ISTHMUS_OK) {
    code = check(channel, &gpu->cu, gpu->cu.context_retain(&gpu->context, gpu->device),
                 "cuDevicePrimaryCtxRetain");
  }
  if (code == ISTHMUS_OK) code = enter(channel, gpu);
  if (code == ISTHMUS_OK) {
    code = map_handles(channel, gpu, buffers);
    leave(gpu);
  }
  if (code != ISTHMUS_OK) {
    isthmus_gpu_close(gpu);
    return code;
  }
  *made = gpu;
  return ISTHMUS_OK;
}

void isthmus_gpu_close(isthmus_gpu* gpu) {
  if (gpu == NULL) return;
  const driver* cu = &gpu->cu;
  if (gpu->context != NULL && cu->context_push(gpu->context) == CU_SUCCESS) {
    cu->context_synchronize();
    if (gpu->parameters != 0) cu->close_memory(gpu->parameters);
    if (gpu->gradients != 0) cu->close_memory(gpu->gradients);
    if (gpu->gradients_ready != NULL) cu->event_destroy(gpu->gradients_ready);
    if (gpu->parameters_ready != NULL) cu->event_destroy(gpu->parameters_ready);
    leave(gpu);
  }
  if (gpu->context != NULL) cu->context_release(gpu->device);
  /* The driver stays loaded: the program may use it, too. */
  free(gpu);
}

void isthmus_gpu_abandon(isthmus_gpu* gpu) { free(gpu); }

int isthmus_gpu_device(const isthmus_gpu* gpu) { return gpu->device; }

void* isthmus_gpu_parameters(const isthmus_gpu* gpu) { return (void*)(uintptr_t)gpu->parameters; }
void* isthmus_gpu_gradients(const isthmus_gpu* gpu) { return (void*)(uintptr_t)gpu->gradients; }

isthmus_code isthmus_gpu_copy(isthmus_channel* channel, isthmus_gpu* gpu, void* to,
                              const void* from, size_t size_bytes) {
  isthmus_code code = enter(channel, gpu);
  if (code != ISTHMUS_OK) return code;
  code = check(channel, &gpu->cu, gpu->cu.copy((uintptr_t)to, (uintptr_t)from, size_bytes),
               "cuMemcpy");
  leave(gpu);
  return code;
}

isthmus_code isthmus_gpu_finish(isthmus_channel* channel, isthmus_gpu* gpu) {
  isthmus_code code = enter(channel, gpu);
  if (code != ISTHMUS_OK) return code;
  code = check(channel, &gpu->cu, gpu->cu.context_synchronize(), "cuCtxSynchronize");
  leave(gpu);
  return code;
}

isthmus_code isthmus_gpu_hand_over(isthmus_channel* channel, isthmus_gpu* gpu, uint32_t step,
                                   void* stream) {
  isthmus_code code = enter(channel, gpu);
  if (code != ISTHMUS_OK) return code;
  code =
      check(channel, &gpu->cu, gpu->cu.fill(gpu->gradients + gpu->gradient_bytes, step, 1, stream),
            "cuMemsetD32Async");
  if (code == ISTHMUS_OK) {
    code = check(channel, &gpu->cu, gpu->cu.event_record(gpu->gradients_ready, stream),
                 "cuEventRecord");
  }
  leave(gpu);
  return code;
}

isthmus_code isthmus_gpu_take_back(isthmus_channel* channel, isthmus_gpu* gpu, void* stream) {
  isthmus_code code = enter(channel, gpu);
  if (code != ISTHMUS_OK) return code;
  code = check(channel, &gpu->cu, gpu->cu.stream_wait_event(stream, gpu->parameters_ready, 0),
               "cuStreamWaitEvent");
  leave(gpu);
  return code;
}
