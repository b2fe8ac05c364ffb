// A stack to run on, entered and left by hand, for host_grid.cc. The C library's swapcontext()
// makes a system call each time, and under AddressSanitizer wipes what is known of the whole stack;
// a grid switches millions of times.
#ifndef ISTHMUS_COMMON_DEVICE_FIBER_H_
#define ISTHMUS_COMMON_DEVICE_FIBER_H_

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace isthmus {

// Where who is not running left off. One thread at a time; a fiber stays with the thread that runs
// it first. Nothing may be thrown out of it.
struct FiberContext {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context = {};
#endif
};

// The next switch to `fiber` calls `entry`, which must not return, on the `bytes` at `stack`; what
// was there before is forgotten; AddressSanitizer has to be told so by who calls. `stack` is
// aligned to 16 bytes.
void PrepareFiber(FiberContext* fiber, char* stack, size_t bytes, void (*entry)());

// Leaves off in `from`, goes on in `to`.
void SwitchFiber(FiberContext* from, FiberContext* to);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_DEVICE_FIBER_H_
