/* What is behind isthmus_session. Internal. */
#ifndef ISTHMUS_CLIENT_SESSION_H_
#define ISTHMUS_CLIENT_SESSION_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/channel.h"
#include "client/gpu.h"
#include "client/isthmus.h"
#include "client/job_wire.h"

/* One tensor or constant, in attach order. */
typedef struct isthmus_slot {
  uint64_t offset; /* elements of the flat buffers, or bytes of the constants */
  uint64_t size_bytes;
  bool constant;
} isthmus_slot;

/* Of a job with an optimizer of its own: its steps since its way was taken in last. */
typedef struct isthmus_period {
  bool own_optimizer;
  bool local; /* nothing is due at the step that has begun */
  bool skip;
  bool taken; /* an exchange has begun, and is not applied yet */
  uint64_t steps;
  uint64_t samples;
  double loss_sum; /* weighted by samples, of the finite ones */
  uint64_t loss_samples;
} isthmus_period;

struct isthmus_session {
  isthmus_channel channel;
  uint32_t holders; /* of its memory: whoever attached, and what was exported (dlpack.c); atomic */
  pid_t owner; /* the process that attached; a forked child has a copy of all this */
  isthmus_slot* slots;
  size_t slot_count;
  unsigned char* parameters; /* [flat_length] elements, shared with the daemon like the next two */
  unsigned char* gradients;
  unsigned char* constants; /* NULL when there are none */
  isthmus_gpu* gpu;         /* NULL: the first two are mapped host memory */
  void* stream;             /* of the step that has begun; with a GPU */
  size_t flat_length;
  size_t element_bytes; /* of parameters and gradients */
  size_t constants_bytes;
  uint32_t parameter_groups;
  isthmus_info info;
  bool stepping;        /* between step_begin and step_wait */
  uint32_t wants;       /* of the step that has begun; job_wire.h */
  unsigned char* aside; /* the job's own parameters while read_anchor waits; else NULL */
  isthmus_period period;
  isthmus_period asked;    /* as it was before the step that has begun asked for an exchange */
  isthmus_wire_pace* pace; /* shared with the daemon; with an optimizer of the job's own */
  uint32_t* here;          /* 1; 0 in a forked child, whose steps are no news to the daemon */
  uint64_t steps;          /* begun; with an optimizer of the job's own, what it is told there */
  uint64_t samples;
  bool ended;          /* the run is over */
  isthmus_code broken; /* why the connection is of no more use; OK while it is */
};

/* Copies a caller's struct of `size` bytes, as its first member says, into ours of `known`: what an
 * older caller lacks is zero, what a newer one adds is ignored. False when there is no size. */
bool isthmus_copy_in(void* to, size_t known, const void* from, size_t size, size_t oldest);
/* The other way round; the caller's first member is left alone. */
void isthmus_copy_out(void* to, size_t size, const void* from, size_t known);

/* The conversation of docs/protocol.md, P25, up to ATTACHED. */
isthmus_code isthmus_open(isthmus_session* session, const isthmus_attach_options* options,
                          const isthmus_tensor* tensors, size_t count);
/* Whether this process is the one that attached. A copy of a session that fork() made shares its
 * parent's socket: whatever it told the daemon would be said in the parent's name. */
bool isthmus_is_owner(const isthmus_session* session);
/* FAILED_PRECONDITION, with words, in any other process; the session stays as it is. */
isthmus_code isthmus_check_owner(isthmus_session* session, const char* call);
/* Remembers what broke the session: each later call repeats it, in the same words. The daemon hears
 * of it at once; but while a device's memory is mapped, the connection stays (job_wire.h). */
isthmus_code isthmus_lose(isthmus_session* session, isthmus_code code);
/* Frees all that a session holds, itself included; of a copy, what this process has of it. */
void isthmus_free(isthmus_session* session);
/* One more holder; one less, and the last frees it. From any thread. */
void isthmus_hold(isthmus_session* session);
void isthmus_release(isthmus_session* session);

#endif /* ISTHMUS_CLIENT_SESSION_H_ */
