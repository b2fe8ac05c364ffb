#include "examples/lm/stop_signal.h"

namespace isthmus::lm {
namespace {

volatile std::sig_atomic_t caught = 0;

void Catch(int signal) { caught = signal; }

}  // namespace

int StopSignal() { return caught; }

ScopedStopSignals::ScopedStopSignals() {
  caught = 0;
  struct sigaction action = {};
  action.sa_handler = Catch;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigaction(SIGTERM, &action, &old_terminate_);
  sigaction(SIGINT, &action, &old_interrupt_);
}

ScopedStopSignals::~ScopedStopSignals() {
  sigaction(SIGTERM, &old_terminate_, nullptr);
  sigaction(SIGINT, &old_interrupt_, nullptr);
}

}  // namespace isthmus::lm
