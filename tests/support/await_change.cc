#include "tests/support/await_change.h"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "worker/jobs/unique_fd.h"

namespace isthmus {
namespace {

void Drain(int changes) {
  char events[4096];
  while (read(changes, events, sizeof(events)) > 0) {
  }
}

}  // namespace

bool AwaitChange(const std::string& folder, pid_t child, absl::Duration patience,
                 const std::function<bool()>& condition) {
  const UniqueFd changes(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  ISTHMUS_CHECK(inotify_add_watch(changes.get(), folder.c_str(),
                                  IN_CREATE | IN_MOVE | IN_MODIFY | IN_DELETE) >= 0);
  const UniqueFd ended(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
  ISTHMUS_CHECK(ended.get() >= 0);
  const absl::Time deadline = Clock::Real().Now() + patience;
  for (bool last = false; !condition();) {
    if (last) return false;
    pollfd polled[] = {{changes.get(), POLLIN, 0}, {ended.get(), POLLIN, 0}};
    const absl::Duration left = std::max(deadline - Clock::Real().Now(), absl::ZeroDuration());
    const auto milliseconds = absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1)));
    last = poll(polled, 2, static_cast<int>(milliseconds)) == 0 || polled[1].revents != 0;
    Drain(changes.get());
  }
  return true;
}

}  // namespace isthmus
