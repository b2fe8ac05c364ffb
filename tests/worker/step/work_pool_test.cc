#include "worker/step/work_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace isthmus {
namespace {

TEST(WorkPoolTest, RunsEveryIndexOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    WorkPool pool(threads);
    for (const int count : {0, 1, 2, 7, 100}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
      pool.Run(count, [&](int i) { ++runs[static_cast<size_t>(i)]; });
      for (const std::atomic<int>& run : runs) EXPECT_EQ(run, 1);
    }
  }
}

TEST(WorkPoolTest, SeveralCallersShareTheThreads) {
  constexpr int kCallers = 4;
  constexpr int kCount = 16;
  WorkPool pool(3);
  std::vector<std::vector<int>> sums(kCallers);
  std::vector<std::thread> callers;
  for (int c = 0; c < kCallers; ++c) {
    callers.emplace_back([&pool, &sum = sums[static_cast<size_t>(c)]] {
      for (int turn = 0; turn < 500; ++turn) {
        // Not atomic: distinct indices, and all is done when Run() returns.
        std::vector<int> done(kCount);
        pool.Run(kCount, [&](int i) { done[static_cast<size_t>(i)] += i; });
        int total = 0;
        for (const int i : done) total += i;
        sum.push_back(total);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::vector<int>& sum : sums) EXPECT_EQ(sum, std::vector<int>(500, 120));
}

TEST(WorkPoolTest, ThePoolHelpsTheCaller) {
  WorkPool pool(2);
  // Neither could finish without the other.
  std::atomic<int> arrived = 0;
  pool.Run(2, [&](int) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, 2);
}

TEST(WorkPoolTest, ACallerFinishesThoughThePoolIsBusyElsewhere) {
  WorkPool pool(2);
  std::atomic<int> held = 0;
  std::atomic<bool> release = false;
  std::thread other([&] {
    pool.Run(2, [&](int) {
      ++held;
      while (!release) std::this_thread::yield();
    });
  });
  while (held < 2) std::this_thread::yield();
  std::atomic<int> done = 0;
  pool.Run(10, [&](int) { ++done; });
  EXPECT_EQ(done, 10);
  release = true;
  other.join();
}

TEST(WorkPoolTest, ABodyThatThrowsEndsTheProcess) {
  // On the caller's own thread too, where it would otherwise leave others at work for nobody.
  WorkPool pool(1);
  EXPECT_DEATH(pool.Run(2, [](int) { throw std::runtime_error("out of luck"); }), "out of luck");
}

TEST(WorkPoolTest, OneThreadIsNoPool) {
  EXPECT_EQ(WorkPool(1).parallel_for(), nullptr);
  WorkPool pool(2);
  const ParallelFor parallel = pool.parallel_for();
  std::atomic<int> sum = 0;
  parallel(5, [&](int i) { sum += i; });
  EXPECT_EQ(sum, 10);
}

}  // namespace
}  // namespace isthmus
