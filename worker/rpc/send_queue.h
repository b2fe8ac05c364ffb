// Messages on their way to a stream that blocks, written in order by a thread of their own.
#ifndef ISTHMUS_WORKER_RPC_SEND_QUEUE_H_
#define ISTHMUS_WORKER_RPC_SEND_QUEUE_H_

#include <deque>
#include <functional>
#include <thread>
#include <utility>

#include "common/base/mutex.h"

namespace isthmus {

// Thread-safe. Who sends holds the queue down: what waits is as much as was sent.
template <typename Message>
class SendQueue {
 public:
  // Makes the message when its turn comes: what is large is not copied before.
  using Fill = std::function<void(Message*)>;

  // `write` blocks; false: the stream is broken, and nothing is written any more.
  explicit SendQueue(std::function<bool(const Message&)> write)
      : write_(std::move(write)), thread_([this] { Run(); }) {}
  ~SendQueue() { Close(); }

  void Send(Fill fill) {
    MutexLock lock(&mu_);
    if (closing_ || broken_) return;
    queue_.push_back(std::move(fill));
    changed_.NotifyAll();
  }
  // Blocks until all that was sent has been written, or the stream is broken.
  void Close() {
    {
      MutexLock lock(&mu_);
      closing_ = true;
      changed_.NotifyAll();
    }
    if (thread_.joinable()) thread_.join();
  }
  // Nothing is written any more; what is being written may take until the stream is cancelled.
  void Drop() {
    MutexLock lock(&mu_);
    broken_ = true;
    queue_.clear();
    changed_.NotifyAll();
  }

 private:
  void Run() {
    while (true) {
      Fill fill;
      {
        MutexLock lock(&mu_);
        while (queue_.empty() && !closing_ && !broken_) changed_.Wait(&mu_);
        if (queue_.empty() || broken_) return;
        fill = std::move(queue_.front());
        queue_.pop_front();
      }
      Message message;
      fill(&message);
      if (!write_(message)) Drop();
    }
  }

  const std::function<bool(const Message&)> write_;
  Mutex mu_;
  CondVar changed_;
  std::deque<Fill> queue_ ABSL_GUARDED_BY(mu_);
  bool closing_ ABSL_GUARDED_BY(mu_) = false;
  bool broken_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_RPC_SEND_QUEUE_H_
