// SIGTERM and SIGINT as a flag that the training loop reads between steps.
#ifndef ISTHMUS_EXAMPLES_LM_STOP_SIGNAL_H_
#define ISTHMUS_EXAMPLES_LM_STOP_SIGNAL_H_

#include <csignal>

namespace isthmus::lm {

// The signal caught by a ScopedStopSignals, or 0.
int StopSignal();

// Catches the first SIGTERM and the first SIGINT while it lives; a second one of either kills, for
// whoever cannot wait for the step under way. One at a time.
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

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_STOP_SIGNAL_H_
