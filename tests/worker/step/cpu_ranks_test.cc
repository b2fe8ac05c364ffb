#include "worker/step/cpu_ranks.h"

#include <gtest/gtest.h>

#include <vector>

namespace isthmus {
namespace {

// What a job of `length` elements with momentum SGD is told where there are `limit_bytes`.
absl::Status MakeWithin(uint64_t limit_bytes, int64_t length) {
  const auto ranks = MakeCpuRanks(2, 1, [=]() -> std::vector<MemoryLimit> {
    return {{"a box", MemoryScope::kPhysical, limit_bytes, limit_bytes / 2}};
  });
  RunSpec run;
  run.optimizer = {OptimizerKind::kSgd, 0.9f};
  const auto layout = Layout::Create({{"w", {length}}}, {});
  const auto buckets = Buckets::Create(layout->length(), 0);
  return ranks->Make(run, *layout, Ownership::InEqualParts(*buckets, 2), {.ranks = 2}).status();
}

TEST(CpuRanksTest, BuffersStateAndASnapshotMustFitTogether) {
  // Per element and of 4 bytes each: 2 buffers of 2 ranks; masters, momentum and one vector of the
  // optimizer; a direction; the image's masters and vector. And the daemon itself.
  constexpr int64_t kLength = 1 << 20;
  constexpr uint64_t kNeed = (4 + 3 + 1 + 2) * 4 * kLength + (uint64_t{64} << 20);
  // What others use is no matter any more: the job's own buffers would be among it.
  EXPECT_TRUE(MakeWithin(kNeed, kLength).ok());
  EXPECT_EQ(MakeWithin(kNeed - 1, kLength),
            absl::ResourceExhaustedError(
                "a job of 1048576 parameters on 2 ranks needs 109051904 bytes of memory (shared "
                "buffers 16777216, state 16777216, a snapshot 8388608, the daemon 67108864); a box "
                "allows 109051903"));
}

}  // namespace
}  // namespace isthmus
