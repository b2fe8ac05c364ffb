/* Buffers as DLPack has them, for frameworks that take the memory of others without a copy. */
#include <stdlib.h>

#include "client/session.h"

/* DLPack's C structs, without its header: the layout is fixed (dmlc.github.io/dlpack, before 1.0,
 * which every framework takes). */
typedef struct dl_device {
  int32_t type; /* 1: the host, 2: CUDA */
  int32_t id;
} dl_device;

typedef struct dl_type {
  uint8_t code; /* 2: float, 4: bfloat */
  uint8_t bits;
  uint16_t lanes;
} dl_type;

struct DLManagedTensor {
  void* data;
  dl_device device;
  int32_t ndim;
  dl_type type;
  int64_t* shape;
  int64_t* strides; /* NULL: row-major */
  uint64_t byte_offset;
  void* manager;
  void (*deleter)(struct DLManagedTensor* self);
};

typedef struct exported {
  struct DLManagedTensor tensor;
  int64_t length;
} exported;

/* From any thread, and after the session was detached. */
static void delete_exported(struct DLManagedTensor* self) {
  isthmus_release(self->manager);
  free(self);
}

static struct DLManagedTensor* export(isthmus_session* session, void* data, size_t index) {
  if (data == NULL) return NULL;
  exported* made = calloc(1, sizeof(*made));
  if (made == NULL) return NULL;
  made->length = (int64_t)(session->slots[index].size_bytes / session->element_bytes);
  made->tensor = (struct DLManagedTensor){
      .data = data,
      .device = {.type = 1},
      .ndim = 1,
      .type = {.code = session->element_bytes == sizeof(float) ? 2 : 4,
               .bits = (uint8_t)(8 * session->element_bytes),
               .lanes = 1},
      .shape = &made->length,
      .manager = session,
      .deleter = delete_exported,
  };
  if (session->gpu != NULL) {
    made->tensor.device = (dl_device){.type = 2, .id = isthmus_gpu_device(session->gpu)};
  }
  isthmus_hold(session);
  return &made->tensor;
}

struct DLManagedTensor* isthmus_dlpack_parameter(isthmus_session* session, size_t index) {
  return export(session, isthmus_parameter(session, index), index);
}

struct DLManagedTensor* isthmus_dlpack_gradient(isthmus_session* session, size_t index) {
  return export(session, isthmus_gradient(session, index), index);
}
