// How much this program has asked of the heap: its operator new counts (not under a sanitizer).
#ifndef ISTHMUS_CLI_BENCH_ALLOCATIONS_H_
#define ISTHMUS_CLI_BENCH_ALLOCATIONS_H_

#include <cstdint>

namespace isthmus {

struct Allocations {
  uint64_t count = 0;  // calls so far
  uint64_t bytes = 0;  // in use now
};

// Thread-safe.
Allocations CountAllocations();

}  // namespace isthmus

#endif  // ISTHMUS_CLI_BENCH_ALLOCATIONS_H_
