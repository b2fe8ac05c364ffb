// Why a daemon ended.
#ifndef ISTHMUS_WORKER_CORE_DAEMON_EXIT_H_
#define ISTHMUS_WORKER_CORE_DAEMON_EXIT_H_

namespace isthmus {

// The process' exit codes.
enum class DaemonExit : int {
  kOk = 0,        // the run ended and its job has detached, or Stop() was called
  kFailure = 1,   // a bug, or an update that does not decode
  kRefused = 3,   // versions, run spec or a message: the coordinator will not have this worker
  kFenced = 4,    // a newer process has registered for this group
  kLost = 5,      // the coordinator is another instance, or was gone too long
  kSiteLost = 8,  // another machine of the group's site is gone
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_CORE_DAEMON_EXIT_H_
