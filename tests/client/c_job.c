/* A job rank in C11, as a process of its own: shows that isthmus.h is C, and gives the tests
 * something to kill.
 *
 *   c_job SOCKET RANK steps N    N steps, then detaches; prints "done" and exits 0
 *   c_job SOCKET RANK hang       begins a step, prints "begun" and waits to be killed
 *   c_job SOCKET RANK fork       the same, with a child that keeps the socket open; it prints its
 *                                process id instead
 *   c_job SOCKET RANK loader N   a child that reads, tries to step, and exits as a data loader
 * does: through the handlers that its parent has registered. Prints what the step said; then N
 * steps as above */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/isthmus.h"

static int fail(const char* call, isthmus_code code, isthmus_session* session) {
  printf("%s: %s: %s\n", call, isthmus_code_name(code), isthmus_error_message(session));
  isthmus_detach(session);
  return 1;
}

static void say_and_wait(const char* what) {
  puts(what);
  fflush(stdout);
  for (;;) pause();
}

static isthmus_session* global;

/* What the destructor of a global Session does. */
static void detach_at_exit(void) { isthmus_detach(global); }

/* Runs a child to its end; false unless that was well. */
static bool run_loader(const isthmus_step_args* args) {
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    const bool readable = *(const float*)isthmus_parameter(global, 0) == 1;
    const isthmus_code code = isthmus_step(global, args, NULL);
    printf("%s: %s\n", isthmus_code_name(code), isthmus_error_message(global));
    exit(readable ? 0 : 1);
  }
  int status = -1;
  return waitpid(child, &status, 0) == child && status == 0;
}

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const float initial[6] = {1, 2, 3, 4, 5, 6};
  const int64_t shape[2] = {2, 3};
  const isthmus_tensor tensor = {.struct_size = sizeof(tensor),
                                 .name = "w",
                                 .dtype = ISTHMUS_FLOAT32,
                                 .ndim = 2,
                                 .shape = shape,
                                 .data = initial};
  const isthmus_attach_options options = {.struct_size = sizeof(options),
                                          .socket_path = argv[1],
                                          .local_rank = atoi(argv[2]),
                                          .local_world_size = -1};
  isthmus_session* session = NULL;
  isthmus_code code = isthmus_attach(&options, &tensor, 1, &session);
  if (code != ISTHMUS_OK) return fail("attach", code, NULL);
  const float lr = 0.5f;
  const isthmus_step_args args = {
      .struct_size = sizeof(args), .lr = &lr, .parameter_groups = 1, .samples = 1};
  if (strcmp(argv[3], "loader") == 0) {
    global = session;
    atexit(detach_at_exit);
    if (!run_loader(&args)) return 1;
    for (int left = argc > 4 ? atoi(argv[4]) : 1; left > 0 && code == ISTHMUS_OK; --left) {
      code = isthmus_step(session, &args, NULL);
    }
    printf("%s: %s\n", isthmus_code_name(code), isthmus_error_message(session));
    return 0;
  }
  if (strcmp(argv[3], "steps") == 0) {
    for (int left = argc > 4 ? atoi(argv[4]) : 1; left > 0 && code == ISTHMUS_OK; --left) {
      for (int i = 0; i < 6; ++i) ((float*)isthmus_gradient(session, 0))[i] = 1;
      code = isthmus_step(session, &args, NULL);
    }
    if (code > ISTHMUS_END) return fail("step", code, session);
    isthmus_detach(session);
    puts("done");
    return 0;
  }
  code = isthmus_step_begin(session, &args);
  if (code != ISTHMUS_OK) return fail("step_begin", code, session);
  if (strcmp(argv[3], "fork") == 0) {
    const pid_t child = fork();
    if (child == 0) {
      for (;;) pause();
    }
    char text[32];
    snprintf(text, sizeof(text), "%d", (int)child);
    say_and_wait(text);
  }
  say_and_wait("begun");
}
