#include "worker/daemon/state_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>

namespace isthmus {
namespace {

const std::string kBytes(100'000, 'x');

TEST(StateCopyTest, GivesWhatIsMadeBeforeOrAfterItIsAskedFor) {
  for (const bool made_first : {true, false}) {
    StateCopy copy;
    int taken = 0;
    const auto take = [&](StateCopy::State state) {
      ++taken;
      EXPECT_EQ(state.image.bytes, kBytes);
      EXPECT_EQ(state.block_hashes, HashBlocks(kBytes));
    };
    if (made_first) copy.Made({kBytes});
    copy.Take(take);
    EXPECT_EQ(taken, made_first ? 1 : 0);
    if (!made_first) copy.Made({kBytes});
    EXPECT_EQ(taken, 1);
  }
}

TEST(StateCopyTest, GivesItOnceWhoeverComesFirst) {
  for (int round = 0; round < 200; ++round) {
    StateCopy copy;
    std::atomic<int> taken = 0;
    std::thread maker([&] { copy.Made({"state"}); });
    copy.Take([&](StateCopy::State) { ++taken; });
    maker.join();
    EXPECT_EQ(taken, 1);
  }
}

}  // namespace
}  // namespace isthmus
