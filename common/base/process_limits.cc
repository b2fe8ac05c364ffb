#include "common/base/process_limits.h"

#include <absl/strings/str_cat.h>
#include <sys/resource.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace isthmus {
namespace {

int Count(rlim_t limit) {
  return static_cast<int>(std::min<rlim_t>(limit, std::numeric_limits<int>::max()));
}

}  // namespace

int RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    // Refused where the hard limit says "none" and the kernel has one: the soft one stays, then.
    (void)setrlimit(RLIMIT_NOFILE, &limit);
  }
  return DescriptorLimit();
}

int DescriptorLimit() {
  rlimit limit{};
  // Fails for no reason that this process could have.
  (void)getrlimit(RLIMIT_NOFILE, &limit);
  return Count(limit.rlim_cur);
}

absl::Status CheckThreads(int count) {
  std::mutex mu;
  std::condition_variable tried;
  bool done = false;
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(count));
  std::string reason;
  try {
    while (threads.size() < static_cast<size_t>(count)) {
      threads.emplace_back([&] {
        std::unique_lock<std::mutex> lock(mu);
        tried.wait(lock, [&] { return done; });
      });
    }
  } catch (const std::system_error& error) {
    reason = error.code().message();
  }
  {
    const std::lock_guard<std::mutex> lock(mu);
    done = true;
  }
  tried.notify_all();
  const size_t started = threads.size();
  for (std::thread& thread : threads) thread.join();
  if (reason.empty()) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("needs ", count, " threads, the system gives ", started, " (", reason,
                   "): see `ulimit -u`, the cgroup's pids.max and /proc/sys/kernel/threads-max"));
}

void ExitAtOnce(int code) {
  std::fflush(nullptr);
  std::_Exit(code);
}

}  // namespace isthmus
