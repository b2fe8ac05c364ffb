#include "common/pace/round_cost.h"

#include <gtest/gtest.h>

#include "common/compression/payload.h"
#include "common/pace/schemes.h"

namespace isthmus {
namespace {

constexpr double kMbit = 1e6 / 8;
constexpr uint64_t kParameters = 1'032'576;  // of the example job

double PerParameter(uint64_t bytes) { return static_cast<double>(bytes) / kParameters; }

RunSpec Of(Scheme scheme) { return DefaultRunSpec(scheme); }

// docs/schemes.md has what links carried.
TEST(RoundCostTest, BytesAreThoseThatAreSeenOnLinks) {
  EXPECT_NEAR(PerParameter(BytesOfRound(Of(Scheme::kFlexDemo), kParameters, 2).up), 0.043, 0.001);
  EXPECT_NEAR(PerParameter(BytesOfRound(Of(Scheme::kFlexDemo), kParameters, 2).down), 0.0429,
              0.001);
  EXPECT_NEAR(PerParameter(BytesOfRound(Of(Scheme::kFull), kParameters, 2).up), 4.02, 0.01);
  EXPECT_NEAR(PerParameter(BytesOfRound(Of(Scheme::kFull), kParameters, 2).down), 4.02, 0.01);
  EXPECT_NEAR(PerParameter(BytesOfRound(Of(Scheme::kRandom), kParameters, 2).up), 0.0176, 0.001);
  EXPECT_NEAR(PerParameter(BytesOfRound(Of(Scheme::kLocal), kParameters, 2).up), 8 * 0.0337, 0.003);
}

TEST(RoundCostTest, NothingCrossesWhereGroupsTrainApartNorComesBackToTheOnlyOne) {
  EXPECT_EQ(BytesOfRound(Of(Scheme::kNone), kParameters, 2).up, 0u);
  const RoundBytes alone = BytesOfRound(Of(Scheme::kFlexDemo), kParameters, 1);
  EXPECT_LT(PerParameter(alone.down), 0.002);
}

TEST(RoundCostTest, P20_LocalStepsBringAtMostTwiceDownWhatGoesUp) {
  for (const uint32_t groups : {2u, 4u, 8u, 16u}) {
    const RoundBytes bytes = BytesOfRound(Of(Scheme::kLocal), kParameters, groups);
    EXPECT_LE(bytes.down, 2 * bytes.up) << groups;
  }
}

TEST(RoundCostTest, P20_SignsBoundWhatComesDown) {
  for (const uint32_t groups : {2u, 8u, 64u, 1024u}) {
    EXPECT_LT(PerParameter(BytesOfRound(Of(Scheme::kFlexDemo), kParameters, groups).down), 0.127);
  }
}

TEST(RoundCostTest, AnExchangeIsTheWayThereTheBytesAndTheWayBack) {
  const RoundBytes bytes{.up = 1'000'000, .down = 500'000, .buckets = 10};
  const Path path{.up = 8 * kMbit, .down = 8 * kMbit, .round_trip = absl::Milliseconds(80)};
  // All of it up, then the last bucket down.
  EXPECT_EQ(ExchangeTime(bytes, {path, path}, path), absl::Milliseconds(1000 + 50 + 80));
  // What comes down is what takes long: the first bucket up, then all of it down.
  EXPECT_EQ(ExchangeTime({.up = 500'000, .down = 1'000'000, .buckets = 10}, {path}, path),
            absl::Milliseconds(50 + 1000 + 80));
}

TEST(RoundCostTest, ASlowSiteIsWaitedFor) {
  const RoundBytes bytes{.up = 1'000'000, .down = 1'000'000, .buckets = 8};
  const Path fast{.up = 800 * kMbit, .down = 800 * kMbit, .round_trip = absl::Milliseconds(2)};
  const Path slow{.up = 8 * kMbit, .down = 8 * kMbit, .round_trip = absl::Milliseconds(200)};
  EXPECT_LT(ExchangeTime(bytes, {fast, fast}, fast), absl::Milliseconds(20));
  EXPECT_GT(ExchangeTime(bytes, {fast, slow}, fast), absl::Seconds(1));
  EXPECT_GT(ExchangeTime(bytes, {fast, slow}, slow), ExchangeTime(bytes, {fast, slow}, fast));
}

TEST(RoundCostTest, AnUnlimitedLinkTakesItsDelay) {
  const Path path{.round_trip = absl::Milliseconds(30)};
  EXPECT_EQ(ExchangeTime({.up = 1 << 30, .down = 1 << 30, .buckets = 8}, {path}, path),
            absl::Milliseconds(30));
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

TEST(SchemesTest, AreOnesThatARunCanHave) {
  for (const KnownScheme& scheme : KnownSchemes()) {
    EXPECT_TRUE(Validate(scheme.run).ok()) << scheme.name << ": " << Validate(scheme.run);
    EXPECT_GT(scheme.steps, 0.1) << scheme.name;
  }
}

}  // namespace
}  // namespace isthmus
