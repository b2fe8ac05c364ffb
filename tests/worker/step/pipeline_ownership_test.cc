// Whichever rank owns what, a group sends and keeps the same (docs/protocol.md, P3).
#include <gtest/gtest.h>

#include <memory>

#include "tests/worker/step/test_group.h"

namespace isthmus {
namespace {

// Buckets of three units and of two.
RunSpec ThreeUnits(RunSpec run) {
  run.bucket_length = 3 * kUnitLength;
  return run;
}

// Owners of the units of MixedLayout().
struct Owners {
  const char* what;
  uint32_t ranks;
  std::vector<uint32_t> of_units;
};

const Owners kOwners[] = {
    {"two runs of one bucket", 2, {1, 0, 1, 1, 0}},
    {"a bucket wholly one rank's", 2, {1, 1, 1, 0, 0}},
    {"all one rank's", 3, {2, 2, 2, 2, 2}},
    {"ranks in another order", 3, {2, 0, 1, 1, 2}},
};

std::unique_ptr<TestGroup> MakeGroup(const Owners& owners, const RunSpec& run, uint32_t id) {
  return std::make_unique<TestGroup>(
      owners.ranks, run, MixedLayout(), id, [&](LocalPipeline::Options& options) {
        options.own = [&owners](const Buckets& buckets, uint32_t ranks) {
          return Ownership::ByUnit(buckets, ranks, owners.of_units).value();
        };
      });
}

// One group of one rank, then one for each of kOwners.
struct Groups {
  explicit Groups(const RunSpec& run) {
    made.push_back(std::make_unique<TestGroup>(1, run, MixedLayout(), 0));
    for (const Owners& owners : kOwners) {
      made.push_back(MakeGroup(owners, run, static_cast<uint32_t>(made.size())));
    }
    for (const auto& group : made) {
      group->Start(7);
      all.push_back(group.get());
    }
  }
  static const char* WhatOf(size_t group) {
    return group == 0 ? "one rank" : kOwners[group - 1].what;
  }
  void ExpectEqual(const std::string& when) const {
    for (size_t g = 1; g < all.size(); ++g) {
      EXPECT_EQ(all[g]->Hash(), all[0]->Hash()) << WhatOf(g) << ", " << when;
      EXPECT_TRUE(all[g]->events.failures().empty());
    }
  }

  std::vector<std::unique_ptr<TestGroup>> made;
  std::vector<TestGroup*> all;
};

std::vector<RunSpec> Runs() {
  std::vector<RunSpec> runs = ExchangingRuns();
  const std::vector<RunSpec> mixed = MixedRuns();
  runs.insert(runs.end(), mixed.begin(), mixed.end());
  return runs;
}

TEST(PipelineOwnershipTest, P3_UpdatesDoTheSame) {
  for (const RunSpec& run : Runs()) {
    const Groups groups(ThreeUnits(run));
    for (Round round(1); round <= Round(3); ++round) {
      std::vector<FloatVector> gradients;
      for (size_t g = 0; g < groups.all.size(); ++g) {
        gradients.push_back(CoarseVector(100 * round.value() + g, MixedLayout()));
      }
      ExchangeRound(groups.all, round, gradients);
      groups.ExpectEqual(std::string(Name(run.scheme)) + ", encoded");
    }
    // Apply gathered: every rank's job has what the masters are.
    for (TestGroup* group : groups.all) {
      const FloatVector masters = groups.all[0]->Masters();
      for (uint32_t rank = 0; rank < group->job->ranks(); ++rank) {
        const auto parameters = group->job->parameters(rank).floats();
        EXPECT_TRUE(std::ranges::equal(parameters, masters));
      }
    }
  }
}

// Of which each takes its own from what it remembers.
TEST(PipelineOwnershipTest, P20_ForwardedContributionsDoTheSame) {
  for (const RunSpec& run : Runs()) {
    const Groups groups(ThreeUnits(run));
    for (Round round(1); round <= Round(3); ++round) {
      for (size_t g = 0; g < groups.all.size(); ++g) {
        groups.all[g]->SetGradients(CoarseVector(100 * round.value() + g, MixedLayout()));
        groups.all[g]->ProcessAll(round, true);
        groups.all[g]->Await();
      }
      for (uint32_t b = 0; b < groups.all[0]->pipeline.buckets().count(); ++b) {
        for (TestGroup* group : groups.all) {
          group->pipeline.Apply(MakeForwarded(groups.all, *group, round, BucketIndex(b)),
                                Credit::kMerged, group->job);
        }
      }
      groups.ExpectEqual(std::string(Name(run.scheme)) + ", forwarded");
    }
  }
}

// What is sent, what comes back where it missed its round, and what is left behind.
TEST(PipelineOwnershipTest, P12_TheSameIsSentAndComesBack) {
  const FloatVector gradient = CoarseVector(3, MixedLayout());
  for (const RunSpec& run : ExchangingRuns()) {
    const Groups groups(ThreeUnits(run));
    for (Round round(1); round <= Round(3); ++round) {
      for (TestGroup* group : groups.all) {
        group->SetGradients(gradient);
        group->ProcessAll(round, true);
        group->Await();
      }
      for (uint32_t b = 0; b < groups.all[0]->pipeline.buckets().count(); ++b) {
        const BucketIndex bucket(b);
        const Selection sent = groups.all[0]->SentWhole(round, bucket);
        for (size_t g = 0; g < groups.all.size(); ++g) {
          const Selection same = groups.all[g]->SentWhole(round, bucket);
          EXPECT_EQ(same.indices, sent.indices) << Groups::WhatOf(g);
          EXPECT_EQ(same.values, sent.values) << Groups::WhatOf(g) << ", round " << round.value();
          groups.all[g]->pipeline.Apply(MakeUpdate({}, *groups.all[g], round, bucket),
                                        round == Round(2) ? Credit::kReturn : Credit::kMerged,
                                        nullptr);
        }
      }
    }
  }
}

TEST(PipelineOwnershipTest, P15_ImagesAreTheSame) {
  RunSpec run = ThreeUnits(DemoRun());
  run.optimizer.kind = OptimizerKind::kAdamW;
  const Groups groups(run);
  std::vector<FloatVector> gradients(groups.all.size(), CoarseVector(3, MixedLayout()));
  ExchangeRound(groups.all, Round(1), gradients);
  const StateImage image = groups.all[0]->Snapshot();
  for (size_t g = 0; g < groups.all.size(); ++g) {
    EXPECT_EQ(groups.all[g]->Snapshot().bytes, image.bytes) << Groups::WhatOf(g);
  }
  ExchangeRound(groups.all, Round(2), gradients);
  const auto shared = std::make_shared<const StateImage>(image);
  for (size_t g = 0; g < groups.all.size(); ++g) {
    TestGroup& group = *groups.all[g];
    EXPECT_NE(group.Snapshot().bytes, image.bytes);
    group.pipeline.Install(shared,
                           {true, std::vector<Round>(group.pipeline.buckets().count()), {}});
    EXPECT_EQ(group.Snapshot().bytes, image.bytes) << Groups::WhatOf(g);
  }
}

}  // namespace
}  // namespace isthmus
