#include "common/pace/pacer.h"

#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <set>

#include "common/pace/believed_rate.h"

namespace isthmus {
namespace {

using ::testing::SizeIs;

constexpr double kMbit = 1e6 / 8;
constexpr uint64_t kParameters = 124'000'000;
constexpr absl::Duration kCompute = absl::Seconds(1);

RunSpec LocalRun() { return DefaultRunSpec(Scheme::kLocal); }

std::vector<PacedSite> TwoSites(double mbit, absl::Duration compute = kCompute) {
  const Path path{.up = mbit * kMbit, .down = mbit * kMbit, .round_trip = absl::Milliseconds(80)};
  return {{.group = GroupId(1), .path = path, .compute = compute},
          {.group = GroupId(2), .path = path, .compute = compute}};
}

Pacer PacerOf(const RunSpec& run, size_t first = 0, Pacer::Options options = {}) {
  const std::vector<Plan> plans = PlansOf(run);
  return Pacer(run, plans, plans[first].format, kParameters, options);
}

TEST(PlansTest, GoFromWhatCrossesMostToWhatCrossesLeast) {
  for (const Scheme scheme : {Scheme::kFlexDemo, Scheme::kLocal}) {
    const RunSpec run = DefaultRunSpec(scheme);
    double before = std::numeric_limits<double>::infinity();
    for (const Plan& plan : PlansOf(run)) {
      RunSpec planned = run;
      planned.format = plan.format;
      ASSERT_TRUE(Validate(planned).ok()) << Validate(planned);
      if (plan.less) continue;
      const double bytes =
          static_cast<double>(BytesUp(planned, kParameters, GroupId(1))) / plan.format.every.steps;
      EXPECT_LT(bytes, before) << Name(scheme);
      if (scheme == Scheme::kLocal && std::isfinite(before)) {
        EXPECT_GT(bytes, 0.65 * before);
      }
      before = bytes;
    }
  }
}

TEST(PlansTest, LeaveEverythingElseAsTheRunHasIt) {
  RunSpec run = LocalRun();
  run.format.all.values = ValueFormat::kInt4;
  run.format.overlap = 2;
  for (const Plan& plan : PlansOf(run)) {
    EXPECT_EQ(plan.format.all, run.format.all);
    EXPECT_EQ(plan.format.overlap, 2u);
  }
  run.format.every.steps = 30;
  run.format.overlap = 15;
  for (const Plan& plan : PlansOf(run)) {
    EXPECT_EQ(plan.format.overlap, std::min(15u, plan.format.every.steps));
  }
}

TEST(PlansTest, AreTheRunsOwnWhereThereAreNoFigures) {
  for (const Scheme scheme : {Scheme::kFull, Scheme::kNone, Scheme::kStriding, Scheme::kRandom}) {
    const RunSpec run = DefaultRunSpec(scheme);
    ASSERT_THAT(PlansOf(run), SizeIs(1)) << Name(scheme);
    EXPECT_EQ(PlansOf(run)[0].format, run.format);
  }
  RunSpec by_samples = LocalRun();
  by_samples.format.every = {.steps = 0, .samples = 1000};
  ASSERT_THAT(PlansOf(by_samples), SizeIs(1));
  const Prediction prediction =
      Predict(by_samples, PlansOf(by_samples)[0], kParameters, TwoSites(100));
  EXPECT_LT(prediction.time, absl::InfiniteDuration());
}

// Else every worker would refuse the update that says it.
TEST(PlansTest, AreOnesThatMayFollowTheRunsOwn) {
  RunSpec whole = DefaultRunSpec(Scheme::kFlexDemo);
  whole.format.all.k = whole.format.chunk_size;
  RunSpec own = DefaultRunSpec(Scheme::kFlexDemo);
  own.format.own[GroupId(2)] = {64, ValueFormat::kBf16};  // whole, in chunks of 64 alone
  for (const RunSpec& run : {whole, own}) {
    ASSERT_TRUE(Validate(run).ok()) << Validate(run);
    for (const Plan& plan : PlansOf(run)) {
      EXPECT_TRUE(CheckChange(run, run.format, plan.format).ok());
    }
  }
  EXPECT_FALSE(CheckPaced(whole).ok());
  EXPECT_TRUE(CheckPaced(own).ok());
}

TEST(PacerTest, AFastLinkHasWhatLearnsBest) {
  Pacer pacer = PacerOf(LocalRun(), PlansOf(LocalRun()).size() - 1);
  const PaceDecision decision = pacer.Decide(TwoSites(10'000));
  EXPECT_TRUE(decision.changed);
  EXPECT_EQ(decision.reason, PaceReason::kTime);
  EXPECT_EQ(decision.plan, 0u);
  EXPECT_TRUE(decision.target_met);
}

TEST(PacerTest, ASlowerLinkIsUsedLessOften) {
  Pacer pacer = PacerOf(LocalRun());
  const PaceDecision decision = pacer.Decide(TwoSites(150));
  EXPECT_TRUE(decision.changed);
  EXPECT_EQ(decision.reason, PaceReason::kRatio);
  EXPECT_GT(decision.predictions[0].cost.ratio, 0.13);
  EXPECT_LE(decision.predictions[decision.plan].cost.ratio, 0.10);
  EXPECT_GT(decision.predictions[decision.plan - 1].cost.ratio, 0.10)
      << "as often as the target allows";
  EXPECT_TRUE(decision.target_met);
}

TEST(PacerTest, ALittleBeyondTheTargetIsNoReasonToChange) {
  const RunSpec run = LocalRun();
  const size_t middle = PlansOf(run).size() / 2;
  const auto ratio_at = [&](double mbit) {
    return Predict(run, PlansOf(run)[middle], kParameters, TwoSites(mbit)).cost.ratio;
  };
  double mbit = 1000;
  while (ratio_at(mbit) < 0.12) mbit *= 0.99;
  Pacer kept = PacerOf(run, middle);
  EXPECT_EQ(kept.Decide(TwoSites(mbit)).reason, PaceReason::kBest);
  while (ratio_at(mbit) < 0.135) mbit *= 0.99;
  EXPECT_EQ(kept.Decide(TwoSites(mbit)).reason, PaceReason::kRatio);
}

TEST(PacerTest, ATargetThatNothingMeetsIsSaidAndTheSoonestTaken) {
  Pacer pacer = PacerOf(LocalRun());
  const PaceDecision decision = pacer.Decide(TwoSites(1));
  EXPECT_FALSE(decision.target_met);
  EXPECT_TRUE(decision.changed);
  EXPECT_EQ(decision.reason, PaceReason::kTime);
  EXPECT_EQ(decision.plan, PlansOf(LocalRun()).size() - 1);
}

// A plan that sends little does not fill the link; how soon it is over tells.
TEST(PacerTest, ALinkIsAsFastAsWaitingForItShows) {
  const RunSpec run = LocalRun();
  const size_t last = PlansOf(run).size() - 1;
  std::vector<PacedSite> sites = TwoSites(20);
  Pacer pacer = PacerOf(run, last);
  EXPECT_FALSE(pacer.Decide(sites).changed);
  const absl::Duration at_last = Predict(run, PlansOf(run)[last], kParameters, sites).exchange;
  // As long as expected, or nearly: nothing is learned.
  for (PacedSite& site : sites) site.waited = 0.8 * at_last;
  EXPECT_FALSE(pacer.Decide(sites).changed);
  for (PacedSite& site : sites) {
    site.waited = Predict(run, PlansOf(run)[last], kParameters, TwoSites(2000)).exchange;
  }
  // Not by what one of them says.
  std::vector<PacedSite> half = sites;
  half[1].waited.reset();
  EXPECT_FALSE(pacer.Decide(half).changed);
  half[1].waited = at_last;
  EXPECT_FALSE(pacer.Decide(half).changed);
  const PaceDecision decision = pacer.Decide(sites);
  EXPECT_TRUE(decision.changed);
  EXPECT_EQ(decision.plan, PacerOf(run, last).Decide(TwoSites(20 * 64)).plan) << "64 times at most";
  EXPECT_LT(decision.plan, last);
}

// Right after a change rates may still be those that waiting has shown to be wrong.
TEST(PacerTest, AfterAChangeItWaitsToHearOfTheNewPlan) {
  const RunSpec run = LocalRun();
  const size_t last = PlansOf(run).size() - 1;
  Pacer pacer = PacerOf(run, last);
  std::vector<PacedSite> sites = TwoSites(20);
  for (PacedSite& site : sites) site.waited = absl::Milliseconds(200);
  const PaceDecision changed = pacer.Decide(sites);
  ASSERT_TRUE(changed.changed);
  for (PacedSite& site : sites) site.waited.reset();
  for (int round = 1; round < 8; ++round) {
    EXPECT_EQ(pacer.Decide(sites).reason, PaceReason::kTooSoon) << round;
  }
  EXPECT_TRUE(pacer.Decide(sites).changed) << "by the rates, since nothing else is heard";
}

TEST(PacerTest, WhatAJobWentOnForMayHaveBeenTheLinks) {
  RunSpec run = LocalRun();
  run.format.overlap = 15;
  const size_t last = PlansOf(run).size() - 1;
  std::vector<PacedSite> sites = TwoSites(20);
  for (PacedSite& site : sites) site.waited = absl::ZeroDuration();
  Pacer pacer = PacerOf(run, last);
  const PaceDecision decision = pacer.Decide(sites);
  ASSERT_THAT(decision.predictions, SizeIs(PlansOf(run).size()));
  EXPECT_GE(decision.predictions[last].exchange, 0.69 * 15 * sites[0].compute);
}

TEST(PacerTest, TheSlowestSiteDecides) {
  std::vector<PacedSite> sites = TwoSites(10'000);
  sites[1].path.up = 150 * kMbit;
  Pacer pacer = PacerOf(LocalRun());
  EXPECT_GT(pacer.Decide(sites).plan, 0u);
}

RunSpec FlexDemoRun() { return DefaultRunSpec(Scheme::kFlexDemo); }

Pacer FlexDemoPacer(Pacer::Options options = {}) {
  return Pacer(FlexDemoRun(), PlansOf(FlexDemoRun()), FlexDemoRun().format, kParameters, options);
}

GroupFormat Keeping(uint32_t k) { return {k, FlexDemoRun().format.all.values}; }

// Three sites, of which the last one's uplink is so much slower.
std::vector<PacedSite> OneSlow(double mbit, double times) {
  std::vector<PacedSite> sites = TwoSites(mbit);
  sites.push_back(sites[0]);
  sites[2].group = GroupId(3);
  sites[2].path.up /= times;
  return sites;
}

TEST(PacerTest, ASlowUplinkSendsLessAndTheOthersAsBefore) {
  Pacer pacer = FlexDemoPacer({.target = 0.9});
  EXPECT_FALSE(pacer.Decide(OneSlow(2000, 1)).changed);
  const PaceDecision decision = pacer.Decide(OneSlow(2000, 20));
  EXPECT_TRUE(decision.changed);
  EXPECT_EQ(decision.format.all, Keeping(2));
  EXPECT_EQ(decision.format.own, (std::map{std::pair(GroupId(3), Keeping(1))}));
  EXPECT_TRUE(CheckChange(FlexDemoRun(), FlexDemoRun().format, decision.format).ok());
  EXPECT_LT(decision.expected->bytes.up[2], decision.expected->bytes.up[0]);
  EXPECT_FALSE(pacer.Decide(OneSlow(2000, 20)).changed);
  // A little better is no reason; as good as the others is.
  for (int round = 0; round < 10; ++round) {
    EXPECT_FALSE(pacer.Decide(OneSlow(2000, 15)).changed) << round;
  }
  const PaceDecision back = pacer.Decide(OneSlow(2000, 1));
  EXPECT_TRUE(back.changed);
  EXPECT_EQ(back.format, FlexDemoRun().format);
}

// What sites send together must come down somewhere.
TEST(PacerTest, ASlowDownlinkHasAllSendLess) {
  std::vector<PacedSite> sites = OneSlow(2000, 1);
  const PaceDecision wide = FlexDemoPacer().Decide(sites);
  EXPECT_FALSE(wide.changed);
  sites[2].path.down /= 30;
  const PaceDecision decision = FlexDemoPacer().Decide(sites);
  EXPECT_TRUE(decision.changed);
  for (const size_t site : {0, 1}) {
    EXPECT_LT(decision.expected->bytes.up[site], wide.expected->bytes.up[site]) << site;
  }
}

TEST(PacerTest, WhatTheRunGivesAGroupItKeeps) {
  RunSpec run = FlexDemoRun();
  run.format.own[GroupId(3)] = Keeping(4);
  for (const Plan& plan : PlansOf(run)) {
    const Prediction prediction = Predict(run, plan, kParameters, OneSlow(2000, 100));
    EXPECT_EQ(prediction.format.of(GroupId(3)), Keeping(4));
  }
}

// Whoever is started again, or gets a plan from another, knows where it stands.
TEST(PacerTest, KnowsWhatOthersHaveDecided) {
  RoundFormat uneven = FlexDemoRun().format;
  uneven.own[GroupId(3)] = Keeping(1);
  std::vector<Plan> plans = PlansOf(FlexDemoRun());
  const size_t plan = PlanOf(uneven, plans);
  EXPECT_THAT(plans, SizeIs(PlansOf(FlexDemoRun()).size()));
  EXPECT_EQ(plans[plan].less, Keeping(1));
  uneven.own[GroupId(2)] = Keeping(3);
  EXPECT_EQ(PlanOf(uneven, plans), 0u);
  EXPECT_THAT(plans, SizeIs(PlansOf(FlexDemoRun()).size() + 1));
}

TEST(PacerTest, WhoIsLateSendsLessAndNotTheSameAgain) {
  Pacer pacer = FlexDemoPacer();
  std::vector<PacedSite> sites = OneSlow(10'000, 1);
  EXPECT_FALSE(pacer.Decide(sites).changed);
  sites[2].late = true;
  const PaceDecision decision = pacer.Decide(sites);
  EXPECT_EQ(decision.reason, PaceReason::kLate);
  EXPECT_EQ(decision.format.all, Keeping(2)) << "the others were in time";
  EXPECT_EQ(decision.format.own, (std::map{std::pair(GroupId(3), Keeping(1))}));
  // Until that can have helped, it is not asked for more.
  for (int round = 1; round < 4; ++round) EXPECT_FALSE(pacer.Decide(sites).changed) << round;
  const PaceDecision more = pacer.Decide(sites);
  EXPECT_EQ(more.reason, PaceReason::kLate);
  EXPECT_LT(more.expected->bytes.up[2], decision.expected->bytes.up[2]);
  pacer.Freeze(true);
  for (int round = 0; round < 10; ++round) EXPECT_FALSE(pacer.Decide(sites).changed) << round;
}

TEST(PacerTest, WhatIsNotKnownIsNotDecidedOn) {
  Pacer pacer = PacerOf(LocalRun(), 2);
  EXPECT_EQ(pacer.Decide({}).reason, PaceReason::kUnmeasured);
  std::vector<PacedSite> sites = TwoSites(1);
  sites[1].measured = false;
  EXPECT_EQ(pacer.Decide(sites).reason, PaceReason::kUnmeasured);
  sites[1].measured = true;
  sites[1].path.up = 0;
  EXPECT_EQ(pacer.Decide(sites).reason, PaceReason::kUnmeasured);
  sites = TwoSites(1);
  sites[0].compute = absl::ZeroDuration();
  const PaceDecision decision = pacer.Decide(sites);
  EXPECT_EQ(decision.reason, PaceReason::kUnmeasured);
  EXPECT_EQ(decision.plan, 2u);
  EXPECT_THAT(decision.predictions, SizeIs(0));
}

TEST(PacerTest, FrozenItKeepsWhatThereIs) {
  Pacer pacer = PacerOf(LocalRun());
  pacer.Freeze(true);
  const PaceDecision decision = pacer.Decide(TwoSites(1));
  EXPECT_EQ(decision.reason, PaceReason::kFrozen);
  EXPECT_EQ(decision.plan, 0u);
  pacer.Freeze(false);
  EXPECT_TRUE(pacer.Decide(TwoSites(1)).changed);
}

TEST(PacerTest, AChangeTakenBackMakesItPatient) {
  const Pacer::Options options{.dwell = 4, .longest_dwell = 16, .other_sites = 1e9};
  Pacer pacer = PacerOf(LocalRun(), 0, options);
  // Whatever it does, the link is another at once.
  std::vector<int> rounds;
  bool fast = false;
  for (int last = 0, round = 1; rounds.size() < 6; ++round) {
    if (!pacer.Decide(TwoSites(fast ? 10'000 : 1)).changed) continue;
    fast = !fast;
    rounds.push_back(round - last);
    last = round;
  }
  EXPECT_THAT(rounds, ::testing::ElementsAre(1, 4, 8, 16, 16, 16));
}

// Links of a trace, known late and with noise.
struct Outcome {
  int settled = 0;    // rounds after the change until the last change of plan
  int reversals = 0;  // changes that went the other way than the one before
  int changes = 0;
  int rounds_met = 0;  // with a true ratio within 3 points of the target, or below it
};

Outcome Follow(const RunSpec& run, size_t first, int rounds, uint32_t seed,
               const std::function<double(int)>& mbit, double error = 0.08) {
  const std::vector<Plan> plans = PlansOf(run);
  Pacer pacer = PacerOf(run, first);
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> noise(1 - error, 1 + error);
  Outcome outcome;
  size_t plan = first;
  int direction = 0;
  for (int round = 0; round < rounds; ++round) {
    const double late = mbit(std::max(0, round - 2));
    const PaceDecision decision = pacer.Decide(TwoSites(late * noise(random)));
    if (decision.changed) {
      const int way = decision.plan > plan ? 1 : -1;
      outcome.reversals += direction != 0 && way != direction;
      direction = way;
      ++outcome.changes;
      outcome.settled = round;
    }
    plan = decision.plan;
    const Prediction truth = Predict(run, plans[plan], kParameters, TwoSites(mbit(round)));
    outcome.rounds_met += truth.cost.ratio <= 0.13;
  }
  return outcome;
}

TEST(PacerTest, SettlesWithinTenRoundsOfAnyStep) {
  const RunSpec run = LocalRun();
  const double rates[] = {1, 20, 60, 100, 150, 200, 400, 1000};
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    for (const double from : rates) {
      for (const double to : rates) {
        if (from == to) continue;
        SCOPED_TRACE(absl::StrCat("seed ", seed, ", from ", from, " to ", to, " Mbit/s"));
        Pacer settle = PacerOf(run);
        const size_t first = settle.Decide(TwoSites(from)).plan;
        const Outcome outcome = Follow(run, first, 60, seed, [to](int) { return to; });
        EXPECT_LE(outcome.settled, 10);
        EXPECT_LE(outcome.reversals, 1);
        if (to >= 100) {
          EXPECT_GE(outcome.rounds_met, 48) << "of 60";
        }
      }
    }
  }
}

TEST(BelievedRateTest, OnlyWhatFilledTheLinkTakesBack) {
  BelievedRate rate;
  EXPECT_EQ(rate.bytes_per_second(), std::nullopt);
  rate.Saw({});
  rate.Saw({.bytes_per_second = 10, .at_least = false, .samples = 3});
  EXPECT_EQ(rate.bytes_per_second(), 10);
  rate.Saw({.bytes_per_second = 5, .at_least = true});
  EXPECT_EQ(rate.bytes_per_second(), 10);
  rate.Saw({.bytes_per_second = 20, .at_least = true});
  EXPECT_EQ(rate.bytes_per_second(), 20);
  rate.Saw({.bytes_per_second = 4, .at_least = false, .samples = 1});
  EXPECT_EQ(rate.bytes_per_second(), 4);
}

TEST(BelievedRateTest, WhatNothingHasEverFilledIsNoLimit) {
  BelievedRate rate;
  for (int i = 0; i < 7; ++i) rate.Saw({.bytes_per_second = 10, .at_least = true});
  EXPECT_EQ(rate.bytes_per_second(), std::nullopt);
  rate.Saw({.bytes_per_second = 10, .at_least = true});
  EXPECT_EQ(rate.bytes_per_second(), std::numeric_limits<double>::infinity());
  rate.Saw({.bytes_per_second = 10, .at_least = false, .samples = 1});
  EXPECT_EQ(rate.bytes_per_second(), 10);
}

TEST(PacerTest, FollowsASquareWaveAndASlowSine) {
  const RunSpec run = LocalRun();
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    const Outcome square =
        Follow(run, 0, 400, seed, [](int round) { return round / 50 % 2 == 0 ? 1000 : 120; });
    EXPECT_LE(square.changes, 8 * 2);
    EXPECT_GE(square.rounds_met, 360) << "of 400";
    const Outcome sine = Follow(run, 0, 400, seed, [](int round) {
      return 100 * std::pow(10, 0.5 + 0.5 * std::sin(round * 2 * M_PI / 200));
    });
    EXPECT_GE(sine.rounds_met, 360) << "of 400";
    EXPECT_LE(sine.reversals, 2 * 4 + 2) << "it turns four times";
  }
}

TEST(PacerTest, NeverMovesOnAConstantLinkOnceItHasSettled) {
  for (const Scheme scheme : {Scheme::kFlexDemo, Scheme::kLocal}) {
    const RunSpec run = DefaultRunSpec(scheme);
    for (double mbit = 0.5; mbit < 20'000; mbit *= 1.3) {
      for (uint32_t seed = 1; seed <= 5; ++seed) {
        SCOPED_TRACE(absl::StrCat(Name(scheme), " at ", mbit, " Mbit/s, seed ", seed));
        const auto constant = [mbit](int) { return mbit; };
        EXPECT_LE(Follow(run, 0, 500, seed, constant).changes, 3);
        EXPECT_LE(Follow(run, 0, 500, seed, constant, 0.2).changes, 6) << "measured badly";
      }
    }
  }
}

// One site's link is thinner, and all are measured badly.
TEST(PacerTest, DoesNotGoToAndFroAboutWhoSendsLess) {
  for (const double times : {1.0, 2.0, 5.0, 10.0, 20.0, 50.0}) {
    for (uint32_t seed = 1; seed <= 5; ++seed) {
      SCOPED_TRACE(absl::StrCat(times, " times thinner, seed ", seed));
      Pacer pacer = FlexDemoPacer({.target = 0.9});
      std::mt19937 random(seed);
      std::uniform_real_distribution<double> noise(0.92, 1.08);
      int changes = 0;
      for (int round = 0; round < 500; ++round) {
        std::vector<PacedSite> sites = OneSlow(2000, times);
        for (PacedSite& site : sites) site.path.up *= noise(random);
        changes += pacer.Decide(sites).changed;
      }
      EXPECT_LE(changes, 4);
    }
  }
}

TEST(PacerTest, EveryReasonHasAName) {
  std::set<std::string> names;
  for (int reason = 0; reason <= static_cast<int>(PaceReason::kScheduled); ++reason) {
    names.insert(Name(static_cast<PaceReason>(reason)));
  }
  EXPECT_THAT(names, SizeIs(9));
}

}  // namespace
}  // namespace isthmus
