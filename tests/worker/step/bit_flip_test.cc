#include "worker/step/bit_flip.h"

#include <gtest/gtest.h>

#include <bit>

#include "tests/worker/step/test_group.h"

namespace isthmus {
namespace {

// How many bits of the masters differ.
int Difference(TestGroup& a, TestGroup& b) {
  const FloatVector mine = a.Masters(), others = b.Masters();
  int bits = 0;
  for (size_t i = 0; i < mine.size(); ++i) {
    bits += std::popcount(std::bit_cast<uint32_t>(mine[i]) ^ std::bit_cast<uint32_t>(others[i]));
  }
  return bits;
}

TEST(BitFlipTest, IsOneBitOfOneMasterOnceAfterTheRoundThatWasAskedFor) {
  for (uint32_t ranks = 1; ranks <= 3; ++ranks) {
    TestGroup sound(ranks, DemoRun(), MixedLayout(), 0);
    TestGroup faulty(ranks, DemoRun(), MixedLayout(), 1, [](LocalPipeline::Options& options) {
      options.ranks = FlipBitAfter(Round(2), std::move(options.ranks));
    });
    const std::vector<TestGroup*> groups{&sound, &faulty};
    for (TestGroup* group : groups) group->Start(1);
    for (Round round(1); round <= Round(2); ++round) {
      ExchangeRound(groups, round, {2, CoarseVector(round.value(), MixedLayout())});
      EXPECT_EQ(Difference(sound, faulty), 0) << round.value();
    }
    // Without the update, which would carry the difference on: what has no contributors changes
    // nothing, and does not even look.
    const auto nothing = MakeUpdate({}, sound, Round(3), BucketIndex(0));
    faulty.pipeline.Apply(nothing, Credit::kNone, nullptr);
    EXPECT_EQ(Difference(sound, faulty), 0);
    // An update with a rate of zero.
    for (Round round(3); round <= Round(4); ++round) {
      for (TestGroup* group : groups) {
        group->SetGradients(CoarseVector(9, MixedLayout()));
        group->ProcessAll(round, true);
        group->Await();
      }
      for (uint32_t b = 0; b < sound.pipeline.buckets().count(); ++b) {
        const auto update = MakeUpdate(groups, sound, round, BucketIndex(b), 0.0f);
        for (TestGroup* group : groups) group->pipeline.Apply(update, Credit::kMerged, nullptr);
      }
      EXPECT_EQ(Difference(sound, faulty), 1) << ranks << " ranks, round " << round.value();
    }
    EXPECT_NE(sound.BucketHashes(), faulty.BucketHashes());
  }
}

}  // namespace
}  // namespace isthmus
