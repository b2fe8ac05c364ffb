#include "common/pace/round_cost.h"

#include <gtest/gtest.h>

#include "common/compression/payload.h"

namespace isthmus {
namespace {

constexpr double kMbit = 1e6 / 8;
constexpr uint64_t kParameters = 1'032'576;  // of the example job

double PerParameter(uint64_t bytes) { return static_cast<double>(bytes) / kParameters; }

RunSpec Of(Scheme scheme) { return DefaultRunSpec(scheme); }

// Of one of so many groups that all send alike.
struct SiteBytes {
  uint64_t up = 0;
  uint64_t down = 0;
};
SiteBytes BytesOf(const RunSpec& run, uint32_t groups) {
  std::vector<GroupId> ids;
  for (uint32_t id = 1; id <= groups; ++id) ids.push_back(GroupId(id));
  const RoundBytes bytes = BytesOfRound(run, kParameters, ids);
  EXPECT_EQ(bytes.up, std::vector<uint64_t>(groups, bytes.up[0]));
  EXPECT_EQ(bytes.down, std::vector<uint64_t>(groups, bytes.down[0]));
  return {bytes.up[0], bytes.down[0]};
}

// Where all sites send and are sent as much.
absl::Duration TimeOf(uint64_t up, uint64_t down, uint32_t buckets, const std::vector<Path>& paths,
                      size_t site) {
  return ExchangeTime({.up = std::vector<uint64_t>(paths.size(), up),
                       .down = std::vector<uint64_t>(paths.size(), down),
                       .buckets = buckets},
                      paths, site);
}

// docs/schemes.md has what links carried.
TEST(RoundCostTest, BytesAreThoseThatAreSeenOnLinks) {
  EXPECT_NEAR(PerParameter(BytesOf(Of(Scheme::kFlexDemo), 2).up), 0.043, 0.001);
  EXPECT_NEAR(PerParameter(BytesOf(Of(Scheme::kFlexDemo), 2).down), 0.0429, 0.001);
  EXPECT_NEAR(PerParameter(BytesOf(Of(Scheme::kFull), 2).up), 4.02, 0.01);
  EXPECT_NEAR(PerParameter(BytesOf(Of(Scheme::kFull), 2).down), 4.02, 0.01);
  EXPECT_NEAR(PerParameter(BytesOf(Of(Scheme::kRandom), 2).up), 0.0176, 0.001);
  EXPECT_NEAR(PerParameter(BytesOf(Of(Scheme::kLocal), 2).up), 8 * 0.0337, 0.003);
}

TEST(RoundCostTest, NothingCrossesWhereGroupsTrainApartNorComesBackToTheOnlyOne) {
  EXPECT_EQ(BytesOf(Of(Scheme::kNone), 2).up, 0u);
  const SiteBytes alone = BytesOf(Of(Scheme::kFlexDemo), 1);
  EXPECT_LT(PerParameter(alone.down), 0.002);
}

TEST(RoundCostTest, P20_LocalStepsBringAtMostTwiceDownWhatGoesUp) {
  for (const uint32_t groups : {2u, 4u, 8u, 16u}) {
    const SiteBytes bytes = BytesOf(Of(Scheme::kLocal), groups);
    EXPECT_LE(bytes.down, 2 * bytes.up) << groups;
  }
}

TEST(RoundCostTest, P20_SignsBoundWhatComesDown) {
  for (const uint32_t groups : {2u, 8u, 64u, 1024u}) {
    EXPECT_LT(PerParameter(BytesOf(Of(Scheme::kFlexDemo), groups).down), 0.127);
  }
}

TEST(RoundCostTest, AnExchangeIsTheWayThereTheBytesAndTheWayBack) {
  const Path path{.up = 8 * kMbit, .down = 8 * kMbit, .round_trip = absl::Milliseconds(80)};
  // All of it up, then the last bucket down.
  EXPECT_EQ(TimeOf(1'000'000, 500'000, 10, {path, path}, 0), absl::Milliseconds(1000 + 50 + 80));
  // What comes down is what takes long: the first bucket up, then all of it down.
  EXPECT_EQ(TimeOf(500'000, 1'000'000, 10, {path}, 0), absl::Milliseconds(50 + 1000 + 80));
}

TEST(RoundCostTest, ASlowSiteIsWaitedFor) {
  const Path fast{.up = 800 * kMbit, .down = 800 * kMbit, .round_trip = absl::Milliseconds(2)};
  const Path slow{.up = 8 * kMbit, .down = 8 * kMbit, .round_trip = absl::Milliseconds(200)};
  EXPECT_LT(TimeOf(1'000'000, 1'000'000, 8, {fast, fast}, 0), absl::Milliseconds(20));
  EXPECT_GT(TimeOf(1'000'000, 1'000'000, 8, {fast, slow}, 0), absl::Seconds(1));
  EXPECT_GT(TimeOf(1'000'000, 1'000'000, 8, {fast, slow}, 1),
            TimeOf(1'000'000, 1'000'000, 8, {fast, slow}, 0));
}

TEST(RoundCostTest, AnUnlimitedLinkTakesItsDelay) {
  const Path path{.round_trip = absl::Milliseconds(30)};
  EXPECT_EQ(TimeOf(1 << 30, 1 << 30, 8, {path}, 0), absl::Milliseconds(30));
}

TEST(RoundCostTest, WhoSendsLessSparesTheOthersDownlinks) {
  RunSpec run = Of(Scheme::kFlexDemo);
  const std::vector<GroupId> groups{GroupId(1), GroupId(2)};
  const RoundBytes alike = BytesOfRound(run, kParameters, groups);
  run.format.own[GroupId(2)] = {1, run.format.all.values};
  const RoundBytes bytes = BytesOfRound(run, kParameters, groups);
  EXPECT_EQ(bytes.up[0], alike.up[0]);
  EXPECT_LT(bytes.up[1], alike.up[1]);
  EXPECT_EQ(bytes.up[1], BytesUp(run, kParameters, GroupId(2)));
  // The one is sent what the other has, and the other way round.
  EXPECT_LT(bytes.down[0], alike.down[0]);
  EXPECT_EQ(bytes.down[1], alike.down[1]);
}

TEST(RoundCostTest, OverlapHidesAnExchangeBehindSteps) {
  const absl::Duration compute = absl::Milliseconds(100);
  const StepCost bare = CostOfStep(compute, absl::Milliseconds(400), 4, 0);
  EXPECT_EQ(bare.step, absl::Milliseconds(200));
  EXPECT_EQ(bare.blocked, absl::Milliseconds(100));
  EXPECT_DOUBLE_EQ(bare.ratio, 0.5);
  EXPECT_EQ(CostOfStep(compute, absl::Milliseconds(400), 4, 3).blocked, absl::Milliseconds(25));
  EXPECT_EQ(CostOfStep(compute, absl::Milliseconds(400), 4, 4).ratio, 0);
}

}  // namespace
}  // namespace isthmus
