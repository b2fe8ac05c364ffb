// CHECK for our own invariants: a broken one ends the process with its place and text. Input from
// peers and users is never CHECKed; it is validated and answered with a status.
#ifndef ISTHMUS_COMMON_BASE_CHECK_H_
#define ISTHMUS_COMMON_BASE_CHECK_H_

#include <cstdio>
#include <cstdlib>

#define ISTHMUS_CHECK(condition)                                                         \
  do {                                                                                   \
    if (!(condition)) [[unlikely]] {                                                     \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)

#endif  // ISTHMUS_COMMON_BASE_CHECK_H_
