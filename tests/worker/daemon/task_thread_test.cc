#include "worker/daemon/task_thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <future>
#include <vector>

namespace isthmus {
namespace {

using Thread = TaskThread<std::function<void()>>;

TEST(TaskThreadTest, PerformsInTheOrderOfAddAlsoWhatATaskAdds) {
  std::vector<int> done;
  std::promise<void> last;
  Thread thread([](std::function<void()>& task) { task(); });
  Mutex core;
  {
    MutexLock lock(&core);  // who adds may hold the lock that a task wants
    thread.Add([&] {
      MutexLock inner(&core);
      done.push_back(1);
      thread.Add([&] {
        done.push_back(3);
        last.set_value();
      });
    });
    thread.Add([&] { done.push_back(2); });
  }
  last.get_future().wait();
  thread.Stop();
  EXPECT_THAT(done, testing::ElementsAre(1, 2, 3));
}

TEST(TaskThreadTest, StopWaitsForTheTaskUnderWayAndNothingIsPerformedAfterIt) {
  std::promise<void> begun, go;
  std::atomic<int> done{0};
  Thread thread([](std::function<void()>& task) { task(); });
  thread.Add([&] {
    begun.set_value();
    go.get_future().wait();
    ++done;
  });
  begun.get_future().wait();
  auto stopped = std::async(std::launch::async, [&] { thread.Stop(); });
  EXPECT_EQ(done, 0);
  go.set_value();
  stopped.wait();
  EXPECT_EQ(done, 1);
  thread.Add([&] { ++done; });
  EXPECT_EQ(done, 1);
}

}  // namespace
}  // namespace isthmus
