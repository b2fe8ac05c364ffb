// Child processes that never outlive us: started in process groups of their own, ended in two
// steps, all reaped.
#ifndef ISTHMUS_CLI_REHEARSE_CHILDREN_H_
#define ISTHMUS_CLI_REHEARSE_CHILDREN_H_

#include <absl/status/status.h>
#include <absl/time/time.h>
#include <sys/types.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cli/base/signals.h"

namespace isthmus {

// One program to run.
struct Command {
  std::string name;  // unique among the running: "worker-1"
  std::vector<std::string> argv;
  std::vector<std::pair<std::string, std::string>> environment;  // on top of ours
  std::string log_path;  // stdout and stderr are appended; created if missing

  friend bool operator==(const Command&, const Command&) = default;
};

// How a child ended.
struct ChildExit {
  std::string name;
  int code = 0;    // exit code, if it exited
  int signal = 0;  // or the signal that killed it
  std::string log_path;

  bool ok() const { return code == 0 && signal == 0; }
  // "exit code 3", "signal 9 (Killed)".
  std::string Describe() const;
};

// Single-threaded, and the thread that starts children must live as long as they do: the kernel
// kills them when it ends, which is how they die with us even after SIGKILL.
class Children {
 public:
  // `signals` keeps SIGCHLD for EndAll() to wait on.
  explicit Children(Signals* signals) : signals_(*signals) {}
  // Kills what still runs and reaps it.
  ~Children();
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;

  // Starts `command` without a shell. NOT_FOUND or another code of errno if the program cannot be
  // executed.
  absl::Status Start(const Command& command);
  bool Running(const std::string& name) const { return running_.contains(name); }
  bool AnyRunning() const { return !running_.empty(); }
  // To the child's whole process group. Nothing if it is not running.
  void Signal(const std::string& name, int signal);
  // Those that ended since the last call; does not block. What a child left behind in its process
  // group is killed.
  std::vector<ChildExit> Reap();
  // SIGTERM to all, SIGKILL to who still runs after `grace` or as soon as a signal asks us to end.
  // Blocks until all are reaped.
  void EndAll(absl::Duration grace);

 private:
  struct Child {
    pid_t pid;
    std::string log_path;
  };

  void SignalAll(int signal);

  Signals& signals_;
  std::map<std::string, Child> running_;
};

// The last `lines` lines of a log, each behind "  | ". Reads 16 KiB at most.
std::string LogTail(const std::string& path, int lines);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_REHEARSE_CHILDREN_H_
