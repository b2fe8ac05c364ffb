#define _GNU_SOURCE
#include "client/channel.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
  kAskEveryMs = 90, /* isthmus.h promises ten times a second */
  kTryEveryMs = 50  /* to connect to a daemon that is not there */
};

isthmus_code isthmus_fail(isthmus_channel* channel, isthmus_code code, const char* format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(channel->error, sizeof(channel->error), format, args);
  va_end(args);
  return code;
}

static double now_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void isthmus_set_timeout(isthmus_channel* channel, double seconds) {
  channel->bounded = seconds > 0;
  channel->deadline = now_seconds() + seconds;
}

static isthmus_code too_late(isthmus_channel* channel) {
  if (channel->waiting[0] == '\0') {
    return isthmus_fail(channel, ISTHMUS_DEADLINE_EXCEEDED,
                        "the daemon did not answer within timeout_seconds");
  }
  /* As much as fits: the words may fill the buffer by themselves. */
  return isthmus_fail(channel, ISTHMUS_DEADLINE_EXCEEDED,
                      "timeout_seconds are over, and the daemon was %.1900s", channel->waiting);
}

/* OK unless the caller has had enough. */
static isthmus_code ask_caller(isthmus_channel* channel) {
  if (channel->keep_waiting == NULL ||
      channel->keep_waiting(channel->waiting_context, channel->waiting)) {
    return ISTHMUS_OK;
  }
  return isthmus_fail(channel, ISTHMUS_INTERRUPTED, "keep_waiting ended the call%s%.1900s",
                      channel->waiting[0] == '\0' ? "" : "; the daemon was ", channel->waiting);
}

/* How long a wait may take before somebody has to be asked, at most `longest`; 0: too late. */
static int slice_ms(const isthmus_channel* channel, bool ask, int longest) {
  double left_ms = longest;
  if (channel->bounded) {
    const double until_deadline_ms = 1e3 * (channel->deadline - now_seconds());
    if (until_deadline_ms <= 0) return 0;
    if (until_deadline_ms < left_ms) left_ms = until_deadline_ms;
  }
  if (ask && channel->keep_waiting != NULL && left_ms > kAskEveryMs) left_ms = kAskEveryMs;
  return left_ms < INT_MAX - 1 ? (int)left_ms + 1 : INT_MAX;
}

/* Until the socket is ready for `events`, or broken; sends and receives then say how. `ask`: the
 * caller may end it. A signal alone never does: its handler has run, and the wait goes on. */
static isthmus_code wait_for(isthmus_channel* channel, short events, bool ask) {
  struct pollfd entry = {.fd = channel->fd, .events = events};
  int timeout_ms = 0; /* an answer that is there comes before any question */
  for (;;) {
    const int ready = poll(&entry, 1, timeout_ms);
    if (ready > 0) return ISTHMUS_OK;
    if (ready < 0 && errno != EINTR && errno != EAGAIN) {
      return isthmus_fail(channel, ISTHMUS_INTERNAL, "poll: %s", strerror(errno));
    }
    const isthmus_code code = ask ? ask_caller(channel) : ISTHMUS_OK;
    if (code != ISTHMUS_OK) return code;
    timeout_ms = slice_ms(channel, ask, INT_MAX);
    if (timeout_ms == 0) return too_late(channel);
    if (!channel->bounded && (!ask || channel->keep_waiting == NULL)) timeout_ms = -1;
  }
}

static isthmus_code no_daemon(isthmus_channel* channel, const char* path, int error) {
  switch (error) {
    case EACCES:
    case EPERM:
      return isthmus_fail(channel, ISTHMUS_FAILED_PRECONDITION,
                          "socket '%s': %s: it is open to its daemon's user alone, unless "
                          "isthmus-worker runs with --socket-mode or --socket-group",
                          path, strerror(error));
    case EPROTOTYPE:
      return isthmus_fail(channel, ISTHMUS_FAILED_PRECONDITION,
                          "socket '%s': what listens there is no Isthmus daemon: %s", path,
                          strerror(error));
    default:
      return isthmus_fail(channel, ISTHMUS_UNAVAILABLE, "no daemon at '%s'%s: %s", path,
                          channel->bounded ? " within timeout_seconds" : "", strerror(error));
  }
}

isthmus_code isthmus_connect(isthmus_channel* channel, const char* path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) == 0 || strlen(path) >= sizeof(address.sun_path)) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "socket path '%s': expected 1 to %zu bytes, got %zu", path,
                        sizeof(address.sun_path) - 1, strlen(path));
  }
  memcpy(address.sun_path, path, strlen(path));
  /* Non-blocking: behind a full backlog nothing could end a connect() that blocks. */
  channel->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (channel->fd < 0) {
    return isthmus_fail(channel, ISTHMUS_RESOURCE_EXHAUSTED, "socket: %s", strerror(errno));
  }
  for (;;) {
    if (connect(channel->fd, (const struct sockaddr*)&address, sizeof(address)) == 0) break;
    const int error = errno;
    if (error == EINTR) continue;
    const bool busy = error == EAGAIN;
    /* Not started yet, or killed and not started again yet. */
    const bool absent = error == ENOENT || error == ECONNREFUSED;
    if (!busy && !(absent && channel->bounded)) return no_daemon(channel, path, error);
    snprintf(channel->waiting, sizeof(channel->waiting),
             busy ? "busy with other jobs at '%s': %s" : "not there, at '%s': %s", path,
             strerror(error));
    const isthmus_code code = ask_caller(channel);
    if (code != ISTHMUS_OK) return code;
    const int pause_ms = slice_ms(channel, true, kTryEveryMs);
    if (pause_ms == 0) return busy ? too_late(channel) : no_daemon(channel, path, error);
    poll(NULL, 0, pause_ms);
  }
  channel->waiting[0] = '\0';
  return ISTHMUS_OK;
}

static void take_descriptors(struct msghdr* message, isthmus_packet* packet) {
  for (struct cmsghdr* part = CMSG_FIRSTHDR(message); part != NULL;
       part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      if (packet->fd_count < ISTHMUS_WIRE_BUFFER_FDS) {
        packet->fds[packet->fd_count++] = fd;
      } else {
        close(fd);
      }
    }
  }
}

/* One packet of any kind, its length in *size; UNAVAILABLE when the daemon is gone. */
static isthmus_code receive_any(isthmus_channel* channel, isthmus_packet* packet, size_t* size) {
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(ISTHMUS_WIRE_BUFFER_FDS * sizeof(int))];
  } control;
  bool reset_seen = false;
  packet->fd_count = 0;
  for (;;) {
    const isthmus_code waited = wait_for(channel, POLLIN, true);
    if (waited != ISTHMUS_OK) return waited;
    struct iovec span = {.iov_base = &packet->as, .iov_len = sizeof(packet->as)};
    struct msghdr message = {.msg_iov = &span, .msg_iovlen = 1};
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof(control.bytes);
    const ssize_t got = recvmsg(channel->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
    if (got > 0) {
      take_descriptors(&message, packet);
      *size = (size_t)got;
      return ISTHMUS_OK;
    }
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0 && errno == ECONNRESET && !reset_seen) {
      /* The daemon closed with packets of ours unread. The kernel reports that once, ahead of the
       * daemon's last words, which are still queued. */
      reset_seen = true;
      continue;
    }
    return isthmus_fail(channel, ISTHMUS_UNAVAILABLE, "the daemon went away: %s",
                        got < 0 ? strerror(errno) : "it closed the connection");
  }
}

/* The daemon's ERROR as a result. Its layout is the same in all versions. */
static isthmus_code take_error(isthmus_channel* channel, const isthmus_packet* packet,
                               size_t size) {
  const isthmus_wire_error* error = &packet->as.error;
  const bool valid = size == sizeof(*error) && error->text_size <= ISTHMUS_WIRE_MAX_TEXT &&
                     error->code > ISTHMUS_END && error->code <= ISTHMUS_INTERNAL;
  if (!valid) {
    return isthmus_fail(channel, ISTHMUS_INTERNAL, "the daemon sent a malformed ERROR of %zu bytes",
                        size);
  }
  return isthmus_fail(channel, (isthmus_code)error->code, "%.*s", (int)error->text_size,
                      error->text);
}

static isthmus_code check_packet(isthmus_channel* channel, isthmus_wire_type type, size_t size,
                                 const isthmus_packet* packet, size_t got) {
  const isthmus_wire_header* header = &packet->as.header;
  if (got < sizeof(*header) || header->magic != ISTHMUS_WIRE_MAGIC || header->size != got) {
    return isthmus_fail(channel, ISTHMUS_INTERNAL,
                        "what listens is no Isthmus daemon: a packet of %zu bytes is not ours",
                        got);
  }
  if (header->type == ISTHMUS_WIRE_ERROR) return take_error(channel, packet, got);
  if (header->version != ISTHMUS_WIRE_VERSION) {
    return isthmus_fail(channel, ISTHMUS_FAILED_PRECONDITION,
                        "the daemon speaks job protocol %d, expected %d", header->version,
                        ISTHMUS_WIRE_VERSION);
  }
  if (header->type != type || got != size) {
    return isthmus_fail(channel, ISTHMUS_INTERNAL,
                        "expected packet type %d of %zu bytes from the daemon, got %d of %zu", type,
                        size, header->type, got);
  }
  return ISTHMUS_OK;
}

/* Takes in what the daemon says about waiting. */
static void take_waiting(isthmus_channel* channel, const isthmus_packet* packet, size_t size) {
  const isthmus_wire_waiting* said = &packet->as.waiting;
  if (size != sizeof(*said) || said->text_size > ISTHMUS_WIRE_MAX_TEXT) return;
  memcpy(channel->waiting, said->text, said->text_size);
  channel->waiting[said->text_size] = '\0';
}

static bool is_waiting(const isthmus_wire_header* header, size_t size) {
  return size >= sizeof(*header) && header->magic == ISTHMUS_WIRE_MAGIC &&
         header->version == ISTHMUS_WIRE_VERSION && header->type == ISTHMUS_WIRE_WAITING;
}

/* Until something other than words about waiting is there: a packet, the end or an error. */
static isthmus_code await_answer(isthmus_channel* channel) {
  for (;;) {
    const isthmus_code waited = wait_for(channel, POLLIN, true);
    if (waited != ISTHMUS_OK) return waited;
    isthmus_wire_header header;
    const ssize_t got =
        recv(channel->fd, &header, sizeof(header), MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0 || !is_waiting(&header, (size_t)got)) return ISTHMUS_OK;
    isthmus_packet packet;
    size_t size = 0;
    const isthmus_code code = receive_any(channel, &packet, &size);
    if (code != ISTHMUS_OK) return code;
    while (packet.fd_count > 0) close(packet.fds[--packet.fd_count]);
    take_waiting(channel, &packet, size);
  }
}

isthmus_code isthmus_await(isthmus_channel* channel, double seconds) {
  const bool bounded = channel->bounded;
  const double deadline = channel->deadline;
  channel->bounded = true;
  channel->deadline = now_seconds() + seconds;
  const isthmus_code code = await_answer(channel);
  channel->bounded = bounded;
  channel->deadline = deadline;
  return code;
}

isthmus_code isthmus_receive(isthmus_channel* channel, isthmus_wire_type type, size_t size,
                             isthmus_packet* packet) {
  size_t got = 0;
  isthmus_code code = await_answer(channel);
  if (code == ISTHMUS_OK) code = receive_any(channel, packet, &got);
  if (code != ISTHMUS_OK) return code;
  code = check_packet(channel, type, size, packet, got);
  if (code != ISTHMUS_OK) {
    while (packet->fd_count > 0) close(packet->fds[--packet->fd_count]);
  }
  return code;
}

/* After a failed send: the daemon's reason where it left one. */
static isthmus_code last_words(isthmus_channel* channel, int send_errno) {
  isthmus_packet packet;
  size_t got = 0;
  while (receive_any(channel, &packet, &got) == ISTHMUS_OK) {
    while (packet.fd_count > 0) close(packet.fds[--packet.fd_count]);
    if (got >= sizeof(isthmus_wire_header) && packet.as.header.magic == ISTHMUS_WIRE_MAGIC &&
        packet.as.header.type == ISTHMUS_WIRE_ERROR) {
      return take_error(channel, &packet, got);
    }
  }
  return isthmus_fail(channel, ISTHMUS_UNAVAILABLE, "the daemon went away: %s",
                      strerror(send_errno));
}

isthmus_code isthmus_send(isthmus_channel* channel, isthmus_wire_type type, void* message,
                          size_t size, bool interruptible) {
  isthmus_wire_header* header = message;
  *header = (isthmus_wire_header){.magic = ISTHMUS_WIRE_MAGIC,
                                  .version = ISTHMUS_WIRE_VERSION,
                                  .type = (uint16_t)type,
                                  .size = (uint32_t)size};
  for (;;) {
    if (send(channel->fd, message, size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return ISTHMUS_OK;
    const int error = errno;
    if (error == EINTR) continue;
    if (error == EPIPE || error == ECONNRESET || error == ENOTCONN) {
      return last_words(channel, error);
    }
    if (error != EAGAIN && error != EWOULDBLOCK) {
      return isthmus_fail(channel, ISTHMUS_RESOURCE_EXHAUSTED, "send: %s", strerror(error));
    }
    const isthmus_code waited = wait_for(channel, POLLOUT, interruptible);
    if (waited != ISTHMUS_OK) return waited;
  }
}

void isthmus_leave(isthmus_channel* channel) {
  if (channel->fd < 0) return;
  const isthmus_wire_header detach = {.magic = ISTHMUS_WIRE_MAGIC,
                                      .version = ISTHMUS_WIRE_VERSION,
                                      .type = ISTHMUS_WIRE_DETACH,
                                      .size = sizeof(detach)};
  /* Best effort: the daemon understands a closed socket as well. */
  (void)!send(channel->fd, &detach, sizeof(detach), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void isthmus_disconnect(isthmus_channel* channel) {
  if (channel->fd < 0) return;
  shutdown(channel->fd, SHUT_RDWR);
  isthmus_drop(channel);
}

void isthmus_drop(isthmus_channel* channel) {
  if (channel->fd < 0) return;
  close(channel->fd);
  channel->fd = -1;
}
