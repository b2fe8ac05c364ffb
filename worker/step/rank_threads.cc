#include "worker/step/rank_threads.h"

#include <absl/strings/str_cat.h>
#include <pthread.h>

#include <algorithm>
#include <new>
#include <utility>

#include "common/base/check.h"

namespace isthmus {
namespace {

absl::Status Perform(const RankThreads::Operation& operation, uint32_t rank) {
  try {
    return operation(rank);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("rank ", rank, ": out of memory"));
  }
}

}  // namespace

RankThreads::RankThreads(uint32_t ranks, const Clock& clock,
                         std::function<void(const absl::Status&)> on_failure, Operation idle)
    : clock_(clock),
      on_failure_(std::move(on_failure)),
      idle_operation_(idle == nullptr ? nullptr
                                      : std::make_shared<const Operation>(std::move(idle))),
      ranks_(ranks) {
  ISTHMUS_CHECK(ranks > 0);
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    threads_.emplace_back([this, rank] { Run(rank); });
    // At most 15 characters; the name only helps whoever looks at the threads, so no error matters.
    pthread_setname_np(threads_.back().native_handle(), absl::StrCat("step-rank-", rank).c_str());
  }
}

RankThreads::~RankThreads() {
  Stop();
  for (std::thread& thread : threads_) thread.join();
}

void RankThreads::Queue(Operation operation) {
  const Queued queued = std::make_shared<const Operation>(std::move(operation));
  MutexLock lock(&mu_);
  if (failed_ || stopping_) return;
  for (Rank& rank : ranks_) {
    ISTHMUS_CHECK(rank.queue.size() < kMaxQueued);
    rank.queue.push_back(queued);
  }
  queued_.NotifyAll();
}

void RankThreads::WaitIdle() {
  MutexLock lock(&mu_);
  const auto idle = [&](const Rank& rank) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return rank.queue.empty() && !rank.running && (rank.settled || failed_ || stopping_);
  };
  while (!std::all_of(ranks_.begin(), ranks_.end(), idle)) idle_.Wait(&mu_);
}

void RankThreads::Stop() {
  MutexLock lock(&mu_);
  stopping_ = true;
  queued_.NotifyAll();
}

absl::Duration RankThreads::TakeBusy() {
  MutexLock lock(&mu_);
  absl::Duration most = absl::ZeroDuration();
  for (Rank& rank : ranks_) {
    most = std::max(most, rank.busy);
    rank.busy = absl::ZeroDuration();
  }
  return most;
}

void RankThreads::Run(uint32_t rank) {
  while (Queued operation = Next(rank)) {
    const absl::Time start = clock_.Now();
    const absl::Status status = Perform(*operation, rank);
    operation.reset();  // what it owns is gone before anybody can see this thread idle
    Finished(rank, status, clock_.Now() - start);
  }
}

RankThreads::Queued RankThreads::Next(uint32_t rank) {
  MutexLock lock(&mu_);
  std::deque<Queued>& queue = ranks_[rank].queue;
  if (queue.empty() && !stopping_ && !failed_ && !ranks_[rank].settled) {
    ranks_[rank].settled = true;
    ranks_[rank].running = true;
    return idle_operation_;
  }
  while (queue.empty() && !stopping_) queued_.Wait(&mu_);
  if (stopping_) return nullptr;
  ranks_[rank].settled = idle_operation_ == nullptr;
  Queued next = std::move(queue.front());
  queue.pop_front();
  ranks_[rank].running = true;
  return next;
}

void RankThreads::Finished(uint32_t rank, const absl::Status& status, absl::Duration busy) {
  std::vector<std::deque<Queued>> dropped;  // destroyed without the lock: they own job sessions
  bool report = false;
  {
    MutexLock lock(&mu_);
    ranks_[rank].busy += busy;
    report = !status.ok() && !failed_ && !stopping_;
    if (report) {
      failed_ = true;
      for (Rank& other : ranks_) dropped.emplace_back().swap(other.queue);
    }
  }
  if (report) on_failure_(status);
  MutexLock lock(&mu_);
  ranks_[rank].running = false;
  idle_.NotifyAll();
}

}  // namespace isthmus
