// What a job's buffers are counted for, before any of them is made.
#include "worker/jobs/host_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace isthmus {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kConstantBytes = 64;  // with their padding

Layout SomeLayout(DType dtype = DType::kFloat32) {
  return *Layout::Create({{"w", {5000}, dtype}}, {{"table", 5}});
}

TEST(HostMemoryTest, ParametersAndGradientsAreBuffersOfEachRank) {
  const Layout layout = SomeLayout();
  const uint64_t flat = layout.length() * 4;
  const HostNeed need = BuffersNeed(layout, 3, {});
  EXPECT_EQ(need.buffers_bytes, 3 * (2 * flat + kConstantBytes));
  EXPECT_EQ(need.largest_buffer_bytes, flat);
  EXPECT_EQ(BuffersNeed(SomeLayout(DType::kBFloat16), 3, {}).buffers_bytes,
            3 * (flat + kConstantBytes));
}

TEST(HostMemoryTest, WithAnOptimizerOfItsOwnThereAreParametersOnly) {
  const Layout layout = SomeLayout();
  const uint64_t flat = layout.length() * 4;
  const HostNeed need = BuffersNeed(layout, 3, {.own_optimizer = true});
  EXPECT_EQ(need.buffers_bytes, 3 * (flat + kConstantBytes));
  EXPECT_EQ(need.largest_buffer_bytes, flat);

  // What is enough for one of each rank's is not for two.
  const std::vector<MemoryLimit> limits = {
      {.name = "the machine", .limit_bytes = kDaemonBytes + 3 * (flat + kConstantBytes)}};
  EXPECT_TRUE(CheckHostMemory(layout, 3, need, limits).ok());
  const absl::Status refused = CheckHostMemory(layout, 3, BuffersNeed(layout, 3, {}), limits);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("of 5000 parameters on 3 ranks"));
}

TEST(HostMemoryTest, OnADeviceOnlyConstantsAreTheHosts) {
  const Layout layout = SomeLayout();
  for (const bool own : {false, true}) {
    const HostNeed need = BuffersNeed(layout, 2, {JobMemory::kDevice, own});
    EXPECT_EQ(need.buffers_bytes, 2 * kConstantBytes);
    EXPECT_EQ(need.largest_buffer_bytes, kConstantBytes);
  }
}

}  // namespace
}  // namespace isthmus
