#include "examples/lm/stop_signal.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "absl/time/clock.h"
#include "examples/lm/stopwatch.h"

namespace isthmus::lm {
namespace {

// Lock-free: a handler may touch them, whichever thread the signal comes to.
std::atomic<int> caught{0};
std::atomic<bool> catching{false};  // a ScopedStopSignals lives
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

void Handle(int signal) {
  // What a shell says of a process that the signal killed. No destructors: they may take their
  // time.
  if (!catching || caught != 0) _exit(128 + signal);
  caught = signal;
}

void Install(struct sigaction* old_terminate, struct sigaction* old_interrupt) {
  struct sigaction action = {};
  action.sa_handler = Handle;
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, old_terminate);
  sigaction(SIGINT, &action, old_interrupt);
}

}  // namespace

void ObeyStopSignals() { Install(nullptr, nullptr); }

int StopSignal() { return caught; }

ScopedStopSignals::ScopedStopSignals() {
  caught = 0;
  catching = true;
  Install(&old_terminate_, &old_interrupt_);
}

ScopedStopSignals::~ScopedStopSignals() {
  sigaction(SIGTERM, &old_terminate_, nullptr);
  sigaction(SIGINT, &old_interrupt_, nullptr);
  catching = false;
}

bool SleepUnlessStopped(absl::Duration duration) {
  const Stopwatch watch;
  while (StopSignal() == 0) {
    const absl::Duration left = duration - absl::Seconds(watch.Seconds());
    if (left <= absl::ZeroDuration()) return true;
    absl::SleepFor(std::min(left, absl::Milliseconds(50)));
  }
  return false;
}

}  // namespace isthmus::lm
