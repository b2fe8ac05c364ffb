/* Reading the anchor: what all sites have in common, while a job's own parameters are elsewhere. */
#include <stdlib.h>
#include <string.h>

#include "client/session.h"

static size_t flat_bytes(const isthmus_session* session) {
  return session->flat_length * session->element_bytes;
}

static void copy_out(const isthmus_session* session, void* const* tensors) {
  for (size_t i = 0; i < session->slot_count; ++i) {
    const isthmus_slot* slot = &session->slots[i];
    if (tensors[i] == NULL || slot->constant) continue;
    memcpy(tensors[i], session->parameters + slot->offset * session->element_bytes,
           slot->size_bytes);
  }
}

/* Asks for the anchor in the place of the job's parameters, which are put aside. */
static isthmus_code ask(isthmus_session* session) {
  session->aside = malloc(flat_bytes(session));
  if (session->aside == NULL) {
    return isthmus_fail(&session->channel, ISTHMUS_RESOURCE_EXHAUSTED,
                        "read_anchor: no memory for %zu bytes of the job's own parameters",
                        flat_bytes(session));
  }
  memcpy(session->aside, session->parameters, flat_bytes(session));
  isthmus_wire_step_begin message = {.parameter_groups = session->parameter_groups,
                                     .wants = ISTHMUS_WIRE_ANCHOR};
  session->channel.waiting[0] = '\0';
  return isthmus_send(&session->channel, ISTHMUS_WIRE_STEP_BEGIN, &message, sizeof(message), false);
}

static void put_back(isthmus_session* session) {
  memcpy(session->parameters, session->aside, flat_bytes(session));
  free(session->aside);
  session->aside = NULL;
}

static isthmus_code check(isthmus_session* session, void* const* tensors, size_t tensor_count) {
  isthmus_channel* channel = &session->channel;
  if (tensors == NULL || tensor_count != session->slot_count) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "read_anchor: expected a place for each of %zu tensors, got %zu",
                        session->slot_count, tensors == NULL ? 0 : tensor_count);
  }
  if (session->stepping) {
    return isthmus_fail(channel, ISTHMUS_FAILED_PRECONDITION,
                        "read_anchor: rank %u has begun a step; step_wait comes first",
                        session->info.rank);
  }
  if (session->gpu != NULL) {
    return isthmus_fail(channel, ISTHMUS_FAILED_PRECONDITION,
                        "read_anchor: expected parameters in host memory");
  }
  return ISTHMUS_OK;
}

isthmus_code isthmus_read_anchor(isthmus_session* session, void* const* tensors,
                                 size_t tensor_count, uint64_t* round) {
  if (session == NULL) return ISTHMUS_INVALID_ARGUMENT;
  isthmus_code code = isthmus_check_owner(session, "read_anchor");
  if (code == ISTHMUS_OK) code = check(session, tensors, tensor_count);
  if (code != ISTHMUS_OK) return code;
  if (session->broken != ISTHMUS_OK) return session->broken;
  if (round != NULL) *round = session->info.round;
  if (!session->period.own_optimizer || session->ended) {
    copy_out(session, tensors); /* the parameters are the anchor */
    return ISTHMUS_OK;
  }
  if (session->aside == NULL) code = ask(session);
  if (session->aside == NULL) return code; /* nothing was asked for */
  isthmus_packet packet;
  if (code == ISTHMUS_OK) {
    code = isthmus_receive(&session->channel, ISTHMUS_WIRE_STEP_DONE,
                           sizeof(isthmus_wire_step_done), &packet);
  }
  if (code == ISTHMUS_INTERRUPTED) return code; /* the same call goes on */
  if (code == ISTHMUS_OK) {
    /* The round that the job was last given stays what it is. */
    if (round != NULL) *round = packet.as.step_done.round;
    copy_out(session, tensors);
  }
  put_back(session);
  return code == ISTHMUS_OK ? code : isthmus_lose(session, code);
}
