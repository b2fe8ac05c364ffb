// Runs of local steps (docs/protocol.md, P29) with real coordinator, daemons and libisthmus: jobs
// that step by themselves and exchange now and then.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <limits>
#include <map>
#include <vector>

#include "tests/e2e/harness.h"

namespace isthmus::e2e {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kRounds = 5;
constexpr uint32_t kEvery = 3;

RunSpec LocalRun(uint32_t groups, ValueFormat values = ValueFormat::kTwoBit) {
  RunSpec run = SmallRun(groups, kRounds, Scheme::kLocal);
  run.format.all.values = values;
  run.format.every = {.steps = kEvery};
  return run;
}

struct Outcome {
  client::Status status;
  std::vector<bool> exchanged;  // by step
  std::vector<uint64_t> rounds;
  std::vector<float> parameters;  // at the end
};

struct LocalJobOptions {
  bool own_optimizer = true;
  uint64_t leave_after = 0;  // steps; 0: at the end of the run
  // After each of the job's steps.
  std::function<void(uint32_t rank, uint64_t step, client::Session& session)> edit;
};

// One rank, which steps by SGD until the run ends.
Outcome TrainRank(const Site& site, uint32_t rank, const LocalJobOptions& options) {
  const Model model;
  Outcome outcome;
  auto session = client::Session::Attach({.socket_path = site.socket(),
                                          .local_rank = static_cast<int32_t>(rank),
                                          .timeout_seconds = 120,
                                          .own_optimizer = options.own_optimizer},
                                         model.Tensors(site.group()));
  if (!session.ok()) {
    outcome.status = session.status();
    return outcome;
  }
  for (uint64_t step = 1;; ++step) {
    for (const size_t tensor : {0, 2}) {
      const std::span<float> parameters = session->Parameter(tensor);
      std::vector<float> gradient(parameters.size());
      FillGradient(site.group(), rank, step, parameters, gradient);
      for (size_t i = 0; i < gradient.size(); ++i) parameters[i] -= 0.05f * gradient[i];
    }
    if (options.edit) options.edit(rank, step, *session);
    auto result = session->Step({.samples = 1 + rank, .loss = 2.0f});
    if (!result.ok()) {
      outcome.status = result.status();
      break;
    }
    outcome.exchanged.push_back(result->exchanged != 0);
    outcome.rounds.push_back(result->round);
    if (step == options.leave_after && result->round < session->Info().rounds) break;
  }
  outcome.parameters.assign(session->FlatParameters().begin(), session->FlatParameters().end());
  return outcome;
}

std::vector<std::future<Outcome>> Train(const Site& site, const LocalJobOptions& options = {}) {
  std::vector<std::future<Outcome>> ranks;
  for (uint32_t rank = 0; rank < site.ranks(); ++rank) {
    ranks.push_back(std::async(std::launch::async,
                               [&site, rank, options] { return TrainRank(site, rank, options); }));
  }
  return ranks;
}

// Sites 1, 2, ... with as many ranks as `ranks` says, to the end of the run. Returns the state
// hash.
uint64_t TrainSites(const RunSpec& run, const std::vector<uint32_t>& ranks,
                    const LocalJobOptions& options = {}) {
  TestCoordinator coordinator(run);
  std::vector<std::unique_ptr<Site>> sites;
  std::vector<std::future<Outcome>> jobs;
  for (uint32_t i = 0; i < ranks.size(); ++i) {
    sites.push_back(std::make_unique<Site>(coordinator.address(), i + 1, ranks[i]));
    for (auto& rank : Train(*sites.back(), options)) jobs.push_back(std::move(rank));
  }
  const uint64_t hash = coordinator.ExpectEqualHashes(static_cast<uint32_t>(ranks.size()));
  std::vector<float> first;
  for (auto& job : jobs) {
    const Outcome outcome = job.get();
    EXPECT_TRUE(outcome.status.end()) << outcome.status.message();
    EXPECT_EQ(outcome.exchanged.size(), kRounds * kEvery);
    for (uint64_t step = 1; step <= outcome.exchanged.size(); ++step) {
      // So many steps after it began; the last where it began.
      const bool last = step == kRounds * kEvery;
      const uint64_t round =
          last ? kRounds : (step - std::min<uint64_t>(step, run.format.overlap)) / kEvery;
      const bool exchanged = last || (round > 0 && (step - run.format.overlap) % kEvery == 0);
      EXPECT_EQ(outcome.exchanged[step - 1], exchanged) << step;
      EXPECT_EQ(outcome.rounds[step - 1], round) << step;
    }
    // The job has stepped once more since; at the end it holds the anchor.
    if (first.empty()) first = outcome.parameters;
    EXPECT_EQ(outcome.parameters, first);
  }
  return hash;
}

TEST(LocalStepsTest, P29_SitesOfAnySizeEndAtOneAnchor) {
  for (const ValueFormat values :
       {ValueFormat::kOneBit, ValueFormat::kTwoBit, ValueFormat::kInt4, ValueFormat::kF32}) {
    TrainSites(LocalRun(2, values), {1, 2});
    TrainSites(LocalRun(4, values), {1, 2, 3, 1});  // so many that the mean is quantized again
  }
}

TEST(LocalStepsTest, P29_ExchangesHiddenBehindFurtherStepsEndAtOneAnchor) {
  for (uint32_t overlap = 1; overlap <= kEvery; ++overlap) {
    RunSpec run = LocalRun(3);
    run.format.overlap = overlap;
    const uint64_t hash = TrainSites(run, {1, 2, 3});
    EXPECT_EQ(TrainSites(run, {1, 2, 3}), hash) << "P21";
    EXPECT_NE(TrainSites(LocalRun(3), {1, 2, 3}), hash) << "it is another way to go";
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
      std::vector<std::future<Outcome>> jobs = Train(one);
      for (auto& rank : Train(three)) jobs.push_back(std::move(rank));
      coordinator.ExpectEqualHashes(2);
      std::vector<Outcome> outcomes;
      for (auto& job : jobs) outcomes.push_back(job.get());
      for (const Outcome& outcome : outcomes) {
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
  auto there = Train(two);
  Outcome outcome;
  for (int job = 0; job < 3 && !outcome.status.end(); ++job) {
    outcome = TrainRank(one, 0, {.leave_after = job < 2 ? 30u : 0u});
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
  const uint64_t hash = TrainSites(run, {1, 2}, options);
  EXPECT_EQ(anchors.size(), kRounds) << "all but the last, and the beginning";
  EXPECT_EQ(TrainSites(run, {1, 2}), hash) << "it changes nothing";
}

TEST(LocalStepsTest, P29_EverySelectionAndTheOuterMomentum) {
  for (const SelectionKind selection : {SelectionKind::kDct, SelectionKind::kTopK,
                                        SelectionKind::kRandom, SelectionKind::kSlicing}) {
    RunSpec run = LocalRun(2);
    run.selection = selection;
    run.format.all.k = 16;
    TrainSites(run, {2, 1});
  }
  RunSpec run = LocalRun(2);
  run.optimizer = {.kind = OptimizerKind::kNesterov, .momentum = 0.5f};
  run.outer_lr = 0.7f;
  run.decay = 0.9f;
  TrainSites(run, {2, 1});
}

TEST(LocalStepsTest, P21_ARunIsReproducible) {
  const RunSpec run = LocalRun(3);
  EXPECT_EQ(TrainSites(run, {1, 2, 3}), TrainSites(run, {1, 2, 3}));
}

TEST(LocalStepsTest, P18_ASiteThatIsNowhereSitsOneRoundOut) {
  LocalJobOptions options;
  options.edit = [](uint32_t rank, uint64_t step, client::Session& session) {
    if (rank == 1 && step == 2 * kEvery) {
      session.Parameter(0)[7] = std::numeric_limits<float>::quiet_NaN();
    }
  };
  TrainSites(LocalRun(2), {1, 2}, options);  // of the second site alone has a rank 1
}

TEST(LocalStepsTest, JobsOfTheOtherKindAreRefusedInWords) {
  TestCoordinator local(LocalRun(1));
  Site site(local.address(), 1, 1);
  const Outcome outcome = TrainRank(site, 0, {.own_optimizer = false});
  EXPECT_EQ(outcome.status.code(), ISTHMUS_FAILED_PRECONDITION);
  EXPECT_THAT(outcome.status.message(),
              HasSubstr("the run's scheme is local, whose jobs step by an optimizer of their own: "
                        "expected own_optimizer 1 at attach, got 0"));

  TestCoordinator per_step(SmallRun(1, kRounds));
  Site other(per_step.address(), 1, 1);
  const Outcome refused = TrainRank(other, 0, {});
  EXPECT_EQ(refused.status.code(), ISTHMUS_FAILED_PRECONDITION);
  EXPECT_THAT(refused.status.message(),
              HasSubstr("the run's scheme is flexdemo, which steps by the daemon's optimizer: "
                        "expected own_optimizer 0 at attach, got 1"));
}

}  // namespace
}  // namespace isthmus::e2e
