// Signals as events to wait for instead of handlers that interrupt.
#ifndef ISTHMUS_CLI_BASE_SIGNALS_H_
#define ISTHMUS_CLI_BASE_SIGNALS_H_

#include <absl/time/time.h>

#include <csignal>
#include <optional>

namespace isthmus {

// Blocks SIGINT, SIGTERM, SIGHUP and SIGCHLD for the calling thread and every thread it starts, so
// that only Wait() sees them: create it before any other thread, one per process. SIGPIPE is
// ignored. The former signal mask comes back with the destructor.
class Signals {
 public:
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // The next signal, or nullopt after `timeout`.
  std::optional<int> Wait(absl::Duration timeout);
  // SIGINT, SIGTERM and SIGHUP ask to end; SIGCHLD says that a child changed.
  static bool AsksToEnd(int signal) { return signal != SIGCHLD; }
  // 128 + signal, as shells report it.
  static int ExitCode(int signal) { return 128 + signal; }

 private:
  sigset_t signals_;
  sigset_t former_;
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_BASE_SIGNALS_H_
