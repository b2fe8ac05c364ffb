// Nothing goes wrong here: groups of any shape train to the end and hold the same bits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/run/loss.h"
#include "tests/e2e/harness.h"

namespace isthmus::e2e {
namespace {

constexpr uint64_t kRounds = 12;

struct Deployment {
  explicit Deployment(const RunSpec& run, const std::vector<uint32_t>& ranks,
                      const JobOptions& options = {})
      : coordinator(run) {
    for (uint32_t g = 0; g < ranks.size(); ++g) {
      sites.push_back(std::make_unique<Site>(coordinator.address(), g + 1, ranks[g]));
      jobs.push_back(std::make_unique<Job>(*sites.back(), options));
    }
  }
  std::vector<const std::vector<RankOutcome>*> Await() {
    std::vector<const std::vector<RankOutcome>*> outcomes;
    for (const auto& job : jobs) outcomes.push_back(&job->Await());
    return outcomes;
  }

  TestCoordinator coordinator;
  std::vector<std::unique_ptr<Site>> sites;
  std::vector<std::unique_ptr<Job>> jobs;
};

// Trains to the end, with all that must hold of any undisturbed run.
std::vector<float> TrainsToEqualEnds(const RunSpec& run, const std::vector<uint32_t>& ranks,
                                     const JobOptions& options = {}) {
  Deployment all(run, ranks, options);
  const auto outcomes = all.Await();
  const uint32_t groups = static_cast<uint32_t>(ranks.size());
  // Ranks of group g report g + 1, and count by their samples.
  WeightedLoss loss;
  for (uint32_t g = 0; g < groups; ++g) {
    for (uint32_t r = 0; r < ranks[g]; ++r) {
      loss.Add(static_cast<float>(g + 1), options.samples ? options.samples(r) : 1);
    }
  }
  ExpectEqualEnds(outcomes, all.coordinator.ExpectEqualHashes(groups));
  for (uint32_t g = 0; g < groups; ++g) {
    for (uint32_t r = 0; r < ranks[g]; ++r) {
      const RankOutcome& rank = (*outcomes[g])[r];
      EXPECT_EQ(rank.info.group_id, g + 1);
      EXPECT_EQ(rank.info.group_index, g);
      EXPECT_EQ(rank.info.group_count, groups);
      EXPECT_EQ(rank.info.rank, r);
      EXPECT_EQ(rank.info.world_size, ranks[g]);
      EXPECT_EQ(rank.info.round, 0u);
      EXPECT_EQ(rank.info.rounds, run.rounds);
      EXPECT_EQ(rank.info.parameters, 15716u);
      // All start from group 1's parameters and constants.
      EXPECT_TRUE(rank.initial == outcomes[0]->front().initial);
      EXPECT_THAT(rank.table, ::testing::Each(std::byte{1}));
      EXPECT_EQ(rank.steps.size(), run.rounds);
      for (uint64_t s = 0; s < rank.steps.size(); ++s) {
        const isthmus_step_result& step = rank.steps[s];
        // Where rounds overlap a step is given the one before, and the last waits for its own.
        const bool own = run.format.overlap == 0 || s + 1 == run.rounds;
        const bool given = own || s > 0;
        EXPECT_EQ(step.round, own ? s + 1 : s);
        EXPECT_EQ(step.exchanged, given ? 1u : 0u);
        EXPECT_EQ(step.contributors, given ? groups : 0u);
        EXPECT_EQ(step.buckets, 4u);
        EXPECT_EQ(step.merged_here, given ? 4u : 0u);
        EXPECT_FLOAT_EQ(step.loss, given ? loss.Mean() : 0.0f);
        EXPECT_GE(step.blocked_seconds + 1e-9, step.local_seconds + step.peer_wait_seconds);
        EXPECT_GE(step.link_wait_seconds, 0.0);
      }
    }
    EXPECT_EQ(all.sites[g]->AwaitEnd().code, DaemonExit::kOk);
  }
  const v1::GetStatusReply status = all.coordinator.Status();
  EXPECT_EQ(status.state(), v1::GetStatusReply::ENDED);
  EXPECT_EQ(status.rounds_committed(), run.rounds);
  EXPECT_EQ(status.sequence(), run.rounds * 4);
  EXPECT_EQ(status.contributions_merged(), run.rounds * 4 * groups);
  EXPECT_EQ(status.contributions_late(), 0u);
  EXPECT_EQ(status.contributions_rejected(), 0u);
  const RankOutcome& any = outcomes[0]->front();
  EXPECT_FALSE(any.initial == any.parameters);
  for (float p : any.parameters) EXPECT_TRUE(std::isfinite(p));
  return any.parameters;
}

TEST(TrainingTest, OneGroupOfTwoRanks) { TrainsToEqualEnds(SmallRun(1, kRounds), {2}); }

TEST(TrainingTest, TwoGroupsOfTwoRanks) { TrainsToEqualEnds(SmallRun(2, kRounds), {2, 2}); }

TEST(TrainingTest, ThreeGroupsOfOneTwoAndThreeRanks) {
  TrainsToEqualEnds(SmallRun(3, kRounds), {1, 2, 3});
}

TEST(TrainingTest, TheSameRunTwiceGivesTheSameBits) {
  const auto first = TrainsToEqualEnds(SmallRun(2, kRounds), {2, 1});
  EXPECT_TRUE(first == TrainsToEqualEnds(SmallRun(2, kRounds), {2, 1}));
}

TEST(TrainingTest, FullSynchronisationWithAdamW) {
  TrainsToEqualEnds(SmallRun(2, kRounds, Scheme::kFull), {1, 2});
}

TEST(TrainingTest, FlexDemoWithAdamW) {
  RunSpec run = SmallRun(2, kRounds);
  run.optimizer.kind = OptimizerKind::kAdamW;
  TrainsToEqualEnds(run, {1, 2});
}

// A job whose gradients are as old as overlap makes them: of where parameters were one step before.
// Told by the step's number alone, so that it is the same job with overlap and without.
class DelayedGradients {
 public:
  // `overlapped`: the parameters at hand are that old already.
  explicit DelayedGradients(bool overlapped) : overlapped_(overlapped) {}

  JobOptions Options() {
    JobOptions options;
    options.edit = [this](uint32_t rank, uint64_t, client::Session& session) {
      Rank& mine = Of({session.Info().group_id, rank});
      const std::vector<float> now(session.FlatParameters().begin(),
                                   session.FlatParameters().end());
      const std::vector<float>& at = overlapped_ || mine.steps == 0 ? now : mine.before;
      FillFrom(at, mine.steps * 100 + session.Info().group_id * 10 + rank, session);
      mine.before = now;
      ++mine.steps;
    };
    return options;
  }

 private:
  struct Rank {
    uint64_t steps = 0;
    std::vector<float> before;
  };
  static void FillFrom(const std::vector<float>& at, uint64_t noise, client::Session& session) {
    for (const size_t t : {0, 2}) {
      const std::span<float> gradient = session.Gradient(t);
      const auto begin = session.Parameter(t).data() - session.FlatParameters().data();
      for (size_t i = 0; i < gradient.size(); ++i) {
        gradient[i] = at[static_cast<size_t>(begin) + i] + static_cast<float>((i + noise) % 13);
      }
    }
  }

  Rank& Of(std::pair<uint32_t, uint32_t> group_and_rank) {
    MutexLock lock(&mu_);
    return ranks_[group_and_rank];
  }

  const bool overlapped_;
  Mutex mu_;  // each rank's own thread alone uses what is its own
  std::map<std::pair<uint32_t, uint32_t>, Rank> ranks_ ABSL_GUARDED_BY(mu_);
};

TEST(TrainingTest, P31_OverlapIsAGradientOfOneStepBefore) {
  for (const Scheme scheme : {Scheme::kFlexDemo, Scheme::kRandom, Scheme::kFull}) {
    for (const std::vector<uint32_t>& ranks : {std::vector<uint32_t>{1}, {1, 2, 3}}) {
      RunSpec run = SmallRun(static_cast<uint32_t>(ranks.size()), kRounds, scheme);
      DelayedGradients delayed(false);
      const std::vector<float> waited = TrainsToEqualEnds(run, ranks, delayed.Options());
      run.format.overlap = 1;
      DelayedGradients at_hand(true);
      EXPECT_TRUE(waited == TrainsToEqualEnds(run, ranks, at_hand.Options())) << Name(scheme);
    }
  }
}

TEST(TrainingTest, SgdMomentumWithoutSignAndFloat32Values) {
  RunSpec run = SmallRun(2, kRounds);
  run.optimizer.momentum = 0.9f;
  run.sign = false;
  run.format.all.values = ValueFormat::kF32;
  run.merge = MergeRule::kMean;
  TrainsToEqualEnds(run, {2, 2});
}

TEST(TrainingTest, LearningRateInsideTheMomentumAndOtherChunks) {
  RunSpec run = SmallRun(2, kRounds);
  run.lr_in_momentum = true;
  run.format.chunk_size = 256;
  run.format.all.k = 16;
  run.sign = false;
  JobOptions options;
  options.lr = {0.01f, 0.01f};
  TrainsToEqualEnds(run, {1, 2}, options);
}

TEST(TrainingTest, GroupsWeighByTheirSamples) {
  const auto train = [](uint64_t samples_of_two) {
    TestCoordinator coordinator(SmallRun(2, 3, Scheme::kFull));
    Site one(coordinator.address(), 1, 1);
    Site two(coordinator.address(), 2, 2);
    JobOptions options;
    Job job_one(one, options);
    options.samples = [&](uint32_t) { return samples_of_two; };  // of each of two ranks
    Job job_two(two, options);
    const auto& a = job_one.Await();
    ExpectEqualEnds({&a, &job_two.Await()}, coordinator.ExpectEqualHashes(2));
    const float twos = 2 * static_cast<float>(samples_of_two);
    EXPECT_FLOAT_EQ(a[0].steps[0].loss, (1 + 2 * twos) / (1 + twos));
    return a[0].parameters;
  };
  EXPECT_FALSE(train(1) == train(8));
}

TEST(TrainingTest, AnotherGroupMayBeTheOneThatAllStartFrom) {
  RunSpec run = SmallRun(2, 3);
  run.initial_donor = GroupId(2);
  Deployment all(run, {1, 2});
  const auto outcomes = all.Await();
  ExpectEqualEnds(outcomes, all.coordinator.ExpectEqualHashes(2));
  EXPECT_TRUE((*outcomes[0])[0].initial == (*outcomes[1])[0].initial);
  EXPECT_THAT((*outcomes[0])[0].table, ::testing::Each(std::byte{2}));
}

TEST(TrainingTest, AGroupThatComesLaterCatchesUpBySnapshot) {
  TestCoordinator coordinator(SmallRun(1, 30));
  Site one(coordinator.address(), 1, 2);
  Job early(one, {});
  early.PauseBefore(10);
  coordinator.AwaitRound(9);
  early.AwaitPaused();
  Site two(coordinator.address(), 2, 1);
  Job late(two, {});
  late.PauseBefore(11);
  late.AwaitAttached();
  early.Resume();
  late.Resume();
  const auto& a = early.Await();
  const auto& b = late.Await();
  ExpectEqualEnds({&a, &b}, coordinator.ExpectEqualHashes(2));
  EXPECT_EQ(b[0].info.round, 9u);
  EXPECT_EQ(b[0].info.group_index, 1u);
  EXPECT_EQ(b[0].info.group_count, 2u);
}

}  // namespace
}  // namespace isthmus::e2e
