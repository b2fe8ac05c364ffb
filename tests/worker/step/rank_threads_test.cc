#include "worker/step/rank_threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <new>

namespace isthmus {
namespace {

// Advances by a second whenever it is asked.
class CountingClock : public Clock {
 public:
  absl::Time Now() const override { return absl::FromUnixSeconds(++reads_); }

 private:
  mutable std::atomic<int64_t> reads_ = 0;
};

void Unexpected(const absl::Status& status) { ADD_FAILURE() << status; }

TEST(RankThreadsTest, EveryRankPerformsAllInOrderWhoeverQueues) {
  constexpr uint32_t kRanks = 3;
  constexpr int kOperations = 500;
  std::vector<std::vector<int>> performed(kRanks);
  {
    RankThreads threads(kRanks, Clock::Real(), Unexpected);
    const auto queue = [&](int base) {
      for (int i = 0; i < kOperations; ++i) {
        threads.Queue([&performed, value = base + i](uint32_t rank) {
          performed[rank].push_back(value);
          return absl::OkStatus();
        });
      }
    };
    std::thread other([&] { queue(1000); });
    queue(0);
    other.join();
    threads.WaitIdle();
  }
  EXPECT_EQ(performed[0].size(), 2u * kOperations);
  for (uint32_t rank = 1; rank < kRanks; ++rank) EXPECT_EQ(performed[rank], performed[0]);
}

TEST(RankThreadsTest, TheFirstFailureIsReportedAndTheRestDropped) {
  std::atomic<int> failures = 0;
  std::atomic<int> performed = 0;
  RankThreads threads(2, Clock::Real(), [&](const absl::Status& status) {
    EXPECT_EQ(status, absl::DataLossError("broken"));
    ++failures;
  });
  threads.Queue([](uint32_t) { return absl::DataLossError("broken"); });
  threads.WaitIdle();
  threads.Queue([&](uint32_t) {
    ++performed;
    return absl::OkStatus();
  });
  threads.WaitIdle();
  EXPECT_EQ(failures, 1);
  EXPECT_EQ(performed, 0);
}

TEST(RankThreadsTest, RunningOutOfMemoryIsAFailure) {
  absl::Status failure;
  RankThreads threads(1, Clock::Real(), [&](const absl::Status& status) { failure = status; });
  threads.Queue([](uint32_t) -> absl::Status { throw std::bad_alloc(); });
  threads.WaitIdle();
  EXPECT_EQ(failure.code(), absl::StatusCode::kResourceExhausted);
}

TEST(RankThreadsTest, NothingIsBegunOrReportedOnceStopped) {
  std::atomic<bool> stopped = false;
  std::atomic<int> performed = 0;
  {
    RankThreads threads(2, Clock::Real(), Unexpected);
    for (int i = 0; i < 10; ++i) {
      threads.Queue([&](uint32_t) {
        ++performed;
        while (!stopped) std::this_thread::yield();
        return absl::CancelledError("of no interest");
      });
    }
    threads.Stop();
    stopped = true;
  }
  EXPECT_LE(performed, 2);
}

TEST(RankThreadsTest, BusyIsTheLargestOverRanksSinceTheLastTime) {
  const CountingClock clock;
  RankThreads threads(1, clock, Unexpected);
  for (int i = 0; i < 3; ++i) threads.Queue([](uint32_t) { return absl::OkStatus(); });
  threads.WaitIdle();
  EXPECT_EQ(threads.TakeBusy(), absl::Seconds(3));
  EXPECT_EQ(threads.TakeBusy(), absl::ZeroDuration());
}

}  // namespace
}  // namespace isthmus
