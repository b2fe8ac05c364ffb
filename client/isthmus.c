#include "client/isthmus.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
  return slot == NULL ? NULL : session->gradients + slot->offset * session->element_bytes;
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

/* Remembers what broke the session: each later call repeats it, in the same words. The daemon hears of it at
 * once; but while a device's memory is mapped, the connection stays (job_wire.h). */
static isthmus_code lose(isthmus_session* session, isthmus_code code) {
  if (session->gpu == NULL) {
    isthmus_disconnect(&session->channel);
  } else {
    isthmus_leave(&session->channel);
  }
  session->stepping = false;
  session->broken = code;
  return code;
}

static isthmus_code check_rates(isthmus_channel* channel, const char* what, const float* rates,
                                uint32_t count) {
  for (uint32_t i = 0; rates != NULL && i < count; ++i) {
    if (!isfinite(rates[i])) {
      return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                          "%s[%u]: expected a finite number, got %g", what, i, (double)rates[i]);
    }
  }
  return ISTHMUS_OK;
}

/* Mistakes are found here, where they cost the other ranks nothing. */
static isthmus_code check_step(isthmus_session* session, const isthmus_step_args* given,
                               isthmus_step_args* args) {
  isthmus_channel* channel = &session->channel;
  if (given == NULL ||
      !isthmus_copy_in(args, sizeof(*args), given, given->struct_size,
                       offsetof(isthmus_step_args, stream)) ||
      args->lr == NULL) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "step args: expected struct_size %zu or more, and lr",
                        offsetof(isthmus_step_args, stream));
  }
  if (args->parameter_groups != session->parameter_groups) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "parameter_groups: expected the layout's %u, got %u",
                        session->parameter_groups, args->parameter_groups);
  }
  const isthmus_code code = check_rates(channel, "lr", args->lr, args->parameter_groups);
  if (code != ISTHMUS_OK) return code;
  return check_rates(channel, "weight_decay", args->weight_decay, args->parameter_groups);
}

isthmus_code isthmus_step_begin(isthmus_session* session, const isthmus_step_args* given) {
  if (session == NULL) return ISTHMUS_INVALID_ARGUMENT;
  if (session->broken != ISTHMUS_OK) return session->broken;
  if (session->ended) return ISTHMUS_END;
  if (session->stepping) {
    return isthmus_fail(&session->channel, ISTHMUS_FAILED_PRECONDITION,
                        "step_begin: rank %u has begun a step already; step_wait comes first",
                        session->info.rank);
  }
  isthmus_step_args args;
  isthmus_code code = check_step(session, given, &args);
  if (code != ISTHMUS_OK) return code;
  isthmus_wire_step_begin message = {.samples = args.samples,
                                     .loss = args.loss,
                                     .skip = args.skip != 0,
                                     .parameter_groups = args.parameter_groups};
  const size_t bytes = args.parameter_groups * sizeof(float);
  memcpy(message.lr, args.lr, bytes);
  if (args.weight_decay != NULL) memcpy(message.weight_decay, args.weight_decay, bytes);
  if (session->gpu != NULL) {
    session->stream = args.stream;
    code = isthmus_gpu_hand_over(&session->channel, session->gpu, args.stream);
    if (code != ISTHMUS_OK) return lose(session, code);
  }
  code = isthmus_send(&session->channel, ISTHMUS_WIRE_STEP_BEGIN, &message, sizeof(message));
  if (code != ISTHMUS_OK) return lose(session, code);
  session->stepping = true;
  return ISTHMUS_OK;
}

isthmus_code isthmus_step_wait(isthmus_session* session, isthmus_step_result* result) {
  if (session == NULL) return ISTHMUS_INVALID_ARGUMENT;
  if (session->broken != ISTHMUS_OK) return session->broken;
  if (!session->stepping) {
    return isthmus_fail(&session->channel, ISTHMUS_FAILED_PRECONDITION,
                        "step_wait: rank %u has begun no step", session->info.rank);
  }
  isthmus_packet packet;
  const isthmus_code code = isthmus_receive(&session->channel, ISTHMUS_WIRE_STEP_DONE,
                                            sizeof(isthmus_wire_step_done), &packet);
  if (code != ISTHMUS_OK) return lose(session, code);
  if (session->gpu != NULL) {
    const isthmus_code taken =
        isthmus_gpu_take_back(&session->channel, session->gpu, session->stream);
    if (taken != ISTHMUS_OK) return lose(session, taken);
  }
  const isthmus_wire_step_done* done = &packet.as.step_done;
  session->stepping = false;
  session->ended = done->end != 0;
  session->info.round = done->round;
  const isthmus_step_result said = {
      .round = done->round,
      .contributors = done->contributors,
      .merged_here = done->merged_here,
      .buckets = done->buckets,
      .loss = done->loss,
      .blocked_seconds = done->blocked_seconds,
      .local_seconds = done->local_seconds,
      .peer_wait_seconds = done->peer_wait_seconds,
      .link_wait_seconds = done->link_wait_seconds,
  };
  if (result != NULL) isthmus_copy_out(result, result->struct_size, &said, sizeof(said));
  return session->ended ? ISTHMUS_END : ISTHMUS_OK;
}

isthmus_code isthmus_step(isthmus_session* session, const isthmus_step_args* args,
                          isthmus_step_result* result) {
  const isthmus_code code = isthmus_step_begin(session, args);
  return code == ISTHMUS_OK ? isthmus_step_wait(session, result) : code;
}

void isthmus_detach(isthmus_session* session) {
  if (session == NULL) return;
  if (session->broken == ISTHMUS_OK) isthmus_leave(&session->channel);
  isthmus_free(session);
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
  }
  return "unknown code";
}
