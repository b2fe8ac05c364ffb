#include "common/device/host_grid.h"

#include <gtest/gtest.h>

#include <vector>

namespace isthmus {
namespace {

TEST(HostGridTest, EveryThreadOfEveryBlockRunsOnce) {
  std::vector<uint32_t> runs(5 * 64);
  RunGridOnHost({.blocks = 5, .threads = 64}, 0, [&](HostThread& thread) {
    EXPECT_EQ(thread.blocks(), 5u);
    EXPECT_EQ(thread.threads(), 64u);
    ++runs[thread.block() * 64 + thread.index()];
  });
  for (uint32_t count : runs) EXPECT_EQ(count, 1u);
}

// Each thread passes a number on to its neighbour, through shared memory.
struct Rotate {
  uint32_t* out;
  bool barrier;
  template <typename Thread>
  void operator()(Thread& thread) const {
    auto* shared = reinterpret_cast<uint32_t*>(thread.shared());
    uint32_t value = thread.index();
    for (int step = 0; step < 10; ++step) {
      shared[thread.index()] = value;
      thread.Sync();
      value = shared[(thread.index() + 1) % thread.threads()];
      if (barrier) thread.Sync();
    }
    out[thread.block() * thread.threads() + thread.index()] = value;
  }
};

TEST(HostGridTest, WhatWasWrittenBeforeABarrierIsSeenAfter) {
  for (uint64_t seed : {0, 1, 2}) {
    std::vector<uint32_t> out(3 * 100);
    RunOnHost({.blocks = 3, .threads = 100, .shared_bytes = 400}, seed,
              Rotate{.out = out.data(), .barrier = true});
    for (uint32_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], (i % 100 + 10) % 100) << i;
  }
}

TEST(HostGridTest, AMissingBarrierShowsInSomeOrder) {
  uint32_t wrong = 0;
  for (uint64_t seed : {0, 1, 2}) {
    std::vector<uint32_t> out(100);
    RunOnHost({.blocks = 1, .threads = 100, .shared_bytes = 400}, seed,
              Rotate{.out = out.data(), .barrier = false});
    for (uint32_t i = 0; i < out.size(); ++i) wrong += out[i] != (i + 10) % 100;
  }
  EXPECT_GT(wrong, 0u);
}

TEST(HostGridTest, WarpsVoteApart) {
  std::vector<uint32_t> ballots(96);
  std::vector<int> any(96);
  RunGridOnHost({.blocks = 1, .threads = 96}, 7, [&](HostThread& thread) {
    const uint32_t i = thread.index();
    // Only the second warp waits here a second time.
    ballots[i] = thread.Ballot(i % 3 == 0);
    if (i / 32 == 1) ballots[i] ^= thread.Ballot(true);
    any[i] = thread.Any(i == 95) ? 1 : 0;
    any[i] += thread.Any(false) ? 2 : 0;
  });
  for (uint32_t i = 0; i < 96; ++i) {
    uint32_t expected = 0;
    for (uint32_t lane = 0; lane < 32; ++lane) {
      expected |= uint32_t{(i / 32 * 32 + lane) % 3 == 0} << lane;
    }
    EXPECT_EQ(ballots[i], i / 32 == 1 ? ~expected : expected) << i;
    EXPECT_EQ(any[i], 1) << i;
  }
}

TEST(HostGridTest, SharedMemoryIsNotZeroAtFirst) {
  RunGridOnHost({.blocks = 2, .threads = 1, .shared_bytes = 8}, 0, [](HostThread& thread) {
    EXPECT_NE(*reinterpret_cast<uint64_t*>(thread.shared()), 0u);
    *reinterpret_cast<uint64_t*>(thread.shared()) = 0;
  });
}

TEST(HostGridDeathTest, ThreadsThatPartAtABarrierEndTheProcess) {
  const auto part = [](HostThread& thread) {
    if (thread.index() != 3) thread.Sync();
  };
  EXPECT_DEATH(RunGridOnHost({.blocks = 1, .threads = 8}, 0, part),
               "block 0: thread 0 waits for its block, thread 3 has returned");
  const auto mixed = [](HostThread& thread) {
    if (thread.index() == 3) {
      thread.SyncWarp();
    } else {
      thread.Sync();
    }
  };
  EXPECT_DEATH(RunGridOnHost({.blocks = 1, .threads = 8}, 0, mixed),
               "thread 0 waits for its block, thread 3 waits for its warp");
}

}  // namespace
}  // namespace isthmus
