#define _GNU_SOURCE
#include "client/channel.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

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
  return isthmus_fail(channel, ISTHMUS_DEADLINE_EXCEEDED,
                      "the daemon did not answer within timeout_seconds");
}

isthmus_code isthmus_connect(isthmus_channel* channel, const char* path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) == 0 || strlen(path) >= sizeof(address.sun_path)) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "socket path '%s': expected 1 to %zu bytes, got %zu", path,
                        sizeof(address.sun_path) - 1, strlen(path));
  }
  memcpy(address.sun_path, path, strlen(path));
  channel->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (channel->fd < 0) {
    return isthmus_fail(channel, ISTHMUS_RESOURCE_EXHAUSTED, "socket: %s", strerror(errno));
  }
  for (;;) {
    if (channel->bounded) {
      /* A full backlog blocks connect(); for Unix sockets this option bounds that wait. */
      const double left = channel->deadline - now_seconds();
      if (left <= 0) return too_late(channel);
      struct timeval timeout = {.tv_sec = (time_t)left};
      timeout.tv_usec = (suseconds_t)(1e6 * (left - (double)timeout.tv_sec)) + 1;
      if (timeout.tv_usec > 999999) timeout.tv_usec = 999999;
      setsockopt(channel->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    }
    if (connect(channel->fd, (const struct sockaddr*)&address, sizeof(address)) == 0) {
      return ISTHMUS_OK;
    }
    if (errno == EINTR || errno == EAGAIN) continue;
    const isthmus_code code = errno == EACCES || errno == EPERM || errno == EPROTOTYPE
                                  ? ISTHMUS_FAILED_PRECONDITION
                                  : ISTHMUS_UNAVAILABLE;
    return isthmus_fail(channel, code, "no daemon at '%s': %s", path, strerror(errno));
  }
}

/* Until the socket is ready for `events`, or broken; sends and receives then say how. */
static isthmus_code wait_for(isthmus_channel* channel, short events) {
  struct pollfd entry = {.fd = channel->fd, .events = events};
  for (;;) {
    int timeout_ms = -1;
    if (channel->bounded) {
      const double left_ms = 1e3 * (channel->deadline - now_seconds());
      if (left_ms <= 0) return too_late(channel);
      timeout_ms = left_ms < INT_MAX - 1 ? (int)left_ms + 1 : INT_MAX;
    }
    const int ready = poll(&entry, 1, timeout_ms);
    if (ready > 0) return ISTHMUS_OK;
    if (ready < 0 && errno != EINTR && errno != EAGAIN) {
      return isthmus_fail(channel, ISTHMUS_INTERNAL, "poll: %s", strerror(errno));
    }
  }
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
    const isthmus_code waited = wait_for(channel, POLLIN);
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

isthmus_code isthmus_receive(isthmus_channel* channel, isthmus_wire_type type, size_t size,
                             isthmus_packet* packet) {
  size_t got = 0;
  isthmus_code code = receive_any(channel, packet, &got);
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
                          size_t size) {
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
    const isthmus_code waited = wait_for(channel, POLLOUT);
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
