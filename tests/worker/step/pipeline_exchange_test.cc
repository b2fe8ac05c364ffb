// Rounds between groups: what pipelines compress, apply and take back.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>

#include "tests/worker/step/test_group.h"

namespace isthmus {
namespace {

constexpr BucketIndex kBucket0(0);

std::vector<FloatVector> GradientsOf(Round round, size_t groups, const Layout& layout) {
  std::vector<FloatVector> gradients;
  for (size_t g = 0; g < groups; ++g) {
    gradients.push_back(CoarseVector(1000 * round.value() + g, layout));
  }
  return gradients;
}

void ExpectSameSelection(const Selection& actual, const Selection& expected) {
  EXPECT_EQ(actual.chunk_count, expected.chunk_count);
  EXPECT_EQ(actual.indices, expected.indices);
  ASSERT_EQ(actual.values.size(), expected.values.size());
  EXPECT_EQ(std::memcmp(actual.values.data(), expected.values.data(),
                        actual.values.size() * sizeof(float)),
            0);
}

TEST(PipelineExchangeTest, P21_GroupsOfDifferentSizesStayEqual) {
  for (const RunSpec& run : ExchangingRuns()) {
    for (const Layout& layout : {MixedLayout(), TinyLayout()}) {
      TestGroup one(1, run, layout);
      TestGroup two(2, run, layout);
      TestGroup three(3, run, layout);
      const std::vector<TestGroup*> groups{&one, &two, &three};
      for (TestGroup* group : groups) group->Start(7);
      uint64_t before = one.Hash();
      for (Round round(1); round <= Round(5); ++round) {
        ExchangeRound(groups, round, GradientsOf(round, groups.size(), layout));
        const uint64_t hash = one.Hash();
        EXPECT_NE(hash, before);
        EXPECT_EQ(two.Hash(), hash);
        EXPECT_EQ(three.Hash(), hash);
        before = hash;
      }
      // Apply gathered: every rank's job has what the masters are.
      for (uint32_t rank = 0; rank < 3; ++rank) {
        const auto parameters = three.job->parameters(rank).floats();
        EXPECT_EQ(FloatVector(parameters.begin(), parameters.end()), one.Masters());
      }
    }
  }
}

// Those that contributed merge the others' contributions with their own, a bystander all of them.
void ExpectForwardedIsEncoded(const std::vector<RunSpec>& runs) {
  for (const RunSpec& run : runs) {
    ASSERT_TRUE(Validate(run).ok()) << Validate(run);
    const Layout layout = MixedLayout();
    std::vector<std::unique_ptr<TestGroup>> owned;
    std::vector<TestGroup*> told;    // are sent encoded updates
    std::vector<TestGroup*> merges;  // the same groups, sent contributions
    for (uint32_t id = 0; id < 4; ++id) {
      for (auto* groups : {&told, &merges}) {
        owned.push_back(std::make_unique<TestGroup>(1 + id % 3, run, layout, id));
        groups->push_back(owned.back().get());
        groups->back()->Start(7);
      }
    }
    const std::vector<TestGroup*> contributors(told.begin(), told.begin() + 3);
    for (Round round(1); round <= Round(4); ++round) {
      const std::vector<FloatVector> gradients = GradientsOf(round, 4, layout);
      for (size_t g = 0; g < 4; ++g) {
        for (TestGroup* group : {told[g], merges[g]}) {
          group->SetGradients(gradients[g]);
          group->ProcessAll(round, g < 3);
          group->Await();
        }
      }
      for (uint32_t b = 0; b < told[0]->pipeline.buckets().count(); ++b) {
        const auto encoded = MakeUpdate(contributors, *told[0], round, BucketIndex(b));
        for (size_t g = 0; g < 4; ++g) {
          const Credit credit = g < 3 ? Credit::kMerged : Credit::kNone;
          told[g]->pipeline.Apply(encoded, credit, told[g]->job);
          merges[g]->pipeline.Apply(MakeForwarded(contributors, *merges[g], round, BucketIndex(b)),
                                    credit, merges[g]->job);
        }
      }
      const uint64_t hash = told[0]->Hash();
      for (size_t g = 0; g < 4; ++g) {
        EXPECT_EQ(told[g]->Hash(), hash) << Name(run.scheme) << " group " << g;
        EXPECT_EQ(merges[g]->Hash(), hash) << Name(run.scheme) << " group " << g;
        EXPECT_TRUE(merges[g]->events.failures().empty());
      }
    }
  }
}

TEST(PipelineExchangeTest, P20_ForwardedContributionsAreTheEncodedUpdate) {
  ExpectForwardedIsEncoded(ExchangingRuns());
}

TEST(PipelineExchangeTest, P8_ContributionsOfOneUpdateMayDifferInKAndValues) {
  ExpectForwardedIsEncoded(MixedRuns());
}

// A late contribution comes back as it was taken, whatever the others send.
TEST(PipelineExchangeTest, P12_ALateContributionOfAnotherFormatComesBack) {
  for (const RunSpec& run : MixedRuns()) {
    const Layout layout = MixedLayout();
    const FloatVector gradient = CoarseVector(3, layout);
    const auto sent_after = [&](bool late) {
      TestGroup group(2, run, layout, 2);
      group.Start(7);
      group.SetGradients(gradient);
      if (late) {
        group.ProcessAll(Round(1), true);
        for (uint32_t b = 0; b < group.pipeline.buckets().count(); ++b) {
          group.pipeline.Apply(MakeUpdate({}, group, Round(1), BucketIndex(b)), Credit::kReturn,
                               nullptr);
        }
      } else {
        group.ProcessAll(Round(1), false);
      }
      group.SetGradients(FloatVector(layout.length()));
      group.ProcessAll(Round(2), true);
      group.Await();
      return group.SentWhole(Round(2), kBucket0);
    };
    // (Values with a scale round in between.)
    const ValueFormat values = run.format.own.at(GroupId(2)).values;
    if (HasScale(values)) continue;
    ExpectSameSelection(sent_after(true), sent_after(false));
  }
}

TEST(PipelineExchangeTest, AnOwnContributionThatIsNotRememberedFails) {
  TestGroup group(2, DemoRun(), MixedLayout());
  group.pipeline.Apply(MakeForwarded({&group}, group, Round(1), kBucket0), Credit::kMerged,
                       nullptr);
  EXPECT_EQ(group.events.AwaitFailure().code(), absl::StatusCode::kInternal);
}

// Each group trains as if it were alone under scheme full.
TEST(PipelineExchangeTest, SchemeNoneAppliesWhatIsItsOwn) {
  const Layout layout = MixedLayout();
  TestGroup full(1, FullRun(), layout);
  TestGroup alone(2, SchemeRun(Scheme::kNone), layout, 0);
  TestGroup other(1, SchemeRun(Scheme::kNone), layout, 1);
  TestGroup bystander(1, SchemeRun(Scheme::kNone), layout, 2);
  for (TestGroup* group : {&full, &alone, &other, &bystander}) group->Start(3);
  const uint64_t start = full.Hash();
  for (Round round(1); round <= Round(3); ++round) {
    const std::vector<FloatVector> gradients = GradientsOf(round, 2, layout);
    ExchangeRound({&full}, round, {gradients[0]});
    for (TestGroup* group : {&alone, &other}) {
      group->SetGradients(gradients[group == &other ? 1 : 0]);
      group->ProcessAll(round, true);
      group->Await();
    }
    for (uint32_t b = 0; b < alone.pipeline.buckets().count(); ++b) {
      for (TestGroup* group : {&alone, &other, &bystander}) {
        const Credit credit = group == &bystander ? Credit::kNone : Credit::kMerged;
        group->pipeline.Apply(MakeForwarded({&alone, &other}, *group, round, BucketIndex(b)),
                              credit, group->job);
      }
    }
    EXPECT_EQ(alone.Masters(), full.Masters());
    EXPECT_NE(other.Hash(), alone.Hash());
  }
  EXPECT_TRUE(bystander.events.failures().empty());
  EXPECT_NE(full.Hash(), start);
}

TEST(PipelineExchangeTest, P3_AnyNumberOfRanksSendsAndKeepsTheSame) {
  for (const Layout& layout : {MixedLayout(), TinyLayout()}) {
    std::vector<FloatVector> masters;
    std::vector<std::vector<Selection>> sent;  // per number of ranks
    for (uint32_t ranks = 1; ranks <= 3; ++ranks) {
      TestGroup group(ranks, DemoRun(), layout);
      group.Start(3);
      sent.emplace_back();
      for (Round round(1); round <= Round(3); ++round) {
        ExchangeRound({&group}, round, GradientsOf(round, 1, layout));
        for (uint32_t b = 0; b < group.pipeline.buckets().count(); ++b) {
          sent.back().push_back(group.SentWhole(round, BucketIndex(b)));
        }
      }
      masters.push_back(group.Masters());
    }
    for (size_t other = 1; other < masters.size(); ++other) {
      EXPECT_EQ(masters[other], masters[0]);
      ASSERT_EQ(sent[other].size(), sent[0].size());
      for (size_t i = 0; i < sent[0].size(); ++i) ExpectSameSelection(sent[other][i], sent[0][i]);
    }
  }
}

TEST(PipelineExchangeTest, RanksWithoutAPartSayNothing) {
  TestGroup group(3, DemoRun(), TinyLayout());
  group.Start(1);
  group.SetGradients(CoarseVector(2, group.layout));
  group.ProcessAll(Round(1), true);
  group.Await();
  EXPECT_EQ(group.events.parts(Round(1), kBucket0).size(), 1u);
}

TEST(PipelineExchangeTest, TheGradientIsTheMeanOverRanks) {
  TestGroup alone(1, FullRun(), MixedLayout());
  TestGroup pair(2, FullRun(), MixedLayout());
  const FloatVector a = CoarseVector(1, alone.layout);
  const FloatVector b = CoarseVector(2, alone.layout);
  FloatVector mean(a.size());
  for (size_t i = 0; i < a.size(); ++i) mean[i] = (a[i] + b[i]) / 2.0f;
  alone.SetGradients(mean);
  pair.SetGradients(a);
  std::copy(b.begin(), b.end(), pair.job->gradients(1).floats().begin());
  for (TestGroup* group : {&alone, &pair}) {
    group->ProcessAll(Round(1), true);
    group->Await();
  }
  ExpectSameSelection(pair.SentWhole(Round(1), kBucket0), alone.SentWhole(Round(1), kBucket0));
}

TEST(PipelineExchangeTest, P12_WhatMissedTheRoundIsSentAgainBitForBit) {
  constexpr Round kLater(9);  // where the positions of all schemes are those of round 1
  for (const RunSpec& run : {DemoRun(), FullRun(), SchemeRun(Scheme::kSlicing)}) {
    TestGroup missed(3, run, MixedLayout());
    TestGroup silent(3, run, MixedLayout());
    TestGroup merged(3, run, MixedLayout());
    const auto update = MakeUpdate({}, missed, Round(1), kBucket0);
    const auto first_round = [&](TestGroup& group, bool extract, Credit credit) {
      group.SetGradients(CoarseVector(5, group.layout));
      group.pipeline.Process(group.job, Round(1), kBucket0, extract, {.lr = 0.1f});
      group.pipeline.Apply(update, credit, nullptr);
      group.SetGradients(CoarseVector(6, group.layout));
      group.pipeline.Process(group.job, kLater, kBucket0, true, {.lr = 0.1f});
      group.Await();
      return group.SentWhole(kLater, kBucket0);
    };
    const Selection expected = first_round(silent, false, Credit::kNone);
    ExpectSameSelection(first_round(missed, true, Credit::kReturn), expected);
    // And what was merged is not sent again.
    EXPECT_NE(first_round(merged, true, Credit::kMerged).values, expected.values);
  }
}

TEST(PipelineExchangeTest, P7_AnUpdateWithoutContributorsChangesNothing) {
  TestGroup group(2, DemoRun(), MixedLayout());
  group.Start(4);
  const uint64_t before = group.Hash();
  group.pipeline.Apply(MakeUpdate({}, group, Round(1), kBucket0), Credit::kNone, group.job);
  EXPECT_EQ(group.Hash(), before);
  EXPECT_TRUE(group.events.failures().empty());
}

TEST(PipelineExchangeTest, P18_OneRanksNaNLeavesTheMomentumUntouched) {
  constexpr float kBad[] = {std::numeric_limits<float>::quiet_NaN(),
                            -std::numeric_limits<float>::infinity(), -7e30f};
  for (const float bad : kBad) {
    for (const bool extract : {true, false}) {
      TestGroup hit(3, DemoRun(), MixedLayout());
      TestGroup spared(3, DemoRun(), MixedLayout());  // never saw that gradient
      hit.SetGradients(CoarseVector(8, hit.layout));
      hit.job->gradients(1).floats()[5000] = bad;
      hit.pipeline.Process(hit.job, Round(1), kBucket0, extract, {.lr = 0.1f});
      hit.Await();
      EXPECT_EQ(hit.events.non_finite(),
                (std::vector<std::pair<Round, BucketIndex>>{{Round(1), kBucket0}}));
      EXPECT_TRUE(hit.events.parts(Round(1), kBucket0).empty());
      // The engine abstained; the others went on.
      hit.pipeline.Apply(MakeUpdate({}, hit, Round(1), kBucket0), Credit::kNone, nullptr);
      for (TestGroup* group : {&hit, &spared}) {
        group->SetGradients(CoarseVector(9, group->layout));
        group->pipeline.Process(group->job, Round(2), kBucket0, true, {.lr = 0.1f});
        group->Await();
      }
      ExpectSameSelection(hit.SentWhole(Round(2), kBucket0), spared.SentWhole(Round(2), kBucket0));
      EXPECT_EQ(hit.events.non_finite().size(), 1u);
    }
  }
}

// Two groups of two ranks against the textbook, in double and in one piece.
TEST(PipelineExchangeTest, FullSchemeIsAdamWOnTheMeanGradient) {
  const Layout layout = MixedLayout();
  TestGroup a(2, FullRun(), layout);
  TestGroup b(3, FullRun(), layout);
  a.Start(11);
  b.Start(11);
  const FloatVector initial = a.Masters();
  std::vector<double> p(initial.begin(), initial.end());
  std::vector<double> m(p.size());
  std::vector<double> v(p.size());
  std::vector<double> rate(p.size());
  for (const Layout::Segment& segment : layout.segments()) {
    for (uint64_t i = segment.begin; i < segment.end; ++i) {
      rate[i] = 0.01 * (segment.parameter_group + 1);
    }
  }
  for (Round round(1); round <= Round(5); ++round) {
    const auto gradients = GradientsOf(round, 2, layout);
    ExchangeRound({&a, &b}, round, gradients);
    const double bias1 = 1 - std::pow(0.9, static_cast<double>(round.value()));
    const double bias2 = 1 - std::pow(0.999, static_cast<double>(round.value()));
    for (size_t i = 0; i < p.size(); ++i) {
      // Weighted by their samples.
      const double g = (3.0 * static_cast<double>(gradients[0][i]) + 4.0 * gradients[1][i]) / 7;
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.999 * v[i] + 0.001 * g * g;
      p[i] -= rate[i] * 0.1 * p[i];
      p[i] -= rate[i] * (m[i] / bias1) / (std::sqrt(v[i] / bias2) + 1e-8);
    }
  }
  const FloatVector masters = a.Masters();
  for (size_t i = 0; i < p.size(); ++i) ASSERT_NEAR(masters[i], p[i], 1e-5) << i;
  EXPECT_EQ(b.Masters(), masters);
}

TEST(PipelineExchangeTest, AnUndecodableUpdateFailsOnceAndEndsEverything) {
  TestGroup group(3, DemoRun(), MixedLayout());
  group.Start(1);
  group.SetGradients(CoarseVector(2, group.layout));
  group.ProcessAll(Round(1), true);
  group.Await();
  const FloatVector before(group.job->parameters(2).floats().begin(),
                           group.job->parameters(2).floats().end());
  auto broken = std::make_shared<ReceivedUpdate>(*MakeUpdate({&group}, group, Round(1), kBucket0));
  broken->payload.back() = static_cast<char>(broken->payload.back() ^ 1);
  group.pipeline.Apply(broken, Credit::kMerged, group.job);
  group.pipeline.Process(group.job, Round(2), kBucket0, true, {.lr = 0.1f});
  group.pipeline.Apply(broken, Credit::kMerged, group.job);
  EXPECT_EQ(group.events.AwaitFailure().code(), absl::StatusCode::kDataLoss);
  for (int i = 0; i < 100; ++i) group.pipeline.Load(group.job);
  EXPECT_TRUE(group.pipeline.Configure(group.layout).ok());  // waits until nothing runs
  EXPECT_EQ(group.events.failures().size(), 1u);
  EXPECT_TRUE(group.events.parts(Round(2), kBucket0).empty());
  EXPECT_EQ(FloatVector(group.job->parameters(2).floats().begin(),
                        group.job->parameters(2).floats().end()),
            before);
}

TEST(PipelineExchangeTest, AnUpdateOfAnotherShapeFails) {
  TestGroup group(2, DemoRun(), MixedLayout());
  group.SetGradients(CoarseVector(2, group.layout));
  group.ProcessAll(Round(1), true);
  group.Await();
  auto update = std::make_shared<ReceivedUpdate>(*MakeUpdate({&group}, group, Round(1), kBucket0));
  update->header.scalars.pop_back();
  group.pipeline.Apply(update, Credit::kMerged, nullptr);
  EXPECT_EQ(group.events.AwaitFailure().code(), absl::StatusCode::kInvalidArgument);
}

TEST(PipelineExchangeTest, AnUpdateOfNoBucketFails) {
  TestGroup group(2, DemoRun(), MixedLayout());
  auto update = std::make_shared<ReceivedUpdate>();
  update->header.bucket = BucketIndex(1000);
  group.pipeline.Apply(update, Credit::kNone, nullptr);
  EXPECT_EQ(group.events.AwaitFailure().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace isthmus
