/* What a job rank and its daemon say to each other over a SOCK_SEQPACKET Unix socket: one struct
 * below is one packet. Both ends are on one machine, so integers and floats are the machine's own.
 * (docs/protocol.md, P25)
 *
 * The legal order, J for the job rank and D for the daemon:
 *
 *   session  := J:HELLO  J:ENTRY{entry_count}  D:BUFFERS+fds
 *               J:FILLED  D:WAITING*  D:ATTACHED  step*  J:DETACH
 *   step     := J:STEP_BEGIN  D:WAITING*  D:STEP_DONE
 *
 * WAITING says what the answer waits for, each time that this changes; a job that leaves such words
 * unread misses some. At any point the daemon may say ERROR and close; the job may close without
 * DETACH, which the daemon takes for its death. Anything else breaks the protocol and ends the
 * session.
 *
 * BUFFERS carries four memfds, made by the daemon and sealed against resizing, so that neither end
 * can make the other's mapping fault:
 *
 *   parameters  [flat_length] of the entries' dtype
 *   gradients   [flat_length] of the entries' dtype, zero at first; with own_optimizer an
 *               isthmus_wire_pace in its place
 *   constants   byte[constants_bytes]
 *   offsets     uint64_t[entry_count], read-only: where each entry starts, in elements of the flat
 *               buffers, or in bytes of `constants` for a constant
 *
 * With device memory there are only the last two, and with own_optimizer the isthmus_wire_pace
 * before them; parameters and gradients are memory of the device whose UUID the packet names, found
 * by CUDA IPC handles (gradients of own_optimizer are none but the mark). Two interprocess events
 * tell when they may be used: the job records gradients_ready on its stream before it sends
 * STEP_BEGIN, and the daemon touches neither buffer before it is done; the daemon records
 * parameters_ready, and has done all its work, before it sends ATTACHED or STEP_DONE, and the job
 * makes its stream wait for it. Between the gradients and the event the job's stream writes a mark
 * behind the gradients, a uint32_t: the step's number, from 1; with own_optimizer the lower half of
 * `step`. The event of a process that was killed may be done though its work is not; the mark is
 * not written then, and the daemon gives up what the job has. (Before FILLED the job waits until
 * its copies are done.) The job closes the connection once it has let go of both: the daemon keeps
 * them until then, whoever ended the session.
 *
 * Between BUFFERS and FILLED, and from STEP_DONE to STEP_BEGIN, the buffers are the job's; from
 * FILLED to ATTACHED and from STEP_BEGIN to STEP_DONE they are the daemon's.
 *
 * A job with own_optimizer sends STEP_BEGIN only where something is due. What it has is taken in
 * after every_steps of its steps, counted from ATTACHED and from where it was taken in last, with
 * the samples of all of them, their mean loss, and skip if one was to be skipped; it is given what
 * comes of that overlap_steps later, or at the same step where there is no overlap or the run ends
 * with that round. `wants` says which; where both fall on one step, what was taken in before is
 * given first. Once the run is over, it sends one more at its next step, which says so. Rates are
 * 0.
 *
 * In runs whose every_steps is 0 the daemon names the step where what the job has is taken in, by
 * each rank's isthmus_wire_pace: a step that no rank has passed, so that all of them stop at the
 * same one, whatever they do together in between. The rank stores how many steps it has taken, then
 * looks whether it has reached exchange_at, and if so sends STEP_BEGIN with that number; the daemon
 * stores exchange_at at every rank, then looks whether any has taken so many. If one has, it may
 * have looked before, and the daemon names a later step: whoever has stopped at the one before is
 * answered GO_ON (and asks for what else was due). With sequentially consistent stores and loads
 * one of the two always sees the other's.
 *
 * ANCHOR, in the place of all that, has the parameters hold the anchor from STEP_DONE on; the job
 * puts its own back before it sends anything else.
 *
 * A STEP_BEGIN says rates and samples within the bounds of isthmus.h (ISTHMUS_MAX_RATE,
 * ISTHMUS_MAX_SAMPLES over the ranks of the group); a loss may be any float.
 *
 * Versions: the header and isthmus_wire_error never change, so any two versions can refuse each
 * other in words. Anything else may change with ISTHMUS_WIRE_VERSION. */
#ifndef ISTHMUS_CLIENT_JOB_WIRE_H_
#define ISTHMUS_CLIENT_JOB_WIRE_H_

#include <assert.h>
#include <stdint.h>

enum {
  ISTHMUS_WIRE_MAGIC = 0x4a485449, /* also tells a byte order that is not ours */
  ISTHMUS_WIRE_VERSION = 8,

  ISTHMUS_WIRE_MAX_ENTRIES = 1 << 17, /* tensors and constants together */
  ISTHMUS_WIRE_MAX_NAME = 256,
  ISTHMUS_WIRE_MAX_DIMS = 16,
  ISTHMUS_WIRE_MAX_PARAMETER_GROUPS = 64,
  ISTHMUS_WIRE_MAX_TEXT = 2048,
  ISTHMUS_WIRE_BUFFER_FDS = 4,
  ISTHMUS_WIRE_HANDLE_BYTES = 64,
  ISTHMUS_WIRE_MARK_BYTES = 16 /* the mark, and nothing else, behind gradients on a device */
};

typedef enum isthmus_wire_type {
  ISTHMUS_WIRE_HELLO = 1,
  ISTHMUS_WIRE_ENTRY = 2,
  ISTHMUS_WIRE_BUFFERS = 3,
  ISTHMUS_WIRE_FILLED = 4,
  ISTHMUS_WIRE_ATTACHED = 5,
  ISTHMUS_WIRE_STEP_BEGIN = 6,
  ISTHMUS_WIRE_STEP_DONE = 7,
  ISTHMUS_WIRE_DETACH = 8,
  ISTHMUS_WIRE_ERROR = 9,
  ISTHMUS_WIRE_WAITING = 10
} isthmus_wire_type;

/* What a STEP_BEGIN asks for, in this order; ANCHOR stands alone. Without an optimizer of its own a
 * job asks for TAKE and GIVE. All ranks ask for the same. */
enum {
  ISTHMUS_WIRE_GIVE_FIRST = 1, /* with TAKE: what was taken in last is applied and given */
  ISTHMUS_WIRE_TAKE = 2,
  ISTHMUS_WIRE_GIVE = 4,
  ISTHMUS_WIRE_ANCHOR = 8
};

enum { ISTHMUS_WIRE_GO_ON = 2 }; /* of isthmus_wire_step_done.end */

/* Starts every packet. FILLED and DETACH are nothing else. */
typedef struct isthmus_wire_header {
  uint32_t magic;
  uint16_t version;
  uint16_t type; /* isthmus_wire_type */
  uint32_t size; /* of the whole packet, in bytes */
  uint32_t reserved;
} isthmus_wire_header;

typedef struct isthmus_wire_hello {
  isthmus_wire_header header;
  int32_t local_rank;
  int32_t local_world_size; /* -1: not stated */
  uint32_t entry_count;
  uint32_t memory;        /* isthmus_memory: where parameters and gradients are to be */
  uint32_t own_optimizer; /* 0 or 1: the job steps by itself, and needs no gradients */
  uint32_t reserved;
} isthmus_wire_hello;

/* One tensor or constant, in attach order. */
typedef struct isthmus_wire_entry {
  isthmus_wire_header header;
  uint32_t index;    /* position in the attach list: 0, 1, 2 ... */
  uint32_t constant; /* 0 or 1 */
  int32_t dtype;     /* isthmus_dtype; of trained tensors */
  uint32_t ndim;
  uint32_t parameter_group;
  uint32_t name_size;
  uint64_t size_bytes; /* of constants */
  int64_t shape[ISTHMUS_WIRE_MAX_DIMS];
  char name[ISTHMUS_WIRE_MAX_NAME]; /* name_size bytes, no terminator */
} isthmus_wire_entry;

typedef struct isthmus_wire_buffers {
  isthmus_wire_header header;
  uint64_t flat_length;
  uint64_t logical_length; /* without padding */
  uint64_t constants_bytes;
  uint32_t entry_count;
  uint32_t parameter_groups;
  uint32_t memory; /* isthmus_memory, as HELLO asked; the rest is for device memory */
  uint32_t reserved;
  unsigned char device[16];                            /* its UUID */
  unsigned char parameters[ISTHMUS_WIRE_HANDLE_BYTES]; /* CUDA IPC handles */
  unsigned char gradients[ISTHMUS_WIRE_HANDLE_BYTES];
  unsigned char gradients_ready[ISTHMUS_WIRE_HANDLE_BYTES];
  unsigned char parameters_ready[ISTHMUS_WIRE_HANDLE_BYTES];
} isthmus_wire_buffers;

typedef struct isthmus_wire_attached {
  isthmus_wire_header header;
  uint32_t group_id;
  uint32_t group_index;
  uint32_t group_count;
  uint32_t rank;
  uint32_t world_size;
  uint32_t every_steps; /* a job's steps from one exchange to the next; 1 without own_optimizer;
                           0: the daemon names them */
  uint64_t round;
  uint64_t rounds;
  uint32_t overlap_steps; /* from where a job's way is taken in to where it is given; without
                             own_optimizer 1 where STEP_DONE gives what the step before began */
  uint32_t reserved;
  uint64_t run_steps; /* as isthmus_info has them */
  uint64_t run_samples;
} isthmus_wire_attached;

typedef struct isthmus_wire_step_begin {
  isthmus_wire_header header;
  uint64_t samples;
  float loss;
  uint32_t skip; /* 0 or 1 */
  uint32_t parameter_groups;
  uint32_t wants;                              /* as above */
  uint64_t step;                               /* that the job has taken; with own_optimizer */
  uint64_t steps;                              /* with TAKE: that the rest is about */
  float lr[ISTHMUS_WIRE_MAX_PARAMETER_GROUPS]; /* the first parameter_groups count */
  float weight_decay[ISTHMUS_WIRE_MAX_PARAMETER_GROUPS];
} isthmus_wire_step_begin;

typedef struct isthmus_wire_step_done {
  isthmus_wire_header header;
  uint64_t round;
  uint32_t contributors;
  uint32_t merged_here;
  uint32_t buckets;
  float loss;
  double blocked_seconds;
  double local_seconds;
  double peer_wait_seconds;
  double link_wait_seconds;
  uint32_t end;       /* 1: the run is over; or ISTHMUS_WIRE_GO_ON: nothing was taken in */
  uint32_t nonfinite; /* buckets that were not taken in, for NaN or Inf at some rank */
  uint64_t run_steps; /* of the run, `round` included */
  uint64_t run_samples;
  uint32_t every_steps; /* from here on, as in ATTACHED; 0: both as they were */
  uint32_t overlap_steps;
} isthmus_wire_step_done;

/* Shared by one rank of a job with own_optimizer and its daemon; accessed as atomics. */
typedef struct isthmus_wire_pace {
  uint64_t exchange_at; /* the daemon's: the step to stop at; ISTHMUS_WIRE_NOT_NAMED at first */
  uint64_t steps;       /* the rank's: that it has taken since ATTACHED */
  uint64_t samples;     /* the rank's: of those */
} isthmus_wire_pace;

#define ISTHMUS_WIRE_NOT_NAMED UINT64_MAX

typedef struct isthmus_wire_waiting {
  isthmus_wire_header header;
  uint32_t reserved;
  uint32_t text_size;               /* 0: for nothing any more */
  char text[ISTHMUS_WIRE_MAX_TEXT]; /* text_size bytes, no terminator: "waiting for rank 1 of 2 to
                                       attach" */
} isthmus_wire_waiting;

/* The last packet of a refused or ended session. */
typedef struct isthmus_wire_error {
  isthmus_wire_header header;
  int32_t code; /* isthmus_code, neither OK nor END */
  uint32_t text_size;
  char text[ISTHMUS_WIRE_MAX_TEXT]; /* text_size bytes, no terminator */
} isthmus_wire_error;

/* No padding anywhere: compilers and architectures agree on every offset. */
static_assert(sizeof(isthmus_wire_header) == 16, "layout");
static_assert(sizeof(isthmus_wire_hello) == 40, "layout");
static_assert(sizeof(isthmus_wire_entry) == 48 + 8 * 16 + 256, "layout");
static_assert(sizeof(isthmus_wire_buffers) == 72 + 4 * 64, "layout");
static_assert(sizeof(isthmus_wire_attached) == 80, "layout");
static_assert(sizeof(isthmus_wire_step_begin) == 56 + 2 * 4 * 64, "layout");
static_assert(sizeof(isthmus_wire_pace) == 24, "layout");
static_assert(sizeof(isthmus_wire_step_done) == 104, "layout");
static_assert(sizeof(isthmus_wire_waiting) == 24 + 2048, "layout");
static_assert(sizeof(isthmus_wire_error) == 24 + 2048, "layout");

/* Either end needs no larger packet buffer. */
enum { ISTHMUS_WIRE_MAX_PACKET = sizeof(isthmus_wire_error) };

#endif /* ISTHMUS_CLIENT_JOB_WIRE_H_ */
