#include "common/base/signals.h"

#include <signal.h>
#include <time.h>

namespace isthmus {
namespace {

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

void BlockStopSignals() {
  const sigset_t set = StopSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

int WaitForStopSignal(int milliseconds) {
  const sigset_t set = StopSignals();
  if (milliseconds < 0) {
    int received = 0;
    sigwait(&set, &received);
    return received;
  }
  const timespec timeout{milliseconds / 1000, (milliseconds % 1000) * 1'000'000L};
  const int received = sigtimedwait(&set, nullptr, &timeout);
  return received > 0 ? received : 0;
}

}  // namespace isthmus
