// Ranks that never wait for the daemon, and a step at which all of them stop.
#include "worker/jobs/step_naming.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <thread>
#include <vector>

namespace isthmus {
namespace {

// A rank as libisthmus is one (client/step.c): says that it has taken a step, then looks.
class Rank {
 public:
  Rank() { pace.SetExchangeAt(ISTHMUS_WIRE_NOT_NAMED); }
  // Whether it stops there.
  bool Step() {
    std::atomic_ref(shared.steps).store(++taken);
    return taken >= std::atomic_ref(shared.exchange_at).load();
  }

  isthmus_wire_pace shared = {};
  JobPace pace{&shared};
  uint64_t taken = 0;
};

TEST(StepNamingTest, P29_IsTheNextAfterTheRankThatIsFarthest) {
  Rank a, b;
  JobPace* const ranks[] = {&a.pace, &b.pace};
  EXPECT_EQ(NameStepFor(ranks, 1), 1u);
  EXPECT_TRUE(a.Step());
  for (Rank* rank : {&a, &b}) rank->pace.SetExchangeAt(ISTHMUS_WIRE_NOT_NAMED);
  EXPECT_FALSE(a.Step());
  EXPECT_FALSE(b.Step());
  EXPECT_EQ(NameStepFor(ranks, 1), 3u);
  EXPECT_EQ(NameStepFor(ranks, 9), 9u) << "no earlier than asked for";
}

TEST(StepNamingTest, CountsThatCannotBeNameNothing) {
  Rank a, b;
  JobPace* const ranks[] = {&a.pace, &b.pace};
  for (const uint64_t steps : {UINT64_MAX, UINT64_MAX - 1, uint64_t{1} << 62}) {
    b.shared.steps = steps;
    EXPECT_EQ(NameStepFor(ranks, 1), std::nullopt) << steps;
  }
}

// Whatever the order of their stores and loads: each rank stops at the step that was named in the
// end, and has passed none that it did not see. TSan looks on.
TEST(StepNamingTest, P29_NoRankPassesIt) {
  constexpr int kRounds = 300;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<Rank> ranks(3);
    std::vector<JobPace*> paces;
    for (Rank& rank : ranks) paces.push_back(&rank.pace);
    std::atomic<uint64_t> named = 0;
    std::barrier begin(4);
    std::vector<std::thread> threads;
    for (Rank& rank : ranks) {
      threads.emplace_back([&] {
        begin.arrive_and_wait();
        for (;;) {
          if (!rank.Step()) continue;
          // It asks, and is sent on where another step was named meanwhile.
          while (named == 0) std::this_thread::yield();
          if (rank.taken == named) return;
          ASSERT_LT(rank.taken, named) << "passed it";
        }
      });
    }
    begin.arrive_and_wait();
    named = NameStepFor(paces, 1).value();
    for (std::thread& thread : threads) thread.join();
    for (const Rank& rank : ranks) EXPECT_EQ(rank.taken, named);
  }
}

}  // namespace
}  // namespace isthmus
