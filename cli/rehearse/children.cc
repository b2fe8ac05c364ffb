#include "cli/rehearse/children.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <optional>

#include "common/base/clock.h"
#include "common/base/printable.h"

namespace isthmus {
namespace {

constexpr int kLogTailBytes = 16 * 1024;

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Our environment with the command's variables instead of ours of the same name.
std::vector<std::string> Environment(const Command& command) {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::pair<std::string, std::string> pair =
        absl::StrSplit(*entry, absl::MaxSplits('=', 1));
    variables.insert(pair);
  }
  for (const auto& [name, value] : command.environment) variables[name] = value;
  std::vector<std::string> entries;
  for (const auto& [name, value] : variables) entries.push_back(absl::StrCat(name, "=", value));
  return entries;
}

// Between fork and exec in a process with threads: only async-signal-safe calls, no allocation.
[[noreturn]] void BecomeChild(char* const* argv, char* const* environment, int log, int error_pipe,
                              pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // it died before the line above
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD}) {
    std::signal(signal, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  // A socket of ours that lived on in a child would keep a connection open that we have closed.
  close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  // Looks the program up on PATH; glibc's allocates nothing.
  execvpe(argv[0], argv, environment);
  const int error = errno;
  (void)!write(error_pipe, &error, sizeof(error));
  _exit(127);
}

}  // namespace

std::string ChildExit::Describe() const {
  if (signal != 0) return absl::StrCat("signal ", signal, " (", strsignal(signal), ")");
  return absl::StrCat("exit code ", code);
}

Children::~Children() {
  SignalAll(SIGKILL);
  EndAll(absl::ZeroDuration());
}

absl::Status Children::Start(const Command& command) {
  std::vector<std::string> arguments = command.argv;
  std::vector<std::string> environment = Environment(command);
  const std::vector<char*> argv = Pointers(arguments);
  const std::vector<char*> envp = Pointers(environment);
  const int log = open(command.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", command.log_path));
  int error_pipe[2];
  if (pipe2(error_pipe, O_CLOEXEC) != 0) {
    close(log);
    return absl::ErrnoToStatus(errno, "cannot make a pipe");
  }
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) BecomeChild(argv.data(), envp.data(), log, error_pipe[1], parent);
  int error = pid < 0 ? errno : 0;
  close(log);
  close(error_pipe[1]);
  if (pid > 0) {
    // Also here, so that Signal() reaches the group even before the child has run.
    setpgid(pid, pid);
    // Ends with the exec, which closes the pipe, or brings the reason why there was none.
    if (read(error_pipe[0], &error, sizeof(error)) > 0) waitpid(pid, nullptr, 0);
  }
  close(error_pipe[0]);
  if (error != 0) {
    return absl::ErrnoToStatus(error,
                               absl::StrCat("cannot start ", command.name, " (", argv[0], ")"));
  }
  running_[command.name] = Child{.pid = pid, .log_path = command.log_path};
  return absl::OkStatus();
}

void Children::Signal(const std::string& name, int signal) {
  if (const auto it = running_.find(name); it != running_.end()) kill(-it->second.pid, signal);
}

void Children::SignalAll(int signal) {
  for (const auto& [name, child] : running_) kill(-child.pid, signal);
}

std::vector<ChildExit> Children::Reap() {
  std::vector<ChildExit> exits;
  for (auto it = running_.begin(); it != running_.end();) {
    const auto& [name, child] = *it;
    siginfo_t info{};
    // Look first: as long as the child is not reaped its number cannot be another process's, and
    // what remains of its group can be killed safely.
    if (waitid(P_PID, static_cast<id_t>(child.pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == 0) {
      ++it;
      continue;
    }
    kill(-child.pid, SIGKILL);
    int status = 0;
    waitpid(child.pid, &status, 0);
    exits.push_back(ChildExit{.name = name,
                              .code = WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                              .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                              .log_path = child.log_path});
    it = running_.erase(it);
  }
  return exits;
}

void Children::EndAll(absl::Duration grace) {
  SignalAll(SIGTERM);
  const absl::Time deadline = Clock::Real().Now() + grace;
  bool killed = false;
  while (true) {
    Reap();
    if (running_.empty()) return;
    if (!killed && Clock::Real().Now() >= deadline) {
      SignalAll(SIGKILL);
      killed = true;
    }
    // SIGCHLD ends the wait early; several of them may be delivered as one.
    const std::optional<int> signal = signals_.Wait(absl::Milliseconds(50));
    if (signal && Signals::AsksToEnd(*signal) && !killed) {
      SignalAll(SIGKILL);
      killed = true;
    }
  }
}

std::string LogTail(const std::string& path, int lines) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return "";
  const auto size = static_cast<std::streamoff>(file.tellg());
  file.seekg(std::max<std::streamoff>(0, size - kLogTailBytes));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> all = absl::StrSplit(text, '\n');
  if (!all.empty() && all.back().empty()) all.pop_back();
  std::string tail;
  const size_t first = all.size() - std::min(all.size(), static_cast<size_t>(lines));
  for (size_t i = first; i < all.size(); ++i) {
    absl::StrAppend(&tail, "  | ", PrintableLines(all[i]), "\n");
  }
  return tail;
}

}  // namespace isthmus
