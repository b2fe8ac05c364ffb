/* One packet socket to the daemon: bounded waits, whole packets, errors in words. Internal. */
#ifndef ISTHMUS_CLIENT_CHANNEL_H_
#define ISTHMUS_CLIENT_CHANNEL_H_

#include <stdbool.h>
#include <stddef.h>

#include "client/isthmus.h"
#include "client/job_wire.h"

typedef struct isthmus_channel {
  int fd;          /* -1: not connected */
  double deadline; /* on the monotonic clock, in seconds; only if `bounded` */
  bool bounded;
  int (*keep_waiting)(void* context, const char* what); /* as in isthmus_attach_options */
  void* waiting_context;
  char waiting[ISTHMUS_WIRE_MAX_TEXT + 1]; /* what for; empty: nobody has said */
  char error[ISTHMUS_WIRE_MAX_TEXT + 1];   /* why the last call failed */
} isthmus_channel;

/* A packet as received; at most one of the daemon's carries descriptors. */
typedef struct isthmus_packet {
  union {
    isthmus_wire_header header;
    isthmus_wire_buffers buffers;
    isthmus_wire_attached attached;
    isthmus_wire_step_done step_done;
    isthmus_wire_waiting waiting;
    isthmus_wire_error error;
  } as;
  int fds[ISTHMUS_WIRE_BUFFER_FDS]; /* the caller's to close */
  int fd_count;
} isthmus_packet;

/* Writes channel->error and returns `code`, so that failing is one statement. */
isthmus_code isthmus_fail(isthmus_channel* channel, isthmus_code code, const char* format, ...)
    __attribute__((format(printf, 3, 4)));

/* Waits from now on end after `seconds`; 0: never. */
void isthmus_set_timeout(isthmus_channel* channel, double seconds);

/* With a timeout it also waits for the daemon to be there: for the file, and for somebody who
 * listens behind it. Without one, a daemon that is not there is UNAVAILABLE at once. */
isthmus_code isthmus_connect(isthmus_channel* channel, const char* path);

/* The calls below end with INTERRUPTED when keep_waiting says so. Nothing has been sent or received
 * then, and the call may be made again. */

/* Until the next isthmus_receive() would not block: OK; DEADLINE_EXCEEDED after `seconds`, which
 * may be 0. What the daemon says about waiting is taken in on the way. */
isthmus_code isthmus_await(isthmus_channel* channel, double seconds);

/* Fills in the header and sends; `interruptible`: or ends as said above. When the daemon has said
 * why it no longer listens, the result is that error. */
isthmus_code isthmus_send(isthmus_channel* channel, isthmus_wire_type type, void* message,
                          size_t size, bool interruptible);

/* Receives a packet of exactly this type and size; the daemon's ERROR becomes the result. */
isthmus_code isthmus_receive(isthmus_channel* channel, isthmus_wire_type type, size_t size,
                             isthmus_packet* packet);

/* Says DETACH, if that does not block; the connection stays. */
void isthmus_leave(isthmus_channel* channel);
/* Hangs up, also for copies of the descriptor that a fork left in other processes. */
void isthmus_disconnect(isthmus_channel* channel);
/* Closes this process' descriptor; the connection stays that of the others that have one. */
void isthmus_drop(isthmus_channel* channel);

#endif /* ISTHMUS_CLIENT_CHANNEL_H_ */
