// What a pipeline holds: jobs' buffers, snapshots, hashes, its life.
#include <gtest/gtest.h>

#include <bit>

#include "common/compression/state_hash.h"
#include "tests/worker/step/test_group.h"

namespace isthmus {
namespace {

FloatVector ParametersOf(TestGroup& group, uint32_t rank) {
  const auto parameters = group.job->parameters(rank).floats();
  return FloatVector(parameters.begin(), parameters.end());
}

TEST(PipelineStateTest, P13_LoadGivesEveryRankTheMastersOfRankZero) {
  for (const Layout& layout : {MixedLayout(), TinyLayout()}) {
    TestGroup group(3, DemoRun(), layout);
    for (uint32_t rank = 0; rank < 3; ++rank) {
      const FloatVector own = CoarseVector(rank, layout);
      std::copy(own.begin(), own.end(), group.job->parameters(rank).floats().begin());
      std::ranges::fill(group.job->gradients(rank).floats(), 1.0f);
      std::ranges::fill(group.job->constants(rank), std::byte(rank + 1));
    }
    group.pipeline.Adopt(group.job);
    group.pipeline.Load(group.job);
    group.Await();
    for (uint32_t rank = 0; rank < 3; ++rank) {
      EXPECT_EQ(ParametersOf(group, rank), CoarseVector(0, layout));
      for (const float g : group.job->gradients(rank).floats()) ASSERT_EQ(g, 0.0f);
      for (const std::byte c : group.job->constants(rank)) ASSERT_EQ(c, std::byte(1));
    }
  }
}

TEST(PipelineStateTest, P13_MastersReachTheJobOnlyWhenGathered) {
  TestGroup group(2, DemoRun(), MixedLayout());
  group.Start(1);
  const FloatVector before = ParametersOf(group, 1);
  group.SetGradients(CoarseVector(2, group.layout));
  group.ProcessAll(Round(1), true);
  group.Await();
  const BucketIndex bucket(1);
  group.pipeline.Apply(MakeUpdate({&group}, group, Round(1), bucket), Credit::kMerged, nullptr);
  group.Await();
  EXPECT_EQ(ParametersOf(group, 1), before);
  const FloatVector masters = group.Masters();
  EXPECT_NE(masters, before);
  group.pipeline.Gather(bucket, group.job, Gathering::kWithWay);
  group.Await();
  EXPECT_EQ(ParametersOf(group, 0), masters);
  EXPECT_EQ(ParametersOf(group, 1), masters);
}

TEST(PipelineStateTest, P15_AnInstalledSnapshotContinuesEqually) {
  for (const RunSpec& run : {DemoRun(), FullRun()}) {
    TestGroup donor(2, run, MixedLayout());
    TestGroup joiner(3, run, MixedLayout());
    donor.Start(1);
    joiner.Start(2);
    for (Round round(1); round <= Round(3); ++round) {
      ExchangeRound({&donor}, round, {CoarseVector(round.value(), donor.layout)});
    }
    // What the joiner did before is of no account.
    joiner.SetGradients(CoarseVector(99, joiner.layout));
    joiner.ProcessAll(Round(4), true);
    auto image = std::make_shared<StateImage>(donor.Snapshot());
    EXPECT_EQ(image->bytes.size(), donor.pipeline.state_bytes());
    EXPECT_NE(joiner.Hash(), donor.Hash());
    joiner.pipeline.Install(
        image, {true, std::vector<Round>(donor.pipeline.buckets().count(), Round(3)), {}});
    joiner.pipeline.Load(joiner.job);
    EXPECT_EQ(joiner.Hash(), donor.Hash());
    EXPECT_EQ(joiner.Snapshot().bytes, image->bytes);
    EXPECT_EQ(joiner.job->constants(2)[99], std::byte(1));
    // The optimizer's state came along: the same updates have the same effect.
    for (Round round(4); round <= Round(6); ++round) {
      donor.SetGradients(CoarseVector(round.value(), donor.layout));
      donor.ProcessAll(round, true);
      donor.Await();
      for (uint32_t b = 0; b < donor.pipeline.buckets().count(); ++b) {
        const auto update = MakeUpdate({&donor}, donor, round, BucketIndex(b));
        donor.pipeline.Apply(update, Credit::kMerged, nullptr);
        // In flight before the snapshot: forgotten, so there is nothing to return.
        joiner.pipeline.Apply(update, Credit::kReturn, nullptr);
      }
      EXPECT_EQ(joiner.Hash(), donor.Hash());
    }
    // Nor is anything left in its momentum.
    TestGroup fresh(3, run, MixedLayout());
    for (TestGroup* group : {&joiner, &fresh}) {
      group->SetGradients(CoarseVector(50, group->layout));
      group->ProcessAll(Round(7), true);
      group->Await();
    }
    EXPECT_EQ(joiner.SentWhole(Round(7), BucketIndex(0)).values,
              fresh.SentWhole(Round(7), BucketIndex(0)).values);
  }
}

TEST(PipelineStateTest, P15_OneThatHadFallenBehindKeepsItsMomentum) {
  TestGroup behind(2, DemoRun(), MixedLayout());
  TestGroup fresh(2, DemoRun(), MixedLayout());
  behind.SetGradients(CoarseVector(1, behind.layout));
  behind.ProcessAll(Round(1), false);
  behind.pipeline.Install(
      std::make_shared<StateImage>(fresh.Snapshot()),
      {false, std::vector<Round>(fresh.pipeline.buckets().count(), Round(1)), {}});
  for (TestGroup* group : {&behind, &fresh}) {
    group->SetGradients(CoarseVector(2, group->layout));
    group->ProcessAll(Round(2), true);
    group->Await();
  }
  EXPECT_NE(behind.SentWhole(Round(2), BucketIndex(0)).values,
            fresh.SentWhole(Round(2), BucketIndex(0)).values);
}

TEST(PipelineStateTest, P22_HashIsOfTheLogicalElementsOnly) {
  for (uint32_t ranks = 1; ranks <= 3; ++ranks) {
    TestGroup group(ranks, DemoRun(), MixedLayout());
    FloatVector parameters = CoarseVector(1, group.layout);
    const auto hash_of = [&] {
      std::copy(parameters.begin(), parameters.end(), group.job->parameters(0).floats().begin());
      group.pipeline.Adopt(group.job);
      return group.Hash();
    };
    uint64_t expected = 0;
    for (size_t t = 0; t < group.layout.tensors().size(); ++t) {
      const uint64_t begin = group.layout.offsets()[t];
      expected += StateHash(begin, std::span(parameters).subspan(begin, group.layout.counts()[t]));
    }
    EXPECT_EQ(hash_of(), expected);
    parameters.back() = 5.0f;  // padding
    EXPECT_EQ(hash_of(), expected);
    parameters[group.layout.offsets().back()] += 1.0f;
    EXPECT_NE(hash_of(), expected);
  }
}

// Whatever the number of ranks; what differs is named by its bucket.
TEST(PipelineStateTest, P22_EveryBucketHasItsHashAndTheyAddUp) {
  for (uint32_t ranks = 1; ranks <= 3; ++ranks) {
    TestGroup group(ranks, DemoRun(), MixedLayout());
    const Buckets& buckets = group.pipeline.buckets();
    ASSERT_GT(buckets.count(), 1u);
    FloatVector parameters = CoarseVector(1, group.layout);
    const auto hashes_of = [&] {
      std::copy(parameters.begin(), parameters.end(), group.job->parameters(0).floats().begin());
      group.pipeline.Adopt(group.job);
      return group.BucketHashes();
    };
    std::vector<uint64_t> expected(buckets.count());
    for (size_t t = 0; t < group.layout.tensors().size(); ++t) {
      const uint64_t first = group.layout.offsets()[t];
      for (uint64_t i = first; i < first + group.layout.counts()[t]; ++i) {
        expected[i / buckets.bucket_length()] += StateHash(i, std::span(parameters).subspan(i, 1));
      }
    }
    EXPECT_EQ(hashes_of(), expected);
    const uint64_t last = group.layout.offsets().back();
    parameters[last] += 1.0f;
    std::vector<uint64_t> changed = hashes_of();
    EXPECT_NE(changed[last / buckets.bucket_length()], expected[last / buckets.bucket_length()]);
    changed[last / buckets.bucket_length()] = expected[last / buckets.bucket_length()];
    EXPECT_EQ(changed, expected);
  }
}

TEST(PipelineStateTest, ThenWaitsForAllRanksAndMayQueueMore) {
  TestGroup group(3, DemoRun(), MixedLayout());
  group.Start(1);
  const auto done = std::make_shared<std::promise<void>>();
  group.pipeline.Then([&group, done] {
    group.pipeline.Gather(BucketIndex(0), group.job, Gathering::kWithWay);
    group.pipeline.Then([done] { done->set_value(); });
  });
  AwaitValue(done->get_future());
}

TEST(PipelineStateTest, JobsAreLetGo) {
  TestGroup group(2, DemoRun(), MixedLayout());
  auto job = std::make_shared<FakeJob>(group.layout, 2);
  const std::weak_ptr<FakeJob> watched = job;
  group.pipeline.Load(std::move(job));
  EXPECT_TRUE(group.pipeline.Configure(group.layout).ok());  // waits until nothing runs
  EXPECT_TRUE(watched.expired());
}

TEST(PipelineStateTest, BusyTimeIsTakenOnce) {
  TestGroup group(2, DemoRun(), MixedLayout());
  group.Start(1);
  // Idle for certain, so that all of it has been counted.
  ASSERT_TRUE(group.pipeline.Configure(group.layout).ok());
  EXPECT_GT(group.pipeline.TakeBusySeconds(), 0.0);
  EXPECT_EQ(group.pipeline.TakeBusySeconds(), 0.0);
}

TEST(PipelineStateTest, DestructionDoesNotWaitForTheQueue) {
  for (int turn = 0; turn < 10; ++turn) {
    auto group = std::make_unique<TestGroup>(3, DemoRun(), MixedLayout());
    for (int i = 0; i < 200; ++i) group->ProcessAll(Round(1), false);
    group.reset();
  }
}

TEST(PipelineStateTest, ConfigureRefusesMoreThanTheMachineHas) {
  RecordedEvents events;
  RunSpec run = DemoRun();
  run.bucket_length = 0;  // few buckets: what each takes is another matter
  LocalPipeline pipeline({.ranks = MakeTestRanks(2), .run = run}, &events);
  const Layout huge = *Layout::Create({{.name = "w", .shape = {int64_t{1} << 38}}}, {});
  const absl::Status status = pipeline.Configure(huge);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(std::string(status.message()).find(" of 274877906944 "), std::string::npos) << status;
  EXPECT_NE(std::string(status.message()).find(" needs "), std::string::npos) << status;
  EXPECT_TRUE(pipeline.Configure(TinyLayout()).ok());
  EXPECT_EQ(pipeline.state_bytes(), kUnitLength * sizeof(float));
}

}  // namespace
}  // namespace isthmus
