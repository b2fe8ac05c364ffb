#include "cli/base/signals.h"

#include <pthread.h>

#include <algorithm>
#include <ctime>

namespace isthmus {

Signals::Signals() {
  sigemptyset(&signals_);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&signals_, signal);
  pthread_sigmask(SIG_BLOCK, &signals_, &former_);
  // A reader that goes away (`isthmus status | head`) is an error to return, not a reason to die
  // without ending the children.
  std::signal(SIGPIPE, SIG_IGN);
}

Signals::~Signals() { pthread_sigmask(SIG_SETMASK, &former_, nullptr); }

std::optional<int> Signals::Wait(absl::Duration timeout) {
  const timespec limit = absl::ToTimespec(std::max(timeout, absl::ZeroDuration()));
  const int signal = sigtimedwait(&signals_, nullptr, &limit);
  // EINTR (another signal's handler ran) counts as "nothing yet": callers loop anyway.
  if (signal < 0) return std::nullopt;
  return signal;
}

}  // namespace isthmus
