// Tasks performed in the order in which they were added, one at a time, by whichever thread is at
// hand. A core steps under its lock and adds its actions there; they are performed outside it.
#ifndef ISTHMUS_COMMON_BASE_IN_ORDER_H_
#define ISTHMUS_COMMON_BASE_IN_ORDER_H_

#include <deque>
#include <utility>

#include "common/base/mutex.h"

namespace isthmus {

// Thread-safe. Add() may be called with other locks held; Drain() must not.
template <typename Task>
class InOrder {
 public:
  void Add(Task task) {
    MutexLock lock(&mu_);
    tasks_.push_back(std::move(task));
  }

  // Performs what is queued, unless another thread (or a caller further up) is at it: then that
  // one will. `perform` may Add() and Drain().
  template <typename Perform>
  void Drain(Perform perform) {
    {
      MutexLock lock(&mu_);
      if (draining_) return;
      draining_ = true;
    }
    while (true) {
      Task task;
      {
        MutexLock lock(&mu_);
        if (tasks_.empty()) {
          draining_ = false;
          return;
        }
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      perform(task);
    }
  }

 private:
  Mutex mu_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mu_);
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_BASE_IN_ORDER_H_
