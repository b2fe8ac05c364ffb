#include "common/device/fiber.h"

#include <gtest/gtest.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include <cstdint>
#include <vector>

namespace isthmus {
namespace {

constexpr size_t kStackBytes = 64 << 10;

struct Fibers {
  FiberContext main;
  FiberContext fiber;
  std::vector<int> trace;
  bool aligned = false;
  double sum = 0;
} fibers;

void Yield() { SwitchFiber(&fibers.fiber, &fibers.main); }

// Leaves off in the depth of its own stack, with values in registers and in memory.
double Descend(int depth, double value) {
  alignas(16) volatile char local[16] = {};
  fibers.aligned = reinterpret_cast<uintptr_t>(&local[0]) % 16 == 0;
  fibers.trace.push_back(depth);
  Yield();
  if (depth == 0) return value;
  const double below = Descend(depth - 1, value * 3);
  Yield();
  return below + value + local[depth % 16];
}

void Enter() {
  fibers.sum = Descend(5, 1.5);
  fibers.trace.push_back(-1);
  while (true) Yield();
}

alignas(16) char stack[kStackBytes];

void Begin() {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack, kStackBytes);
#endif
  fibers.trace.clear();
  PrepareFiber(&fibers.fiber, stack, kStackBytes, &Enter);
}

TEST(FiberTest, GoesOnWhereItLeftOffAndMayBeginAnew) {
  for (int times = 0; times < 3; ++times) {
    fibers.sum = 0;
    Begin();
    // Kept by who switches.
    volatile double mine = 0.25;
    int kept = 7;
    for (int i = 0; i < 12; ++i) {
      EXPECT_EQ(fibers.sum, 0) << i;
      SwitchFiber(&fibers.main, &fibers.fiber);
      mine = mine + 1;
      kept += i;
    }
    EXPECT_EQ(fibers.trace, (std::vector<int>{5, 4, 3, 2, 1, 0, -1}));
    EXPECT_TRUE(fibers.aligned);
    EXPECT_EQ(fibers.sum, 1.5 * (1 + 3 + 9 + 27 + 81 + 243));
    EXPECT_EQ(mine, 12.25);
    EXPECT_EQ(kept, 7 + 66);
    // Left in the depth: what was there does not matter to the next.
    Begin();
    SwitchFiber(&fibers.main, &fibers.fiber);
    EXPECT_EQ(fibers.trace, std::vector<int>{5});
  }
}

}  // namespace
}  // namespace isthmus
