// std::random_device of libstdc++'s archive calls arc4random(), which glibc has since 2.36. A program
// that has its own starts from 2.34 on.
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

uint32_t arc4random(void);

uint32_t arc4random(void) {
  uint32_t value;
  // So few bytes come whole or, before the kernel's generator is ready, after a wait; never in part.
  while (getrandom(&value, sizeof value, 0) != sizeof value) {
    if (errno != EINTR) abort();  // a sandbox that forbids it
  }
  return value;
}
