#include "common/exchange/link_probe.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

const absl::Time kStart = absl::UnixEpoch() + absl::Hours(1);

TEST(LinkProbeTest, P24b_SendsNothingBeforeItHasBegun) {
  LinkProbe probe;
  EXPECT_FALSE(probe.active(kStart));
  EXPECT_EQ(probe.Take(1000, kStart), 0u);
}

TEST(LinkProbeTest, P24b_EndsWithItsTime) {
  LinkProbe probe;
  probe.Begin(kStart);
  EXPECT_EQ(probe.Take(1000, kStart), 1000u);
  const absl::Time end = kStart + LinkProbe::kFor;
  EXPECT_EQ(probe.Take(1000, end - absl::Nanoseconds(1)), 1000u);
  EXPECT_FALSE(probe.active(end));
  EXPECT_EQ(probe.Take(1000, end), 0u);
  probe.Begin(end);
  EXPECT_TRUE(probe.active(end)) << "and begins anew";
}

TEST(LinkProbeTest, P24b_SendsNoMoreThanIsBounded) {
  LinkProbe probe;
  probe.Begin(kStart);
  uint64_t sent = 0;
  while (const uint64_t bytes = probe.Take(60'000, kStart)) sent += bytes;
  EXPECT_EQ(sent, LinkProbe::kMostBytes);
  EXPECT_FALSE(probe.active(kStart));
}

}  // namespace
}  // namespace isthmus
