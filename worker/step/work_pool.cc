#include "worker/step/work_pool.h"

#include <algorithm>

namespace isthmus {

WorkPool::WorkPool(int threads) {
  for (int i = 1; i < threads; ++i) threads_.emplace_back([this] { Loop(); });
}

WorkPool::~WorkPool() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    work_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

bool WorkPool::RunOne(Job& job) noexcept {
  if (job.next >= job.count) return false;
  const int index = job.next++;
  ++job.running;
  if (job.next == job.count) std::erase(jobs_, &job);
  mu_.Unlock();
  (*job.body)(index);
  mu_.Lock();
  if (--job.running == 0) done_.NotifyAll();
  return true;
}

void WorkPool::Loop() {
  MutexLock lock(&mu_);
  while (!stopping_) {
    if (jobs_.empty()) {
      work_.Wait(&mu_);
    } else {
      RunOne(*jobs_.front());
    }
  }
}

void WorkPool::Run(int count, const std::function<void(int)>& body) {
  Job job{&body, count};
  MutexLock lock(&mu_);
  if (count > 1) {
    jobs_.push_back(&job);
    work_.NotifyAll();
  }
  while (RunOne(job)) {
  }
  while (job.running > 0) done_.Wait(&mu_);
}

ParallelFor WorkPool::parallel_for() {
  if (threads_.empty()) return nullptr;
  return [this](int count, const std::function<void(int)>& body) { Run(count, body); };
}

}  // namespace isthmus
