/* libisthmus: what a training job calls to join one model trained across several sites.
 *
 * A job rank attaches to its site's worker daemon over a Unix socket with the list of its tensors,
 * and gets flat parameter and gradient buffers, float32 or bfloat16, in shared memory or on its
 * GPU. Each step it writes its gradients, calls isthmus_step(), and finds the new parameters in
 * place.
 *
 *   isthmus_session* s;
 *   isthmus_attach(&options, tensors, n, &s);        parameters now hold the run's masters
 *   for (;;) {
 *     forward/backward on isthmus_parameter(s, i) into isthmus_gradient(s, i)
 *     if (isthmus_step(s, &args, &result) == ISTHMUS_END) break;
 *   }
 *   isthmus_detach(s);
 *
 * A job that would rather keep its own optimizer, and exchange now and then how far it has gone,
 * says so at attach (options.own_optimizer, for runs of scheme local):
 *
 *   for (;;) {
 *     forward/backward; the job's optimizer steps isthmus_parameter(s, i) in place
 *     if (isthmus_step(s, &args, &result) == ISTHMUS_END) break;
 *   }
 *
 * On a GPU (options.memory = ISTHMUS_DEVICE_MEMORY, the daemon runs with --ranks cuda:...)
 * parameters and gradients are device pointers, of a job of either kind. Nothing waits for the GPU:
 * what the job has queued on args.stream before step_begin comes before the daemon's work, and that
 * comes before what the job queues there after step_wait. Use other streams only in an order that
 * this one follows.
 *
 * Threads: a session is used by one thread at a time; different sessions are independent.
 * Signals: none ends a call by itself; when its handler returns, the call goes on. To stop a call
 * that waits, from a handler or another thread, set a flag there that options.keep_waiting reads.
 * An attach that was interrupted has not happened. A step that was is still under way:
 * isthmus_step_wait() goes on waiting for it, isthmus_detach() gives it up, and the session with
 * it, at all local ranks. Who would rather look in from time to time than be called has
 * isthmus_step_poll().
 * Forks: a session belongs to the process that attached. In a forked child (a data loader's, say)
 * it may be read: parameters and constants outside of the parent's step calls, isthmus_get_info();
 * what the child writes into the buffers the parent has, too, so it writes nothing. Device pointers
 * mean nothing there. Steps are refused there with FAILED_PRECONDITION, and isthmus_detach() frees
 * what the child has of the session; neither is noticed by the parent or the daemon, nor is the
 * child's end. The child may attach a session of its own.
 * Errors: every call returns a code; isthmus_error_message() says what happened in words, with
 * ids, expected and actual. After ISTHMUS_ABORTED, detach and attach again: the daemon's masters
 * win. The library depends on libc alone and exports only isthmus_*.
 *
 * Structs passed in start with their own size, so that later versions can grow them: set
 * struct_size = sizeof(struct) and zero the rest. */
#ifndef ISTHMUS_CLIENT_ISTHMUS_H_
#define ISTHMUS_CLIENT_ISTHMUS_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ISTHMUS_API __attribute__((visibility("default")))
#else
#define ISTHMUS_API
#endif

#define ISTHMUS_VERSION_MAJOR 0
#define ISTHMUS_VERSION_MINOR 1

/* What a step may say. The coordinator takes no more than this, so nothing on the way does either:
 * a step that goes beyond is refused where it is made, and costs nobody else a round. */
#define ISTHMUS_MAX_RATE 1e6f /* of learning rates and weight decays, from 0 */
/* Of a group: one rank's are at most this, divided by isthmus_info.world_size. */
#define ISTHMUS_MAX_SAMPLES (UINT64_C(1) << 53)

typedef enum isthmus_code {
  ISTHMUS_OK = 0,
  ISTHMUS_END = 1,                 /* the run's last round has been applied; not an error */
  ISTHMUS_INVALID_ARGUMENT = 2,    /* a call's arguments are wrong; do not retry */
  ISTHMUS_UNAVAILABLE = 3,         /* no daemon at the socket, or it went away; retry later */
  ISTHMUS_ABORTED = 4,             /* another local rank or the daemon's run ended the session */
  ISTHMUS_FAILED_PRECONDITION = 5, /* refused: version, layout, run spec, rank taken, call order */
  ISTHMUS_DEADLINE_EXCEEDED = 6,   /* options.timeout_seconds passed, or isthmus_step_poll's */
  ISTHMUS_RESOURCE_EXHAUSTED = 7,  /* a limit was hit, memory above all */
  ISTHMUS_INTERNAL = 8,            /* a bug in Isthmus */
  ISTHMUS_INTERRUPTED = 9          /* options.keep_waiting ended the call */
} isthmus_code;

/* What the job holds; the daemon's masters are float32 either way. */
typedef enum isthmus_dtype { ISTHMUS_FLOAT32 = 0, ISTHMUS_BFLOAT16 = 1 } isthmus_dtype;

typedef enum isthmus_memory {
  ISTHMUS_HOST_MEMORY = 0,
  ISTHMUS_DEVICE_MEMORY =
      1 /* of the GPU of the daemon's rank; needs the CUDA driver, libcuda.so.1 */
} isthmus_memory;

/* A tensor to train, or a constant. */
typedef struct isthmus_tensor {
  size_t struct_size;
  const char* name;         /* unique, 1 to 256 bytes */
  int32_t dtype;            /* isthmus_dtype, the same for all; constants are bytes, ignore it */
  int32_t ndim;             /* 0 to 16 */
  const int64_t* shape;     /* ndim extents, each positive */
  uint32_t parameter_group; /* which learning rate and weight decay apply; below 64 */
  uint32_t constant;        /* 1: carried by snapshots, never updated, no gradient */
  size_t size_bytes;        /* constants only: their size */
  const void* data;         /* initial contents, copied during attach; NULL: zeros. Of the host;
                               with device memory also the GPU's, once nothing writes them */
} isthmus_tensor;

typedef struct isthmus_attach_options {
  size_t struct_size;
  const char* socket_path;  /* NULL: the environment's ISTHMUS_SOCKET */
  int32_t local_rank;       /* -1: LOCAL_RANK, or 0 where that is unset */
  int32_t local_world_size; /* -1 or 0: LOCAL_WORLD_SIZE, or the daemon's ranks where unset */
  double timeout_seconds;   /* for attach, until training can start; the daemon need not be there
                               yet. 0: it has to be, and then wait without limit */
  int32_t memory;           /* isthmus_memory: where parameters and gradients are to be */
  /* Asked in the thread that waits, in attach and in the session's steps: ten times a second and
   * whenever a signal's handler has run in it. 0 ends the call with ISTHMUS_INTERRUPTED. `what`
   * says what the daemon is doing: "waiting for rank 1 of 2 to attach"; "": it has not said. Calls
   * nothing of Isthmus. NULL: wait. */
  int (*keep_waiting)(void* context, const char* what);
  void* waiting_context; /* its first argument */
  /* 1: the job steps by an optimizer of its own, and the run is one of local steps (scheme local):
   * no gradients here, and isthmus_step() after each of the job's steps. */
  uint32_t own_optimizer;
} isthmus_attach_options;

/* Where this rank stands. */
typedef struct isthmus_info {
  size_t struct_size;
  uint32_t group_id;    /* this site's replica group */
  uint32_t group_index; /* its dense index among group_count groups: read your part of the data */
  uint32_t group_count;
  uint32_t rank;       /* within the group */
  uint32_t world_size; /* ranks of the group */
  uint64_t round;      /* last round applied; 0 before training */
  uint64_t rounds;     /* the run ends with this round; 0: no end */
  uint64_t parameters; /* elements trained, padding not counted */
  uint32_t
      every_steps;        /* steps to the next exchange, from where the last one began; 1 without
                             own_optimizer; 0: the run counts samples or time, and steps of an
                             exchange are named as it goes. A paced run may change it with an exchange */
  uint32_t overlap_steps; /* steps from where one begins to where it is applied; 0: none between. As
                             every_steps. Without own_optimizer 1: a step returns with the round of
                             the step before, and its own crosses while the next gradient is made;
                             the run's last is waited for */
  /* What schedules go by, so that they follow the run and not the process: of each round up to
   * `round` that anything came of, the steps that a group's job took in it (the most of any), and
   * the samples of all groups. What this job has done since is not among them; a round may be that
   * went on without this group. */
  uint64_t run_steps;
  uint64_t run_samples;
} isthmus_info;

typedef struct isthmus_step_args {
  size_t struct_size;
  const float* lr;           /* [parameter_groups], each from 0 to ISTHMUS_MAX_RATE. With
                                own_optimizer neither rates nor their number are read */
  const float* weight_decay; /* the same, decoupled; NULL: 0 */
  uint32_t parameter_groups;
  uint32_t skip;    /* 1: this rank's gradient is unusable; the group sits the round out. With
                       own_optimizer: its parameters are, and the group's steps since the last
                       exchange are dropped at the next, with overlap also those until it is given */
  uint64_t samples; /* in this rank's batch: the weight of its gradient between groups; at most
                       ISTHMUS_MAX_SAMPLES / world_size */
  float loss;       /* of this rank's batch; only reported. NaN or infinite: there is none */
  void* stream;     /* a cudaStream_t, with device memory: whose work so far made the
                       gradients, or with own_optimizer stepped the parameters; NULL: the default
                       stream */
} isthmus_step_args;

typedef struct isthmus_step_result {
  size_t struct_size;
  uint64_t round;           /* the round just applied */
  uint32_t contributors;    /* groups merged in its first bucket */
  uint32_t merged_here;     /* buckets of the round that this group's contribution is part of */
  uint32_t buckets;         /* buckets of the round */
  float loss;               /* mean over contributors, weighted by samples */
  double blocked_seconds;   /* from step_begin until the parameters were new */
  double local_seconds;     /* of that: reduce-scatter, compress, apply, all-gather */
  double peer_wait_seconds; /* of that: waiting for other groups' contributions */
  double link_wait_seconds; /* the rest: the link */
  /* 1: an exchange was applied, which the rest is about, and parameters are the run's (with
   * overlap: and the steps since that exchange began). 0, with own_optimizer: none was; parameters
   * stay the job's own, round is the last one applied, and the rest 0, unless one began, which says
   * what that cost. 0 without own_optimizer: in a run that overlaps nothing was given
   * that anybody is part of, as in a job's first step. */
  uint32_t exchanged;
  uint32_t nonfinite; /* buckets that the group sat out, since NaN or infinities were in what some
                         rank had: of an optimizer of the job's own they are dropped, the parameters
                         are the run's, and its state is the job's to mend */
} isthmus_step_result;

typedef struct isthmus_session isthmus_session;

/* Attaches this rank and blocks until the run can train: all local ranks attached, the
 * coordinator reached, the initial parameters agreed. Parameters and constants then hold the run's
 * state, whatever `data` said; gradients are zero. `tensors` is copied; the same list, in the same
 * order, at every rank and site.
 * On error *session is NULL, nothing is left behind, and isthmus_error_message(NULL) tells this
 * thread why. */
ISTHMUS_API isthmus_code isthmus_attach(const isthmus_attach_options* options,
                                        const isthmus_tensor* tensors, size_t tensor_count,
                                        isthmus_session** session);

/* Who is asked from now on in the place of isthmus_attach_options.keep_waiting, with its context;
 * NULL: nobody. For callers whose answer lives no longer than attach, or belongs to one thread. */
ISTHMUS_API void isthmus_set_keep_waiting(isthmus_session* session,
                                          int (*keep_waiting)(void* context, const char* what),
                                          void* context);

/* Buffers of tensor `index` (its position in the attach list), of the attach list's dtype,
 * row-major, owned by the session and valid until detach. Device pointers with
 * ISTHMUS_DEVICE_MEMORY, but for constants, which are the host's always. Parameters change only
 * inside step calls. NULL for an index out of range or of the wrong kind. */
ISTHMUS_API void* isthmus_parameter(isthmus_session* session, size_t index);
ISTHMUS_API void* isthmus_gradient(isthmus_session* session, size_t index);
ISTHMUS_API void* isthmus_constant(isthmus_session* session, size_t index);

/* The same as a DLManagedTensor of DLPack (not its versioned successor), one-dimensional, for
 * frameworks that take foreign memory without a copy: torch, JAX, NumPy. To be given back by its
 * deleter, from any thread; until then the memory stays mapped, also after detach, when it is no
 * more than memory. NULL as above, or when there is no memory for it. */
struct DLManagedTensor;
ISTHMUS_API struct DLManagedTensor* isthmus_dlpack_parameter(isthmus_session* session,
                                                             size_t index);
ISTHMUS_API struct DLManagedTensor* isthmus_dlpack_gradient(isthmus_session* session, size_t index);

/* The flat buffers that hold all tensors, each start aligned to 64 elements, and their length in
 * elements. Gaps are padding: leave their gradient zero. */
ISTHMUS_API void* isthmus_flat_parameters(isthmus_session* session);
ISTHMUS_API void* isthmus_flat_gradients(isthmus_session* session);
ISTHMUS_API size_t isthmus_flat_length(isthmus_session* session);

ISTHMUS_API isthmus_code isthmus_get_info(isthmus_session* session, isthmus_info* info);

/* With own_optimizer: says that the job has stepped. Hands its parameters over where an exchange is
 * due, which is the same step at all ranks; else nothing leaves the process, and step_wait returns
 * at once. Otherwise:
 * Hands over the gradients. Until isthmus_step_wait() returns, touch neither buffer (with device
 * memory: queue nothing that does). Does not block on the network. ISTHMUS_END when the run is
 * over. After INVALID_ARGUMENT no step has begun, and the session is as it was. */
ISTHMUS_API isthmus_code isthmus_step_begin(isthmus_session* session,
                                            const isthmus_step_args* args);
/* Blocks for at most `seconds`, which may be 0: OK once isthmus_step_wait() would not block, or
 * ISTHMUS_DEADLINE_EXCEEDED, and the step goes on. (With every_steps 0 and overlap step_wait may
 * yet wait for an exchange that was begun before.) The buffers stay the daemon's either way. */
ISTHMUS_API isthmus_code isthmus_step_poll(isthmus_session* session, double seconds);
/* Blocks until the update is in the parameters; with device memory, until what is queued on the
 * step's stream from then on will find it there. ISTHMUS_END when the run ended instead. */
ISTHMUS_API isthmus_code isthmus_step_wait(isthmus_session* session, isthmus_step_result* result);
/* Both in one: isthmus_step_wait() if isthmus_step_poll() says OK within `seconds`, else what that
 * says. For interpreters, which look at their own signals now and then, and for whom a call is
 * dear. */
ISTHMUS_API isthmus_code isthmus_step_wait_for(isthmus_session* session, double seconds,
                                               isthmus_step_result* result);
/* Both in one. `result` may be NULL. After ISTHMUS_INTERRUPTED go on with isthmus_step_wait(). */
ISTHMUS_API isthmus_code isthmus_step(isthmus_session* session, const isthmus_step_args* args,
                                      isthmus_step_result* result);

/* The anchor: what all sites have in common as of *round (NULL: never mind), which no buffer of a
 * job with an optimizer of its own need ever hold; for evaluation and checkpoints. Writes tensor
 * `index` of the attach list to tensors[index], of its size, where that is not NULL; constants are
 * left out. At every rank, between the same two steps: the job's parameters and the counting of its
 * steps stay as they are. Waits for the exchange that is under way, if there is one. Needs memory
 * for another copy of the parameters meanwhile. After ISTHMUS_INTERRUPTED the same call goes on.
 * Host memory only. */
ISTHMUS_API isthmus_code isthmus_read_anchor(isthmus_session* session, void* const* tensors,
                                             size_t tensor_count, uint64_t* round);

/* Leaves and frees the session; NULL is fine. The daemon keeps masters and momentum. In a forked
 * child it frees only, and the parent's session goes on. */
ISTHMUS_API void isthmus_detach(isthmus_session* session);

/* The last error of this session, or of this thread's last attach for NULL. Never NULL; valid
 * until the next call. */
ISTHMUS_API const char* isthmus_error_message(isthmus_session* session);
ISTHMUS_API const char* isthmus_code_name(isthmus_code code);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* ISTHMUS_CLIENT_ISTHMUS_H_ */
