// SIGTERM and SIGINT as a flag that the training loop reads, and whoever waits for the daemon.
#ifndef ISTHMUS_EXAMPLES_LM_STOP_SIGNAL_H_
#define ISTHMUS_EXAMPLES_LM_STOP_SIGNAL_H_

#include <csignal>

#include "absl/time/time.h"

namespace isthmus::lm {

// From here on either signal ends the process at once, as it does by itself in any process but the
// first of a container, for which the kernel ignores what has no handler. Call first in main.
void ObeyStopSignals();

// The signal caught by a ScopedStopSignals, or 0.
int StopSignal();

// While it lives, the first of these signals is caught and does no more; a second one ends the
// process at once, for whoever cannot wait for the step under way. One at a time.
class ScopedStopSignals {
 public:
  ScopedStopSignals();
  ~ScopedStopSignals();
  ScopedStopSignals(const ScopedStopSignals&) = delete;
  ScopedStopSignals& operator=(const ScopedStopSignals&) = delete;

 private:
  struct sigaction old_terminate_;
  struct sigaction old_interrupt_;
};

// False if a signal was caught by then.
bool SleepUnlessStopped(absl::Duration duration);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_STOP_SIGNAL_H_
