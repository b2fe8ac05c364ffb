// What the system grants a process: descriptors and threads.
#ifndef ISTHMUS_COMMON_BASE_PROCESS_LIMITS_H_
#define ISTHMUS_COMMON_BASE_PROCESS_LIMITS_H_

#include <absl/status/status.h>

#include <cstdint>

namespace isthmus {

// Raises the soft limit of open descriptors to the hard one, since the usual soft one (1024) is
// there for programs that call select(), and ours do not. Returns how many may be open afterwards.
int RaiseDescriptorLimit();

// How many may be open now.
int DescriptorLimit();

// Whether `count` more threads could be started at this moment: starts them, lets all of them wait
// for each other, and ends them. Libraries abort or leave work undone when the system refuses them
// a thread; asked before anything has begun, the answer is words and an exit code.
// RESOURCE_EXHAUSTED, saying how many there were and which limits to look at. Blocks for some 20 us
// a thread.
absl::Status CheckThreads(int count);

// Ends the process without the destructors of libraries: gRPC waits in them for threads that it was
// refused when it was loaded. For after CheckThreads() has failed and the reason has been told.
[[noreturn]] void ExitAtOnce(int code);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_BASE_PROCESS_LIMITS_H_
