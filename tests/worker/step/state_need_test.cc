// What a group's state takes of its host.
#include "worker/step/state_need.h"

#include <gtest/gtest.h>

#include "tests/worker/step/test_group.h"

namespace isthmus {
namespace {

// On GPUs it is refused by the ranks themselves (device_job_test.cc).
TEST(StateNeedTest, P29_WhatIsKeptOfAJobThatStepsCountsWhereItIs) {
  const Layout layout = MixedLayout();
  const uint64_t vector = layout.length() * sizeof(float), constants = layout.constants_bytes();
  RunSpec run = SchemeRun(Scheme::kLocal);
  constexpr uint32_t kRanks = 3;
  // Masters and momentum; a direction; what was given; each rank's progress. A bucket of the
  // default is longer than all of it.
  const uint64_t without = 2 * vector + constants + vector + vector + kRanks * vector;
  EXPECT_EQ(StateNeed(run, layout, kRanks, /*on_host=*/true).state_bytes, without);
  run.format.every = {.steps = 8};
  run.format.overlap = 3;
  const HostNeed on_cpus = StateNeed(run, layout, kRanks, /*on_host=*/true);
  EXPECT_EQ(on_cpus.state_bytes, without + kRanks * vector) << "where each rank was";
  const HostNeed on_gpus = StateNeed(run, layout, kRanks, /*on_host=*/false);
  EXPECT_EQ(on_gpus.state_bytes, 0u);
  EXPECT_EQ(on_gpus.snapshot_bytes, vector + constants);
  EXPECT_EQ(on_cpus.snapshot_bytes, on_gpus.snapshot_bytes);
}

}  // namespace
}  // namespace isthmus
