// Tasks performed one after the other by a thread of their own.
#ifndef ISTHMUS_WORKER_DAEMON_TASK_THREAD_H_
#define ISTHMUS_WORKER_DAEMON_TASK_THREAD_H_

#include <deque>
#include <functional>
#include <thread>
#include <utility>

#include "common/base/mutex.h"

namespace isthmus {

// Thread-safe. Add() may be called with other locks held: a core steps under its lock and adds its
// actions there, so that the order in which it decided is the order in which they are performed.
// They are performed with no lock held, and may take their time: whoever heard the event, a thread
// of gRPC or of the job server, has long gone on.
template <typename Task>
class TaskThread {
 public:
  explicit TaskThread(std::function<void(Task&)> perform)
      : perform_(std::move(perform)), thread_([this] { Run(); }) {}
  ~TaskThread() { Stop(); }

  void Add(Task task) {
    MutexLock lock(&mu_);
    if (stopping_) return;
    tasks_.push_back(std::move(task));
    changed_.NotifyOne();
  }
  // Waits for the task under way; those behind it are dropped. One thread calls it, and not a task.
  void Stop() {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
      changed_.NotifyOne();
    }
    if (thread_.joinable()) thread_.join();
  }

 private:
  void Run() {
    while (true) {
      Task task;
      {
        MutexLock lock(&mu_);
        while (tasks_.empty() && !stopping_) changed_.Wait(&mu_);
        if (stopping_) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      perform_(task);
    }
  }

  const std::function<void(Task&)> perform_;
  Mutex mu_;
  CondVar changed_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_DAEMON_TASK_THREAD_H_
