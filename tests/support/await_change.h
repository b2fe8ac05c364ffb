// Waiting for another process without napping in between.
#ifndef ISTHMUS_TESTS_SUPPORT_AWAIT_CHANGE_H_
#define ISTHMUS_TESTS_SUPPORT_AWAIT_CHANGE_H_

#include <absl/time/time.h>
#include <sys/types.h>

#include <functional>
#include <string>

namespace isthmus {

// Whether `condition` comes to hold. Looks at once, again whenever a file in `folder` comes, goes
// or is written to, and for the last time when `child` has ended or `patience` is over. `child` is
// one of this process that has not been waited for.
bool AwaitChange(const std::string& folder, pid_t child, absl::Duration patience,
                 const std::function<bool()>& condition);

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_SUPPORT_AWAIT_CHANGE_H_
