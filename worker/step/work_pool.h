// Threads that help ranks with one bucket's arithmetic.
#ifndef ISTHMUS_WORKER_STEP_WORK_POOL_H_
#define ISTHMUS_WORKER_STEP_WORK_POOL_H_

#include <functional>
#include <thread>
#include <vector>

#include "common/base/mutex.h"
#include "common/compression/tile_codec.h"

namespace isthmus {

// Thread-safe: several ranks may call at once, and share the threads.
class WorkPool {
 public:
  // `threads` in all, the caller included: one thread makes no pool.
  explicit WorkPool(int threads);
  ~WorkPool();

  // Runs body(0) ... body(count - 1) on the pool and the calling thread; returns when all are done.
  // A body that throws ends the process, for others may still be working for its caller.
  void Run(int count, const std::function<void(int)>& body);
  // The same as a value; null where there is no pool. The pool must outlive it.
  ParallelFor parallel_for();

 private:
  // One call of Run(), on its caller's stack.
  struct Job {
    const std::function<void(int)>* body;
    int count;
    int next = 0;
    int running = 0;
  };
  void Loop();
  // Takes the next index of `job` and runs it, without the lock; false if none is left.
  bool RunOne(Job& job) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Mutex mu_;
  CondVar work_;
  CondVar done_;
  std::vector<Job*> jobs_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_WORK_POOL_H_
