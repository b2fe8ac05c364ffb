// Runs of local steps (docs/protocol.md, P29) with real coordinator, daemons and libisthmus: jobs
// that step by themselves and exchange now and then.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <vector>

#include "tests/e2e/local_jobs.h"

namespace isthmus::e2e {
namespace {

using ::testing::HasSubstr;

TEST(LocalStepsTest, P29_SitesOfAnySizeEndAtOneAnchor) {
  for (const ValueFormat values :
       {ValueFormat::kOneBit, ValueFormat::kTwoBit, ValueFormat::kInt4, ValueFormat::kF32}) {
    TrainLocalSites(LocalRun(2, values), {1, 2});
    TrainLocalSites(LocalRun(4, values), {1, 2, 3, 1});  // so many that the mean is quantized again
  }
}

TEST(LocalStepsTest, P29_ExchangesHiddenBehindFurtherStepsEndAtOneAnchor) {
  for (uint32_t overlap = 1; overlap <= kEvery; ++overlap) {
    RunSpec run = LocalRun(3);
    run.format.overlap = overlap;
    const uint64_t hash = TrainLocalSites(run, {1, 2, 3});
    EXPECT_EQ(TrainLocalSites(run, {1, 2, 3}), hash) << "P21";
    EXPECT_NE(TrainLocalSites(LocalRun(3), {1, 2, 3}), hash) << "it is another way to go";
  }
}

// Sites of any speed, which stop where the coordinator says that they have seen enough together, or
// that it is time: all ranks of a site at the same step, since each waits for the others there.
TEST(LocalStepsTest, P29_SitesStopWhereTheCoordinatorSays) {
  for (const Period every : {Period{.steps = 0, .millis = 20}, Period{.steps = 0, .samples = 50}}) {
    for (const uint32_t overlap : {0u, 2u}) {
      RunSpec run = LocalRun(2);
      run.rounds = 3;
      run.format.every = every;
      run.format.overlap = overlap;
      TestCoordinator coordinator(run);
      Site one(coordinator.address(), 1, 1);
      Site three(coordinator.address(), 2, 3);
      std::vector<std::future<LocalOutcome>> jobs = TrainLocalRanks(one);
      for (auto& rank : TrainLocalRanks(three)) jobs.push_back(std::move(rank));
      coordinator.ExpectEqualHashes(2);
      std::vector<LocalOutcome> outcomes;
      for (auto& job : jobs) outcomes.push_back(job.get());
      for (const LocalOutcome& outcome : outcomes) {
        EXPECT_TRUE(outcome.status.end()) << outcome.status.message();
        EXPECT_EQ(outcome.parameters, outcomes[0].parameters);
        EXPECT_EQ(outcome.rounds.back(), 3u);
      }
      EXPECT_EQ(outcomes[1].exchanged, outcomes[2].exchanged) << "ranks of one site";
      EXPECT_EQ(outcomes[1].exchanged, outcomes[3].exchanged);
    }
  }
}

// A round may be due already when a job attaches: it is to stop all the same.
TEST(LocalStepsTest, P29_AJobThatTakesAnothersPlaceStopsWhereTheCoordinatorSays) {
  RunSpec run = LocalRun(2);
  run.rounds = 6;
  run.min_groups = 2;  // it does not end without either
  run.format.every = {.steps = 0, .millis = 5};
  run.format.overlap = 1;
  TestCoordinator coordinator(run);
  Site one(coordinator.address(), 1, 1);
  Site two(coordinator.address(), 2, 1);
  auto there = TrainLocalRanks(two);
  LocalOutcome outcome;
  for (int job = 0; job < 3 && !outcome.status.end(); ++job) {
    outcome = TrainLocalRank(one, 0, {.leave_after = job < 2 ? 30u : 0u});
    EXPECT_TRUE(outcome.status.ok() || outcome.status.end()) << outcome.status.message();
  }
  EXPECT_TRUE(outcome.status.end());
  EXPECT_TRUE(there[0].get().status.end());
  coordinator.ExpectEqualHashes(2);
}

// Whatever is under way, what it reads is what all sites have in common.
TEST(LocalStepsTest, P29_TheAnchorIsTheSameAtAllSitesAndRanks) {
  RunSpec run = LocalRun(2);
  run.format.overlap = 1;
  Mutex mu;
  std::map<uint64_t, std::vector<float>> anchors;  // by round
  LocalJobOptions options;
  options.edit = [&](uint32_t, uint64_t step, client::Session& session) {
    if (step % 2 == 0) return;
    std::vector<float> anchor(session.Parameter(0).size());
    std::vector<void*> places(Model().Tensors(1).size());
    places[0] = anchor.data();
    const std::vector<float> own(session.FlatParameters().begin(), session.FlatParameters().end());
    auto round = session.ReadAnchor(places);
    ASSERT_TRUE(round.ok()) << round.status().message();
    EXPECT_TRUE(std::ranges::equal(session.FlatParameters(), own)) << "the job's own again";
    MutexLock lock(&mu);
    const auto [at, is_first] = anchors.try_emplace(*round, anchor);
    EXPECT_EQ(at->second, anchor) << "of round " << *round;
  };
  const uint64_t hash = TrainLocalSites(run, {1, 2}, options);
  EXPECT_EQ(anchors.size(), kRounds) << "all but the last, and the beginning";
  EXPECT_EQ(TrainLocalSites(run, {1, 2}), hash) << "it changes nothing";
}

TEST(LocalStepsTest, P29_EverySelectionAndTheOuterMomentum) {
  for (const SelectionKind selection : {SelectionKind::kDct, SelectionKind::kTopK,
                                        SelectionKind::kRandom, SelectionKind::kSlicing}) {
    RunSpec run = LocalRun(2);
    run.selection = selection;
    run.format.all.k = 16;
    TrainLocalSites(run, {2, 1});
  }
  RunSpec run = LocalRun(2);
  run.optimizer = {.kind = OptimizerKind::kNesterov, .momentum = 0.5f};
  run.outer_lr = 0.7f;
  run.decay = 0.9f;
  TrainLocalSites(run, {2, 1});
}

TEST(LocalStepsTest, P21_ARunIsReproducible) {
  const RunSpec run = LocalRun(3);
  EXPECT_EQ(TrainLocalSites(run, {1, 2, 3}), TrainLocalSites(run, {1, 2, 3}));
}

TEST(LocalStepsTest, P18_ASiteThatIsNowhereSitsOneRoundOut) {
  LocalJobOptions options;
  options.edit = [](uint32_t rank, uint64_t step, client::Session& session) {
    if (rank == 1 && step == 2 * kEvery) {
      session.Parameter(0)[7] = std::numeric_limits<float>::quiet_NaN();
    }
  };
  TrainLocalSites(LocalRun(2), {1, 2}, options);  // of the second site alone has a rank 1
}

TEST(LocalStepsTest, JobsOfTheOtherKindAreRefusedInWords) {
  TestCoordinator local(LocalRun(1));
  Site site(local.address(), 1, 1);
  const LocalOutcome outcome = TrainLocalRank(site, 0, {.own_optimizer = false});
  EXPECT_EQ(outcome.status.code(), ISTHMUS_FAILED_PRECONDITION);
  EXPECT_THAT(outcome.status.message(),
              HasSubstr("the run's scheme is local, whose jobs step by an optimizer of their own: "
                        "expected own_optimizer 1 at attach, got 0"));

  TestCoordinator per_step(SmallRun(1, kRounds));
  Site other(per_step.address(), 1, 1);
  const LocalOutcome refused = TrainLocalRank(other, 0, {});
  EXPECT_EQ(refused.status.code(), ISTHMUS_FAILED_PRECONDITION);
  EXPECT_THAT(refused.status.message(),
              HasSubstr("the run's scheme is flexdemo, which steps by the daemon's optimizer: "
                        "expected own_optimizer 0 at attach, got 1"));
}

}  // namespace
}  // namespace isthmus::e2e
