/* Attaching: the handshake, and the mapping of the daemon's buffers. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/session.h"

/* The caller's tensor `index`, whose struct may be of another version than ours. */
static bool read_tensor(const isthmus_tensor* tensors, size_t index, isthmus_tensor* tensor) {
  const size_t stride = tensors->struct_size;
  return isthmus_copy_in(tensor, sizeof(*tensor), (const char*)tensors + index * stride, stride,
                         sizeof(isthmus_tensor)) &&
         tensor->struct_size == stride;
}

static isthmus_code to_entry(isthmus_channel* channel, size_t index, const isthmus_tensor* tensor,
                             isthmus_wire_entry* entry) {
  const size_t name_size = tensor->name == NULL ? 0 : strlen(tensor->name);
  if (name_size == 0 || name_size > ISTHMUS_WIRE_MAX_NAME) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "tensor %zu: a name has 1 to %d bytes, got %zu", index,
                        ISTHMUS_WIRE_MAX_NAME, name_size);
  }
  if (tensor->ndim < 0 || tensor->ndim > ISTHMUS_WIRE_MAX_DIMS ||
      (tensor->ndim > 0 && tensor->shape == NULL)) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "tensor %zu '%s': expected 0 to %d dimensions, got %d%s", index,
                        tensor->name, ISTHMUS_WIRE_MAX_DIMS, tensor->ndim,
                        tensor->shape == NULL ? " and no shape" : "");
  }
  *entry = (isthmus_wire_entry){
      .index = (uint32_t)index,
      .constant = tensor->constant != 0,
      .dtype = tensor->dtype,
      .ndim = (uint32_t)tensor->ndim,
      .parameter_group = tensor->parameter_group,
      .name_size = (uint32_t)name_size,
      .size_bytes = tensor->size_bytes,
  };
  for (int32_t d = 0; d < tensor->ndim; ++d) entry->shape[d] = tensor->shape[d];
  memcpy(entry->name, tensor->name, name_size);
  return ISTHMUS_OK;
}

static isthmus_code send_table(isthmus_session* session, const isthmus_tensor* tensors) {
  isthmus_channel* channel = &session->channel;
  for (size_t i = 0; i < session->slot_count; ++i) {
    isthmus_tensor tensor;
    if (!read_tensor(tensors, i, &tensor)) {
      return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                          "tensor %zu: expected struct_size %zu or more and equal for all, got %zu",
                          i, sizeof(tensor), tensor.struct_size);
    }
    isthmus_wire_entry entry;
    isthmus_code code = to_entry(channel, i, &tensor, &entry);
    if (code == ISTHMUS_OK) {
      code = isthmus_send(channel, ISTHMUS_WIRE_ENTRY, &entry, sizeof(entry), true);
    }
    if (code != ISTHMUS_OK) return code;
    isthmus_slot* slot = &session->slots[i];
    slot->constant = tensor.constant != 0;
    slot->size_bytes = tensor.size_bytes;
    if (!slot->constant) {
      /* The daemon refuses any other type, and types that differ, before it makes buffers; and a
       * shape that overflows. */
      session->element_bytes = tensor.dtype == ISTHMUS_BFLOAT16 ? 2 : 4;
      slot->size_bytes = session->element_bytes;
      for (int32_t d = 0; d < tensor.ndim; ++d) slot->size_bytes *= (uint64_t)tensor.shape[d];
    }
  }
  return ISTHMUS_OK;
}

/* Maps a descriptor of at least `size` bytes; *address stays NULL for none. Closes nothing. */
static isthmus_code map(isthmus_channel* channel, const char* what, int fd, uint64_t size,
                        int protection, void** address) {
  struct stat status;
  const int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  *address = NULL;
  if (size == 0) return ISTHMUS_OK;
  if (size > SIZE_MAX || fstat(fd, &status) != 0 || (uint64_t)status.st_size < size ||
      (fcntl(fd, F_GET_SEALS) & sealed) != sealed) {
    return isthmus_fail(channel, ISTHMUS_INTERNAL,
                        "the daemon's %s buffer is not a sealed memfd of %llu bytes", what,
                        (unsigned long long)size);
  }
  void* mapped = mmap(NULL, (size_t)size, protection, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) {
    return isthmus_fail(channel, ISTHMUS_RESOURCE_EXHAUSTED, "mapping %llu bytes of %s: %s",
                        (unsigned long long)size, what, strerror(errno));
  }
  *address = mapped;
  return ISTHMUS_OK;
}

/* Takes each slot's offset, having checked that the slot lies inside its buffer. */
static isthmus_code place_slots(isthmus_session* session, const uint64_t* offsets) {
  for (size_t i = 0; i < session->slot_count; ++i) {
    isthmus_slot* slot = &session->slots[i];
    const uint64_t unit = slot->constant ? 1 : session->element_bytes;
    const uint64_t room =
        slot->constant ? session->constants_bytes : (uint64_t)session->flat_length * unit;
    slot->offset = offsets[i];
    if (slot->size_bytes > room || slot->offset > (room - slot->size_bytes) / unit) {
      return isthmus_fail(&session->channel, ISTHMUS_INTERNAL,
                          "tensor %zu: offset %llu and %llu bytes leave its buffer of %llu", i,
                          (unsigned long long)slot->offset, (unsigned long long)slot->size_bytes,
                          (unsigned long long)room);
    }
  }
  return ISTHMUS_OK;
}

/* A word that fork() does not copy, so that a child is known without a system call. */
static isthmus_code mark_process(isthmus_session* session) {
  void* at = mmap(NULL, sizeof(*session->here), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                  -1, 0);
  if (at == MAP_FAILED || madvise(at, sizeof(*session->here), MADV_WIPEONFORK) != 0) {
    const int error = errno;
    if (at != MAP_FAILED) munmap(at, sizeof(*session->here));
    return isthmus_fail(&session->channel, ISTHMUS_RESOURCE_EXHAUSTED,
                        "a page that a forked child does not have: %s", strerror(error));
  }
  session->here = at;
  *session->here = 1;
  return ISTHMUS_OK;
}

/* `fds`: of parameters, and of gradients or the pace; of a device, of the pace if there is one. */
static isthmus_code map_flat(isthmus_session* session, const isthmus_wire_buffers* said,
                             const int* fds) {
  isthmus_channel* channel = &session->channel;
  const bool own = session->period.own_optimizer;
  const bool on_device = said->memory == ISTHMUS_DEVICE_MEMORY;
  const size_t flat_bytes = session->flat_length * session->element_bytes;
  const int both = PROT_READ | PROT_WRITE;
  isthmus_code code;
  void* at = NULL;
  if (on_device) {
    code = isthmus_gpu_open(channel, said, own ? 0 : flat_bytes, &session->gpu);
    if (code != ISTHMUS_OK) return code;
    session->parameters = isthmus_gpu_parameters(session->gpu);
    if (!own) session->gradients = isthmus_gpu_gradients(session->gpu);
  } else {
    code = map(channel, "parameter", *fds++, flat_bytes, both, &at);
    session->parameters = at;
    if (code != ISTHMUS_OK) return code;
  }
  if (own) {
    code = map(channel, "pace", *fds, sizeof(*session->pace), both, &at);
    session->pace = at;
    if (code == ISTHMUS_OK) code = mark_process(session);
  } else if (!on_device) {
    code = map(channel, "gradient", *fds, flat_bytes, both, &at);
    session->gradients = at;
  }
  return code;
}

static isthmus_code map_buffers(isthmus_session* session, const isthmus_packet* packet) {
  isthmus_channel* channel = &session->channel;
  const isthmus_wire_buffers* said = &packet->as.buffers;
  const int device_fds = session->period.own_optimizer ? 1 : 0;
  const int flat_fds = said->memory == ISTHMUS_DEVICE_MEMORY ? device_fds : 2;
  if (packet->fd_count != flat_fds + 2 || said->entry_count != session->slot_count ||
      said->flat_length > SIZE_MAX / sizeof(float) || said->constants_bytes > SIZE_MAX) {
    return isthmus_fail(channel, ISTHMUS_RESOURCE_EXHAUSTED,
                        "expected %d buffers (is there a limit on open files?) for %zu tensors, "
                        "got %d for %u",
                        flat_fds + 2, session->slot_count, packet->fd_count, said->entry_count);
  }
  session->flat_length = (size_t)said->flat_length;
  session->constants_bytes = (size_t)said->constants_bytes;
  session->parameter_groups = said->parameter_groups;
  session->info.parameters = said->logical_length;
  const size_t table_bytes = session->slot_count * sizeof(uint64_t);
  const int* fds = packet->fds + flat_fds;
  void* constants = NULL;
  void* table = NULL;
  isthmus_code code = map_flat(session, said, packet->fds);
  if (code == ISTHMUS_OK) {
    code = map(channel, "constant", fds[0], session->constants_bytes, PROT_READ | PROT_WRITE,
               &constants);
  }
  session->constants = constants;
  if (code == ISTHMUS_OK) code = map(channel, "offset", fds[1], table_bytes, PROT_READ, &table);
  if (code == ISTHMUS_OK) code = place_slots(session, table);
  if (table != NULL) munmap(table, table_bytes);
  return code;
}

static isthmus_code copy_initial_values(isthmus_session* session, const isthmus_tensor* tensors) {
  isthmus_channel* channel = &session->channel;
  for (size_t i = 0; i < session->slot_count; ++i) {
    const isthmus_slot* slot = &session->slots[i];
    isthmus_tensor tensor;
    read_tensor(tensors, i, &tensor);
    if (tensor.data == NULL || slot->size_bytes == 0) continue;
    unsigned char* to = slot->constant
                            ? session->constants + slot->offset
                            : session->parameters + slot->offset * session->element_bytes;
    if (slot->constant || session->gpu == NULL) {
      memcpy(to, tensor.data, (size_t)slot->size_bytes);
      continue;
    }
    const isthmus_code code =
        isthmus_gpu_copy(channel, session->gpu, to, tensor.data, (size_t)slot->size_bytes);
    if (code != ISTHMUS_OK) return code;
  }
  return session->gpu == NULL ? ISTHMUS_OK : isthmus_gpu_finish(channel, session->gpu);
}

static isthmus_code receive_buffers(isthmus_session* session) {
  isthmus_packet packet;
  isthmus_code code = isthmus_receive(&session->channel, ISTHMUS_WIRE_BUFFERS,
                                      sizeof(isthmus_wire_buffers), &packet);
  if (code != ISTHMUS_OK) return code;
  code = map_buffers(session, &packet);
  while (packet.fd_count > 0) close(packet.fds[--packet.fd_count]);
  return code;
}

static isthmus_code wait_until_attached(isthmus_session* session) {
  isthmus_packet packet;
  const isthmus_code code = isthmus_receive(&session->channel, ISTHMUS_WIRE_ATTACHED,
                                            sizeof(isthmus_wire_attached), &packet);
  if (code != ISTHMUS_OK) return code;
  const isthmus_wire_attached* said = &packet.as.attached;
  while (packet.fd_count > 0) close(packet.fds[--packet.fd_count]);
  if (session->gpu != NULL) {
    /* Once, so that every stream of the job may read them from the start. */
    const isthmus_code taken = isthmus_gpu_take_back(&session->channel, session->gpu, NULL);
    if (taken != ISTHMUS_OK) return taken;
    const isthmus_code there = isthmus_gpu_finish(&session->channel, session->gpu);
    if (there != ISTHMUS_OK) return there;
  }
  session->info.group_id = said->group_id;
  session->info.group_index = said->group_index;
  session->info.group_count = said->group_count;
  session->info.rank = said->rank;
  session->info.world_size = said->world_size;
  session->info.round = said->round;
  session->info.rounds = said->rounds;
  session->info.every_steps = said->every_steps;
  session->info.overlap_steps = said->overlap_steps;
  session->info.run_steps = said->run_steps;
  session->info.run_samples = said->run_samples;
  return ISTHMUS_OK;
}

isthmus_code isthmus_open(isthmus_session* session, const isthmus_attach_options* options,
                          const isthmus_tensor* tensors, size_t count) {
  isthmus_channel* channel = &session->channel;
  if (tensors == NULL || count == 0 || count > ISTHMUS_WIRE_MAX_ENTRIES ||
      tensors->struct_size < sizeof(isthmus_tensor)) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "expected 1 to %d tensors with their struct_size set to %zu, got %zu with "
                        "%zu",
                        ISTHMUS_WIRE_MAX_ENTRIES, sizeof(isthmus_tensor), count,
                        tensors == NULL || count == 0 ? 0 : tensors->struct_size);
  }
  session->slots = calloc(count, sizeof(*session->slots));
  if (session->slots == NULL) {
    return isthmus_fail(channel, ISTHMUS_RESOURCE_EXHAUSTED, "no memory for %zu tensors", count);
  }
  session->slot_count = count;
  channel->keep_waiting = options->keep_waiting;
  channel->waiting_context = options->waiting_context;
  session->period.own_optimizer = options->own_optimizer != 0;
  isthmus_set_timeout(channel, options->timeout_seconds);
  isthmus_wire_hello hello = {.local_rank = options->local_rank,
                              .local_world_size = options->local_world_size,
                              .entry_count = (uint32_t)count,
                              .memory = (uint32_t)options->memory,
                              .own_optimizer = options->own_optimizer != 0};
  isthmus_wire_header filled;
  isthmus_code code = isthmus_connect(channel, options->socket_path);
  if (code == ISTHMUS_OK)
    code = isthmus_send(channel, ISTHMUS_WIRE_HELLO, &hello, sizeof(hello), true);
  if (code == ISTHMUS_OK) code = send_table(session, tensors);
  if (code == ISTHMUS_OK) code = receive_buffers(session);
  if (code != ISTHMUS_OK) return code;
  code = copy_initial_values(session, tensors);
  if (code != ISTHMUS_OK) return code;
  code = isthmus_send(channel, ISTHMUS_WIRE_FILLED, &filled, sizeof(filled), true);
  if (code == ISTHMUS_OK) code = wait_until_attached(session);
  isthmus_set_timeout(channel, 0);
  return code;
}

bool isthmus_is_owner(const isthmus_session* session) { return session->owner == getpid(); }

isthmus_code isthmus_check_owner(isthmus_session* session, const char* call) {
  if (isthmus_is_owner(session)) return ISTHMUS_OK;
  return isthmus_fail(&session->channel, ISTHMUS_FAILED_PRECONDITION,
                      "%s: expected the process that attached, %ld, got its forked child %ld, "
                      "which may read and detach; attach there for a session of its own",
                      call, (long)session->owner, (long)getpid());
}

void isthmus_free(isthmus_session* session) {
  const size_t flat_bytes = session->flat_length * session->element_bytes;
  const bool owner = isthmus_is_owner(session);
  if (session->gpu == NULL) {
    if (session->parameters != NULL) munmap(session->parameters, flat_bytes);
    if (session->gradients != NULL) munmap(session->gradients, flat_bytes);
  } else if (owner) {
    isthmus_gpu_close(session->gpu); /* before the daemon hears of it and frees the memory */
  } else {
    isthmus_gpu_abandon(session->gpu);
  }
  if (owner) {
    isthmus_disconnect(&session->channel);
  } else {
    isthmus_drop(&session->channel);
  }
  if (session->constants != NULL) munmap(session->constants, session->constants_bytes);
  if (session->pace != NULL) munmap(session->pace, sizeof(*session->pace));
  if (session->here != NULL) munmap(session->here, sizeof(*session->here));
  free(session->slots);
  free(session->aside);
  free(session);
}
