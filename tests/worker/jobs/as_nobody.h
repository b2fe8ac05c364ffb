// What Linux lets root do, and refuses to everybody else: tests of refusals that may run as root.
#ifndef ISTHMUS_TESTS_WORKER_JOBS_AS_NOBODY_H_
#define ISTHMUS_TESTS_WORKER_JOBS_AS_NOBODY_H_

#include <gtest/gtest.h>
#include <unistd.h>

namespace isthmus {

// While it lives, the process is nobody's if it was root's.
class AsNobody {
 public:
  AsNobody() {
    if (geteuid() != 0) return;
    EXPECT_EQ(seteuid(65534), 0);
  }
  ~AsNobody() {
    if (getuid() != 0) return;
    EXPECT_EQ(seteuid(0), 0);
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
};

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_WORKER_JOBS_AS_NOBODY_H_
