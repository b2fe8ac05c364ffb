#include "client/isthmus.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/session.h"

/* What isthmus_error_message(NULL) tells this thread. */
static _Thread_local char attach_error[ISTHMUS_WIRE_MAX_TEXT + 1];

bool isthmus_copy_in(void* to, size_t known, const void* from, size_t size, size_t oldest) {
  memset(to, 0, known);
  if (size < oldest) return false;
  memcpy(to, from, size < known ? size : known);
  return true;
}

void isthmus_copy_out(void* to, size_t size, const void* from, size_t known) {
  const size_t head = sizeof(size_t);
  if (size < head) return;
  memset((char*)to + head, 0, size - head);
  const size_t bytes = size < known ? size : known;
  memcpy((char*)to + head, (const char*)from + head, bytes - head);
}

/* The integer in an environment variable, or `missing` where it is unset or empty. */
static isthmus_code from_environment(isthmus_channel* channel, const char* name, int32_t missing,
                                     int32_t* value) {
  const char* text = getenv(name);
  *value = missing;
  if (text == NULL || *text == '\0') return ISTHMUS_OK;
  char* end = NULL;
  errno = 0;
  const long number = strtol(text, &end, 10);
  if (errno != 0 || *end != '\0' || number < 0 || number > INT32_MAX) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "the environment's %s: expected a number, got '%s'", name, text);
  }
  *value = (int32_t)number;
  return ISTHMUS_OK;
}

static isthmus_code complete_options(isthmus_channel* channel, const isthmus_attach_options* given,
                                     isthmus_attach_options* options) {
  if (given == NULL) {
    *options = (isthmus_attach_options){.local_rank = -1, .local_world_size = -1};
  } else if (!isthmus_copy_in(options, sizeof(*options), given, given->struct_size,
                              offsetof(isthmus_attach_options, memory))) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "options: expected struct_size %zu or more, got %zu",
                        offsetof(isthmus_attach_options, memory), given->struct_size);
  }
  if (options->memory != ISTHMUS_HOST_MEMORY && options->memory != ISTHMUS_DEVICE_MEMORY) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "memory: expected %d (host) or %d (device), got %d", ISTHMUS_HOST_MEMORY,
                        ISTHMUS_DEVICE_MEMORY, options->memory);
  }
  if (!(options->timeout_seconds >= 0)) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "timeout_seconds: expected 0 or more, got %g", options->timeout_seconds);
  }
  if (options->socket_path == NULL) options->socket_path = getenv("ISTHMUS_SOCKET");
  if (options->socket_path == NULL) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "no socket_path given and ISTHMUS_SOCKET is not set");
  }
  isthmus_code code = ISTHMUS_OK;
  if (options->local_rank == -1) {
    code = from_environment(channel, "LOCAL_RANK", 0, &options->local_rank);
  }
  /* 0 too means "not stated", so that zeroed options do what one would think. */
  if (code == ISTHMUS_OK && options->local_world_size <= 0) {
    code = from_environment(channel, "LOCAL_WORLD_SIZE", -1, &options->local_world_size);
  }
  return code;
}

isthmus_code isthmus_attach(const isthmus_attach_options* options, const isthmus_tensor* tensors,
                            size_t tensor_count, isthmus_session** session) {
  attach_error[0] = '\0';
  if (session == NULL) {
    strcpy(attach_error, "session: expected where to put it, got NULL");
    return ISTHMUS_INVALID_ARGUMENT;
  }
  *session = NULL;
  isthmus_session* made = calloc(1, sizeof(*made));
  if (made == NULL) {
    strcpy(attach_error, "no memory for a session");
    return ISTHMUS_RESOURCE_EXHAUSTED;
  }
  made->channel.fd = -1;
  made->owner = getpid();
  made->holders = 1;
  isthmus_attach_options complete;
  isthmus_code code = complete_options(&made->channel, options, &complete);
  if (code == ISTHMUS_OK) code = isthmus_open(made, &complete, tensors, tensor_count);
  if (code != ISTHMUS_OK) {
    memcpy(attach_error, made->channel.error, sizeof(attach_error));
    isthmus_free(made);
    return code;
  }
  *session = made;
  return ISTHMUS_OK;
}

void isthmus_set_keep_waiting(isthmus_session* session,
                              int (*keep_waiting)(void* context, const char* what), void* context) {
  if (session == NULL) return;
  session->channel.keep_waiting = keep_waiting;
  session->channel.waiting_context = context;
}

static const isthmus_slot* slot_at(const isthmus_session* session, size_t index, bool constant) {
  if (session == NULL || index >= session->slot_count) return NULL;
  const isthmus_slot* slot = &session->slots[index];
  return slot->constant == constant ? slot : NULL;
}

void* isthmus_parameter(isthmus_session* session, size_t index) {
  const isthmus_slot* slot = slot_at(session, index, false);
  return slot == NULL ? NULL : session->parameters + slot->offset * session->element_bytes;
}

void* isthmus_gradient(isthmus_session* session, size_t index) {
  const isthmus_slot* slot = slot_at(session, index, false);
  return slot == NULL || session->gradients == NULL
             ? NULL
             : session->gradients + slot->offset * session->element_bytes;
}

void* isthmus_constant(isthmus_session* session, size_t index) {
  const isthmus_slot* slot = slot_at(session, index, true);
  return slot == NULL || session->constants == NULL ? NULL : session->constants + slot->offset;
}

void* isthmus_flat_parameters(isthmus_session* session) {
  return session == NULL ? NULL : session->parameters;
}

void* isthmus_flat_gradients(isthmus_session* session) {
  return session == NULL ? NULL : session->gradients;
}

size_t isthmus_flat_length(isthmus_session* session) {
  return session == NULL ? 0 : session->flat_length;
}

isthmus_code isthmus_get_info(isthmus_session* session, isthmus_info* info) {
  if (session == NULL) return ISTHMUS_INVALID_ARGUMENT;
  if (info == NULL || info->struct_size < sizeof(size_t)) {
    return isthmus_fail(&session->channel, ISTHMUS_INVALID_ARGUMENT,
                        "info: expected struct_size %zu", sizeof(*info));
  }
  isthmus_copy_out(info, info->struct_size, &session->info, sizeof(session->info));
  return ISTHMUS_OK;
}

/* While somebody holds its memory a device's is mapped, and the connection stays (job_wire.h). */
void isthmus_detach(isthmus_session* session) {
  if (session == NULL) return;
  if (isthmus_is_owner(session)) {
    if (session->broken == ISTHMUS_OK) isthmus_leave(&session->channel);
    if (session->gpu == NULL) isthmus_disconnect(&session->channel);
  }
  isthmus_release(session);
}

void isthmus_hold(isthmus_session* session) {
  __atomic_fetch_add(&session->holders, 1, __ATOMIC_RELAXED);
}

void isthmus_release(isthmus_session* session) {
  if (__atomic_fetch_sub(&session->holders, 1, __ATOMIC_ACQ_REL) == 1) isthmus_free(session);
}

const char* isthmus_error_message(isthmus_session* session) {
  return session == NULL ? attach_error : session->channel.error;
}

const char* isthmus_code_name(isthmus_code code) {
  switch (code) {
    case ISTHMUS_OK:
      return "OK";
    case ISTHMUS_END:
      return "END";
    case ISTHMUS_INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case ISTHMUS_UNAVAILABLE:
      return "UNAVAILABLE";
    case ISTHMUS_ABORTED:
      return "ABORTED";
    case ISTHMUS_FAILED_PRECONDITION:
      return "FAILED_PRECONDITION";
    case ISTHMUS_DEADLINE_EXCEEDED:
      return "DEADLINE_EXCEEDED";
    case ISTHMUS_RESOURCE_EXHAUSTED:
      return "RESOURCE_EXHAUSTED";
    case ISTHMUS_INTERNAL:
      return "INTERNAL";
    case ISTHMUS_INTERRUPTED:
      return "INTERRUPTED";
  }
  return "unknown code";
}
