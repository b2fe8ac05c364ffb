// Rounds of jobs that step by themselves (docs/protocol.md, P29): what of their way is sent, and
// what their buffers hold then.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "common/kernels/naive_block.h"
#include "tests/worker/step/test_group.h"
#include "worker/step/cpu_ranks.h"

namespace isthmus {
namespace {

constexpr BucketIndex kBucket0(0);

RunSpec LocalRun(ValueFormat values = ValueFormat::kF32) {
  RunSpec run = SchemeRun(Scheme::kLocal);
  run.format.all.values = values;
  return run;
}

// The job of every rank steps: p <- p - way.
void Move(TestGroup& group, const FloatVector& way) {
  group.Await();
  for (uint32_t rank = 0; rank < group.job->ranks(); ++rank) {
    const std::span<float> p = group.job->parameters(rank).floats();
    for (size_t i = 0; i < way.size(); ++i) p[i] -= way[i];
  }
}

FloatVector Of(const Elements& parameters) {
  const std::span<const float> floats = parameters.floats();
  return {floats.begin(), floats.end()};
}

// Every bucket's update, of what `groups` sent, at rate 1 and without weight decay: forwarded where
// there are few, as the coordinator does, or as it is said.
enum class Told { kAsByCount, kForwarded, kMerged };
void ApplyAll(const std::vector<TestGroup*>& groups, Round round, Told told = Told::kAsByCount) {
  for (TestGroup* group : groups) group->Await();  // what they send is there
  for (uint32_t b = 0; b < groups[0]->pipeline.buckets().count(); ++b) {
    for (TestGroup* group : groups) {
      const BucketIndex bucket(b);
      const bool merged = told == Told::kMerged || (told == Told::kAsByCount && groups.size() > 2);
      auto update =
          merged ? std::make_shared<ReceivedUpdate>(*MakeUpdate(groups, *groups[0], round, bucket))
                 : MakeForwarded(groups, *group, round, bucket);
      for (ParameterGroupScalars& scalars : update->header.scalars) scalars = {.lr = 1, .decay = 1};
      group->pipeline.Apply(update, Credit::kMerged, group->job);
    }
  }
}

TEST(LocalStepsTest, P29_AJobThatDoesNothingHasNotMoved) {
  for (const ValueFormat values : {ValueFormat::kF32, ValueFormat::kTwoBit}) {
    for (const uint32_t ranks : {1u, 2u, 3u}) {
      TestGroup group(ranks, LocalRun(values), MixedLayout());
      group.Start(3);
      const uint64_t before = group.Hash();
      group.ProcessAll(Round(1), true);
      group.Await();
      for (const float value : group.SentWhole(Round(1), kBucket0).values) ASSERT_EQ(value, 0.0f);
      ApplyAll({&group}, Round(1));
      EXPECT_EQ(group.Hash(), before);
    }
  }
}

TEST(LocalStepsTest, P29_OneGroupsAnchorGoesWhereItsJobHasGone) {
  for (const uint32_t ranks : {1u, 2u, 4u}) {
    TestGroup group(ranks, LocalRun(), MixedLayout());
    group.Start(3);
    Move(group, CoarseVector(8, group.layout));
    const FloatVector there = Of(group.job->parameters(0));
    group.ProcessAll(Round(1), true);
    ApplyAll({&group}, Round(1));
    group.Await();
    EXPECT_EQ(group.Masters(), there);
    EXPECT_EQ(Of(group.job->parameters(ranks - 1)), there);
  }
}

TEST(LocalStepsTest, P29_GroupsOfDifferentSizesMeetAtOneAnchor) {
  for (const ValueFormat values :
       {ValueFormat::kOneBit, ValueFormat::kTwoBit, ValueFormat::kInt4, ValueFormat::kBf16}) {
    TestGroup one(1, LocalRun(values), MixedLayout(), 0);
    TestGroup two(2, LocalRun(values), MixedLayout(), 1);
    TestGroup three(3, LocalRun(values), MixedLayout(), 2);
    const std::vector<TestGroup*> groups{&one, &two, &three};
    for (TestGroup* group : groups) group->Start(7);
    uint64_t before = one.Hash();
    for (Round round(1); round <= Round(4); ++round) {
      for (TestGroup* group : groups) {
        Move(*group, CoarseVector(round.value() * 10 + group->self.group.value(), group->layout));
        group->ProcessAll(round, true);
        group->Await();
      }
      ApplyAll(groups, round);
      const uint64_t hash = one.Hash();
      EXPECT_NE(hash, before);
      EXPECT_EQ(two.Hash(), hash);
      EXPECT_EQ(three.Hash(), hash);
      before = hash;
    }
    EXPECT_EQ(Of(three.job->parameters(2)), one.Masters());
  }
}

// Ranks that have seen more samples count for more.
TEST(LocalStepsTest, P29_AGroupsWayIsTheMeanOfItsRanksBySamples) {
  TestGroup group(2, LocalRun(), TinyLayout());
  group.Start(3);
  const FloatVector start = Of(group.job->parameters(0));
  group.job->parameters(0).floats()[5] -= 1.0f;
  group.job->parameters(1).floats()[5] -= 3.0f;
  const std::vector<uint64_t> samples = {1, 3};
  group.pipeline.Process(group.job, Round(1), kBucket0, true,
                         {.rank_weights = MergeWeights(samples)});
  group.Await();
  const Selection sent = group.SentWhole(Round(1), kBucket0);
  for (size_t i = 0; i < sent.values.size(); ++i) {
    ASSERT_EQ(sent.values[i], i == 5 ? (1.0f * 1 + 3.0f * 3) / 4 : 0.0f) << i;
  }
}

// What few bits do not say stays, and goes with the next exchange.
TEST(LocalStepsTest, P29_WhatIsNotSaidIsSentLater) {
  TestGroup group(1, LocalRun(ValueFormat::kTwoBit), TinyLayout());
  group.Start(3);
  const FloatVector start = Of(group.job->parameters(0));
  FloatVector way(group.layout.length());
  for (size_t i = 0; i < 130; ++i) way[i] = static_cast<float>(i % 7) / 8.0f - 0.25f;
  Move(group, way);
  const FloatVector there = Of(group.job->parameters(0));
  for (Round round(1); round <= Round(60); ++round) {
    group.ProcessAll(round, true);
    ApplyAll({&group}, round);
    group.Await();  // the job stays at the anchor
  }
  for (size_t i = 0; i < 130; ++i) EXPECT_NEAR(group.Masters()[i], there[i], 1e-5) << i;
}

// However ranks, tiles and instruction sets share the work: the progress of each rank, their mean,
// the momentum, and blocks taken out of it, one after the other and each over the whole vector.
TEST(LocalStepsTest, P21_P29_WhatIsSentIsWhatOnePassAfterTheOtherSays) {
  for (const ValueFormat values :
       {ValueFormat::kOneBit, ValueFormat::kTwoBit, ValueFormat::kInt4}) {
    for (const uint32_t ranks : {1u, 2u, 3u}) {
      for (const bool halves : {false, true}) {
        RunSpec run = LocalRun(values);
        run.decay = ranks == 1 && halves ? 1.0f : 0.9f;
        TestGroup group(ranks, run, MixedLayout());
        const std::shared_ptr<FakeJob> job =
            halves ? std::make_shared<HalfJob>(group.layout, ranks) : group.job;
        Rng rng(ranks);
        for (size_t i = 0; i < group.layout.length(); ++i) {
          Put(static_cast<float>(rng.Uniform() - 0.5), job->parameters(0), i);
        }
        group.pipeline.Adopt(job);
        group.pipeline.Load(job);
        const FloatVector masters = group.Masters();
        FloatVector momentum(masters.size());
        std::vector<uint64_t> samples = {5, 2, 9};
        samples.resize(ranks);
        std::vector<float> weights = MergeWeights(samples);
        if (ranks == 1) weights = {0.75f};
        for (Round round(1); round <= Round(3); ++round) {
          FloatVector mean(masters.size());
          for (uint32_t rank = 0; rank < ranks; ++rank) {
            const Elements now = job->parameters(rank);
            for (size_t i = 0; i < masters.size(); ++i) {
              const float way = static_cast<float>(rng.Uniform() - 0.5) * 0x1p-5f;
              if (!rng.Chance(0.2)) Put(At(now, i) + way, now, i);
              const float given = halves ? FromBfloat16(ToBfloat16(masters[i])) : masters[i];
              const float progress = weights[rank] * (given - At(now, i));
              mean[i] = rank == 0 ? progress : mean[i] + progress;
            }
          }
          for (size_t i = 0; i < masters.size(); ++i) {
            momentum[i] = run.decay * momentum[i] + 1.0f * (mean[i] / static_cast<float>(ranks));
          }
          for (uint32_t b = 0; b < group.pipeline.buckets().count(); ++b) {
            const BucketIndex bucket(b);
            group.pipeline.Process(job, round, bucket, true, {.rank_weights = weights});
            group.Await();
            const Extent extent = group.pipeline.buckets().bucket(bucket);
            FloatVector said(extent.size());
            for (uint64_t at = 0; at < extent.size(); at += naive::kBlock) {
              uint64_t codes[4];
              const int bits = ValueBits(values);
              const int scale = naive::TakeBlock(bits, &momentum[extent.begin + at], codes);
              if (scale > 0) naive::SayBlock(bits, scale, codes, &said[at]);
            }
            const FloatVector sent = group.SentWhole(round, bucket).values;
            ASSERT_EQ(sent.size(), said.size());
            ASSERT_EQ(std::memcmp(sent.data(), said.data(), said.size() * sizeof(float)), 0)
                << ranks << " ranks, round " << round.value() << ", bucket " << b;
          }
        }
        group.pipeline.Release();
        group.Await();
      }
    }
  }
}

// Of every kind of selection, values, formats that differ, and step of the anchor.
std::vector<RunSpec> LocalRuns() {
  std::vector<RunSpec> runs;
  for (const ValueFormat values : {ValueFormat::kOneBit, ValueFormat::kTwoBit, ValueFormat::kInt4,
                                   ValueFormat::kBf16, ValueFormat::kF32}) {
    runs.push_back(LocalRun(values));
  }
  const std::pair<SelectionKind, ValueFormat> parts[] = {
      {SelectionKind::kDct, ValueFormat::kOneBit},
      {SelectionKind::kDct, ValueFormat::kF32},
      {SelectionKind::kTopK, ValueFormat::kTwoBit},
      {SelectionKind::kTopK, ValueFormat::kBf16},
      {SelectionKind::kRandom, ValueFormat::kInt4},
      {SelectionKind::kStriding, ValueFormat::kOneBit},
      {SelectionKind::kSlicing, ValueFormat::kTwoBit}};
  for (const auto& [selection, values] : parts) {
    runs.push_back(LocalRun(values));
    runs.back().selection = selection;
    runs.back().format.all.k = 8;
  }
  RunSpec chosen = runs[7];  // top-k
  chosen.optimizer = {.kind = OptimizerKind::kNesterov, .momentum = 0.5f};
  chosen.decay = 0.9f;
  runs.push_back(Mixed(chosen, {4, ValueFormat::kOneBit}, {16, ValueFormat::kF32}));
  RunSpec blocks = LocalRun(ValueFormat::kTwoBit);
  blocks.optimizer = {.momentum = 0.9f};
  blocks.format.chunk_size = blocks.format.all.k = 256;
  runs.push_back(Mixed(blocks, {256, ValueFormat::kOneBit}, {256, ValueFormat::kInt4}));
  runs.push_back(Mixed(blocks, {256, ValueFormat::kF32}, {256, ValueFormat::kOneBit}));
  return runs;
}

// Whatever ranks are made of, and however an update comes: the same bytes go up, and the anchors
// are the same bits.
TEST(LocalStepsTest, P20_P21_RanksOfAnyKindSayAndDoAsThoseOfCpus) {
  for (const RunSpec& run : LocalRuns()) {
    SCOPED_TRACE(testing::Message() << Name(run.selection) << " " << Name(run.format.all.values));
    ASSERT_TRUE(Validate(run).ok()) << Validate(run);
    std::vector<std::unique_ptr<TestGroup>> owned;
    std::vector<TestGroup*> tested, cpus;
    for (uint32_t id = 0; id < 3; ++id) {
      const uint32_t ranks = 1 + id % 2;
      owned.push_back(std::make_unique<TestGroup>(ranks, run, MixedLayout(), id));
      tested.push_back(owned.back().get());
      owned.push_back(std::make_unique<TestGroup>(
          ranks, run, MixedLayout(), id,
          [&](LocalPipeline::Options& options) { options.ranks = MakeCpuRanks(ranks, 1); }));
      cpus.push_back(owned.back().get());
    }
    for (auto& group : owned) group->Start(7);
    for (Round round(1); round <= Round(3); ++round) {
      for (auto& group : owned) {
        Move(*group, CoarseVector(round.value() * 10 + group->self.group.value(), group->layout));
        group->ProcessAll(round, true);
        group->Await();
      }
      for (uint32_t b = 0; b < tested[0]->pipeline.buckets().count(); ++b) {
        for (size_t g = 0; g < tested.size(); ++g) {
          const auto parts = tested[g]->events.parts(round, BucketIndex(b));
          const auto expected = cpus[g]->events.parts(round, BucketIndex(b));
          ASSERT_EQ(parts.size(), expected.size());
          for (size_t i = 0; i < parts.size(); ++i) {
            ASSERT_EQ(*parts[i].payload, *expected[i].payload) << "group " << g << " bucket " << b;
          }
        }
      }
      for (const auto& groups : {tested, cpus}) {
        ApplyAll(groups, round, round == Round(2) ? Told::kMerged : Told::kForwarded);
      }
      const uint64_t hash = cpus[0]->Hash();
      for (auto& group : owned) EXPECT_EQ(group->Hash(), hash);
      EXPECT_EQ(Of(tested[1]->job->parameters(1)), cpus[0]->Masters());
    }
  }
}

// No rank's momentum is touched by a bucket in which one rank is nowhere, however late that shows.
TEST(LocalStepsTest, P18_MomentumStaysWhereSomeProgressIsUnusable) {
  for (const uint32_t ranks : {1u, 3u}) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), 2e30f}) {
      TestGroup group(ranks, LocalRun(ValueFormat::kTwoBit), TinyLayout());
      TestGroup spared(ranks, LocalRun(ValueFormat::kTwoBit), TinyLayout());
      const FloatVector way = CoarseVector(5, group.layout);
      for (TestGroup* one : {&group, &spared}) {
        one->Start(3);
        Move(*one, way);
        one->ProcessAll(Round(1), true);
        one->Await();
      }
      float& last = group.job->parameters(ranks - 1).floats()[129];
      const float before = std::exchange(last, bad * 4);
      group.ProcessAll(Round(2), true);
      group.Await();
      EXPECT_EQ(group.events.non_finite().size(), 1u);
      last = before;
      for (TestGroup* one : {&group, &spared}) {
        one->ProcessAll(Round(3), true);
        one->Await();
      }
      EXPECT_EQ(group.SentWhole(Round(3), kBucket0).values,
                spared.SentWhole(Round(3), kBucket0).values);
    }
  }
}

// Masters that others moved meanwhile are no way of this job's.
TEST(LocalStepsTest, P29_ProgressIsSinceTheBuffersWereWritten) {
  TestGroup here(1, LocalRun(), TinyLayout(), 0);
  TestGroup there(1, LocalRun(), TinyLayout(), 1);
  here.Start(3);
  there.Start(3);
  FloatVector way(here.layout.length()), others(here.layout.length());
  way[2] = 0.5f;
  others[2] = 4.0f;
  Move(here, way);
  Move(there, others);
  there.ProcessAll(Round(1), true);
  there.Await();
  const FloatVector before = here.Masters();
  // The round is closed without this group, outside of a step of its job.
  auto update = std::make_shared<ReceivedUpdate>(*MakeUpdate({&there}, there, Round(1), kBucket0));
  update->header.contributors[0].group = GroupId(1);
  for (ParameterGroupScalars& scalars : update->header.scalars) scalars = {.lr = 1, .decay = 1};
  here.pipeline.Apply(update, Credit::kNone, nullptr);
  EXPECT_EQ(here.Masters()[2], before[2] - 4.0f);
  EXPECT_EQ(here.job->parameters(0).floats()[2], before[2] - 0.5f);
  here.ProcessAll(Round(2), true);
  here.Await();
  EXPECT_EQ(here.SentWhole(Round(2), kBucket0).values[2], 0.5f);
  here.pipeline.Gather(kBucket0, here.job, Gathering::kWithWay);
  here.ProcessAll(Round(3), true);
  here.Await();
  EXPECT_EQ(here.SentWhole(Round(3), kBucket0).values[2], 0.0f);
}

// A snapshot moves the masters as others' updates do.
TEST(LocalStepsTest, P29_ASnapshotIsNoWayOfTheJobs) {
  TestGroup here(2, LocalRun(), TinyLayout(), 0);
  TestGroup there(1, LocalRun(), TinyLayout(), 1);
  here.Start(3);
  there.Start(4);
  FloatVector way(here.layout.length());
  way[100] = 0.25f;
  Move(here, way);
  here.pipeline.Install(std::make_shared<const StateImage>(there.Snapshot()),
                        {false, {Round(1)}, {}});
  EXPECT_EQ(here.Masters(), there.Masters());
  here.ProcessAll(Round(2), true);
  here.Await();
  const Selection sent = here.SentWhole(Round(2), kBucket0);
  for (size_t i = 0; i < sent.values.size(); ++i) ASSERT_EQ(sent.values[i], way[i]) << i;
}

TEST(LocalStepsTest, P12_AWayThatMissedItsRoundIsSentAgain) {
  TestGroup group(2, LocalRun(ValueFormat::kInt4), TinyLayout());
  group.Start(3);
  FloatVector way(group.layout.length());
  for (size_t i = 0; i < 130; ++i) way[i] = static_cast<float>(i % 8);  // what 4 bits say exactly
  Move(group, way);
  group.ProcessAll(Round(1), true);
  group.Await();
  const Selection first = group.SentWhole(Round(1), kBucket0);
  group.pipeline.Apply(MakeUpdate({}, group, Round(1), kBucket0), Credit::kReturn, group.job);
  group.ProcessAll(Round(2), true);
  group.Await();
  EXPECT_EQ(group.SentWhole(Round(2), kBucket0).values, first.values);
}

TEST(LocalStepsTest, P18_ARankThatIsNowhereIsSaidAndReturnsToTheAnchor) {
  TestGroup group(2, LocalRun(), TinyLayout());
  group.Start(3);
  const FloatVector start = group.Masters();
  group.job->parameters(1).floats()[7] = std::numeric_limits<float>::quiet_NaN();
  group.ProcessAll(Round(1), true);
  group.pipeline.Apply(MakeUpdate({}, group, Round(1), kBucket0), Credit::kNone, group.job);
  group.Await();
  EXPECT_EQ(group.events.non_finite().size(), 1u);
  EXPECT_TRUE(group.events.parts(Round(1), kBucket0).empty());
  EXPECT_EQ(Of(group.job->parameters(1)), start);
}

// --- overlap -------------------------------------------------------------------------------------

RunSpec OverlappingRun() {
  RunSpec run = LocalRun();
  run.format.every = {.steps = 8};
  run.format.overlap = 3;
  return run;
}

void BeginExchange(TestGroup& group, Round round) {
  for (uint32_t b = 0; b < group.pipeline.buckets().count(); ++b) {
    group.pipeline.Process(group.job, round, BucketIndex(b), true, {.job_goes_on = true});
  }
  group.Await();
}

TEST(LocalStepsTest, P29_WithOverlapAJobKeepsTheWayItHasGoneSince) {
  for (const uint32_t ranks : {1u, 2u, 3u}) {
    TestGroup group(ranks, OverlappingRun(), MixedLayout());
    group.Start(3);
    const FloatVector first = CoarseVector(8, group.layout);
    const FloatVector second = CoarseVector(9, group.layout);
    const FloatVector start = group.Masters();
    Move(group, first);
    BeginExchange(group, Round(1));
    Move(group, second);
    ApplyAll({&group}, Round(1));  // which gathers
    group.Await();
    const FloatVector anchor = group.Masters();
    const FloatVector given = Of(group.job->parameters(ranks - 1));
    for (size_t i = 0; i < start.size(); ++i) {
      ASSERT_EQ(anchor[i], start[i] - first[i]);
      ASSERT_EQ(given[i], anchor[i] - second[i]);
    }
    // And that is what is taken in next, once.
    group.ProcessAll(Round(2), true);
    ApplyAll({&group}, Round(2));
    group.Await();
    const FloatVector next = group.Masters();
    for (size_t i = 0; i < start.size(); ++i) ASSERT_EQ(next[i], anchor[i] - second[i]);
    EXPECT_EQ(Of(group.job->parameters(0)), next) << "it went no further";
  }
}

TEST(LocalStepsTest, P29_TheAnchorIsShownWithoutATrace) {
  TestGroup group(2, OverlappingRun(), MixedLayout());
  group.Start(3);
  Move(group, CoarseVector(8, group.layout));
  BeginExchange(group, Round(1));
  const FloatVector way = CoarseVector(9, group.layout);
  Move(group, way);
  const FloatVector own = Of(group.job->parameters(1));
  for (uint32_t b = 0; b < group.pipeline.buckets().count(); ++b) {
    group.pipeline.Gather(BucketIndex(b), group.job, Gathering::kShow);
  }
  group.Await();
  for (const uint32_t rank : {0u, 1u}) {
    EXPECT_EQ(Of(group.job->parameters(rank)), group.Masters());
    std::ranges::copy(own, group.job->parameters(rank).floats().begin());  // as libisthmus does
  }
  ApplyAll({&group}, Round(1));
  group.Await();
  const FloatVector anchor = group.Masters();
  const FloatVector given = Of(group.job->parameters(1));
  for (size_t i = 0; i < way.size(); ++i) ASSERT_EQ(given[i], anchor[i] - way[i]);
}

TEST(LocalStepsTest, P29_AtTheEndTheWayIsDropped) {
  TestGroup group(2, OverlappingRun(), TinyLayout());
  group.Start(3);
  BeginExchange(group, Round(1));
  Move(group, CoarseVector(9, group.layout));
  group.pipeline.Gather(kBucket0, group.job, Gathering::kAnchor);
  group.Await();
  EXPECT_EQ(Of(group.job->parameters(1)), group.Masters());
}

TEST(LocalStepsTest, P18_WhatWasNoNumberIsDroppedWithAllThatCameOfIt) {
  TestGroup group(2, OverlappingRun(), TinyLayout());
  group.Start(3);
  group.job->parameters(1).floats()[7] = std::numeric_limits<float>::quiet_NaN();
  BeginExchange(group, Round(1));
  Move(group, CoarseVector(9, group.layout));
  group.pipeline.Apply(MakeUpdate({}, group, Round(1), kBucket0), Credit::kNone, group.job);
  group.Await();
  for (const uint32_t rank : {0u, 1u}) {
    EXPECT_EQ(Of(group.job->parameters(rank)), group.Masters());
  }
}

}  // namespace
}  // namespace isthmus
