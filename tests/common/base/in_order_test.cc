#include "common/base/in_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(InOrderTest, PerformsInTheOrderOfAdding) {
  InOrder<int> tasks;
  for (int i : {1, 2, 3}) tasks.Add(i);
  std::vector<int> done;
  tasks.Drain([&](int task) { done.push_back(task); });
  EXPECT_THAT(done, ElementsAre(1, 2, 3));
  tasks.Drain([&](int task) { done.push_back(task); });
  EXPECT_EQ(done.size(), 3u);
}

TEST(InOrderTest, ATaskMayAddAndDrain) {
  InOrder<std::function<void()>> tasks;
  std::vector<int> done;
  const auto drain = [&] { tasks.Drain([](const std::function<void()>& task) { task(); }); };
  tasks.Add([&] {
    tasks.Add([&] { done.push_back(3); });
    drain();  // does nothing: the caller further up is at it
    done.push_back(1);
  });
  tasks.Add([&] { done.push_back(2); });
  drain();
  EXPECT_THAT(done, ElementsAre(1, 2, 3));
}

TEST(InOrderTest, NothingIsPerformedWithoutDrain) {
  InOrder<int> tasks;
  tasks.Add(1);
  std::vector<int> done;
  EXPECT_THAT(done, IsEmpty());
  tasks.Drain([&](int task) { done.push_back(task); });
  EXPECT_THAT(done, ElementsAre(1));
}

// As the engines use it: a number is taken and added under one lock, and performed outside it.
TEST(InOrderTest, ManyThreadsPerformEverythingOnceInOrderOneAtATime) {
  constexpr int kThreads = 8;
  constexpr uint64_t kEach = 2000;
  InOrder<uint64_t> tasks;
  Mutex mu;
  uint64_t next = 0;           // under mu
  std::vector<uint64_t> done;  // by whoever drains: one at a time, so it needs no lock
  std::atomic<int> performing{0};
  std::atomic<int> overlaps{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (uint64_t i = 0; i < kEach; ++i) {
        {
          MutexLock lock(&mu);
          tasks.Add(next++);
        }
        tasks.Drain([&](uint64_t task) {
          if (performing.fetch_add(1) != 0) ++overlaps;
          done.push_back(task);
          performing.fetch_sub(1);
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // Every Add was followed by a Drain, so nothing is left over.
  EXPECT_EQ(overlaps, 0);
  ASSERT_EQ(done.size(), kThreads * kEach);
  for (uint64_t i = 0; i < done.size(); ++i) ASSERT_EQ(done[i], i);
}

}  // namespace
}  // namespace isthmus
