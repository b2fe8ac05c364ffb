// Every byte of the vectors is one machine's.
#include "worker/site/state_runs.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

TEST(StateRunsTest, MachinesTogetherHaveEveryByteOnce) {
  // Buckets of 3 units and a shorter one, for more ranks than units; and of more than a run.
  for (const auto& [units, bucket_units] : {std::pair<uint64_t, uint64_t>{11, 3}, {700, 600}}) {
    const Buckets buckets = *Buckets::Create(units * 4096, bucket_units * 4096);
    for (const std::vector<uint32_t>& machines :
         {std::vector<uint32_t>{1}, {1, 2}, {4, 1}, {1, 1, 1}}) {
      uint32_t ranks = 0;
      for (const uint32_t count : machines) ranks += count;
      const Ownership ownership = Ownership::InEqualParts(buckets, ranks);
      std::vector<int> owners(2 * units * 4096 * sizeof(float));
      uint32_t first = 0;
      for (const uint32_t count : machines) {
        uint64_t last_end = 0;
        for (const ImageRun& run : RunsOf(ownership, 2, first, count)) {
          ASSERT_GE(run.offset, last_end);
          ASSERT_GT(run.size, 0u);
          ASSERT_LE(run.size, kMostRunBytes);
          last_end = run.offset + run.size;
          ASSERT_LE(last_end, owners.size());
          for (uint64_t i = run.offset; i < last_end; ++i) ++owners[i];
        }
        first += count;
      }
      for (const int count : owners) ASSERT_EQ(count, 1);
    }
  }
}

// Ranks 0 and 1 are one machine's: what is theirs together is one run, whoever's of them it is.
TEST(StateRunsTest, OwnershipMayBeScattered) {
  const Buckets buckets = *Buckets::Create(6 * kUnitLength, 3 * kUnitLength);
  const std::vector<uint32_t> owners = {1, 0, 2, 0, 2, 1};
  const Ownership ownership = Ownership::ByUnit(buckets, 3, owners).value();
  constexpr uint64_t kUnitBytes = kUnitLength * sizeof(float);
  EXPECT_EQ(RunsOf(ownership, 1, 0, 2),
            (std::vector<ImageRun>{
                {0, 2 * kUnitBytes}, {3 * kUnitBytes, kUnitBytes}, {5 * kUnitBytes, kUnitBytes}}));
  EXPECT_EQ(RunsOf(ownership, 2, 2, 1), (std::vector<ImageRun>{{2 * kUnitBytes, kUnitBytes},
                                                               {4 * kUnitBytes, kUnitBytes},
                                                               {8 * kUnitBytes, kUnitBytes},
                                                               {10 * kUnitBytes, kUnitBytes}}));
}

TEST(StateRunsTest, ARunIsCut) {
  EXPECT_TRUE(CutRun(5, 0).empty());
  EXPECT_EQ(CutRun(5, kMostRunBytes + 1),
            (std::vector<ImageRun>{{5, kMostRunBytes}, {5 + kMostRunBytes, 1}}));
}

}  // namespace
}  // namespace isthmus
