// One thread per local rank, each performing every operation in exactly the order in which they
// were queued, so that ranks always enter the same collectives.
#ifndef ISTHMUS_WORKER_STEP_RANK_THREADS_H_
#define ISTHMUS_WORKER_STEP_RANK_THREADS_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace isthmus {

// Thread-safe.
class RankThreads {
 public:
  // Performed once at each rank, each time on that rank's thread, at their own pace.
  using Operation = std::function<absl::Status(uint32_t rank)>;

  // Operations waiting at one rank; the engine bounds what it queues far below.
  static constexpr size_t kMaxQueued = 65536;

  // `idle`, if there is one, is performed at a rank when it has nothing else to do, once after
  // operations: what it was late with.
  //
  // `on_failure` gets the first error that an operation returned, on that rank's thread, unless
  // Stop() came before; what is queued from then on is dropped. Running out of memory inside an
  // operation counts as RESOURCE_EXHAUSTED.
  RankThreads(uint32_t ranks, const Clock& clock,
              std::function<void(const absl::Status&)> on_failure, Operation idle = nullptr);
  ~RankThreads();  // stops, and waits for the operations that are running

  // Queues at all ranks at once, and may be called from within an operation. CHECKs kMaxQueued.
  void Queue(Operation operation);
  // Blocks until nothing is queued or running. Not from within an operation.
  void WaitIdle();
  // Returns at once; nothing is begun any more.
  void Stop();
  // Time spent performing operations since the last call, the largest over ranks.
  absl::Duration TakeBusy();

 private:
  using Queued = std::shared_ptr<const Operation>;  // shared by the ranks that have yet to do it
  struct Rank {
    std::deque<Queued> queue;
    bool running = false;
    bool settled = true;  // `idle` has been performed since the last operation
    absl::Duration busy;
  };

  void Run(uint32_t rank);
  Queued Next(uint32_t rank);  // null: stopped
  void Finished(uint32_t rank, const absl::Status& status, absl::Duration busy);

  const Clock& clock_;
  const std::function<void(const absl::Status&)> on_failure_;
  const Queued idle_operation_;  // or null
  Mutex mu_;
  CondVar queued_;
  CondVar idle_;
  std::vector<Rank> ranks_ ABSL_GUARDED_BY(mu_);
  bool failed_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;  // last: they use everything above
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_RANK_THREADS_H_
