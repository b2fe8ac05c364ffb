// Rounds of one run that have different formats (docs/protocol.md, P30).
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/compression/block_transform.h"
#include "common/compression/dct.h"
#include "common/compression/demo_codec.h"
#include "tests/worker/step/test_group.h"

namespace isthmus {
namespace {

constexpr BucketIndex kFirst(0);

RoundFormat Cut(RoundFormat format, uint32_t chunk_size, uint32_t k) {
  format.chunk_size = chunk_size;
  format.all.k = k;
  return format;
}

// The update of `change.from`'s round before says it to all.
std::shared_ptr<const ReceivedUpdate> Saying(const FormatChange& change,
                                             const std::shared_ptr<const ReceivedUpdate>& update) {
  auto saying = std::make_shared<ReceivedUpdate>(*update);
  saying->header.change = change;
  return saying;
}

// One bucket's momentum, as rows of chunks, one after the other.
struct NaiveMomentum {
  Selection Take(const PayloadFormat& format, Round round, const Extent& bucket,
                 std::span<const float> gradient, std::string* payload) {
    if (chunk_size != 0 && chunk_size != format.chunk_size) {
      RecutDct(static_cast<int>(chunk_size), static_cast<int>(format.chunk_size), rows);
    }
    chunk_size = format.chunk_size;
    rows.resize(bucket.size());
    AccumulateMomentum(BlockTransform(1, static_cast<int>(chunk_size)), decay, 1.0f, gradient,
                       rows);
    return Extract(format, {round.value(), ChunksOf(bucket, chunk_size)}, 1.0f, rows, payload);
  }
  void Return(const Selection& taken) { ReturnSelection(chunk_size, 1.0f, taken, rows); }

  float decay = 0;
  uint32_t chunk_size = 0;  // 0: nothing has been taken in
  std::vector<float> rows = {};
};

TEST(FormatChangeTest, P30_MomentumIsTransformedBackAndForth) {
  for (const RunSpec& run : {DemoRun(), OneBitRun()}) {
    TestGroup group(1, run, MixedLayout());
    group.Start(7);
    const Extent bucket = group.pipeline.buckets().bucket(kFirst);
    NaiveMomentum naive{.decay = run.decay};
    // Of which every second contribution is late, and goes back into what it was made of.
    const std::vector<std::pair<uint32_t, uint32_t>> cuts = {{64, 4}, {128, 1},  {128, 3},
                                                             {16, 1}, {4096, 5}, {64, 4}};
    for (Round round(1); round.value() <= cuts.size(); ++round) {
      const FloatVector gradient = CoarseVector(round.value(), group.layout);
      group.SetGradients(gradient);
      group.ProcessAll(round, true);
      std::string payload;
      const PayloadFormat format = group.formats.FormatAt(round, group.self.group);
      const Selection taken =
          naive.Take(format, round, bucket,
                     std::span(gradient).subspan(bucket.begin, bucket.size()), &payload);
      group.Await();
      const auto parts = group.events.parts(round, kFirst);
      ASSERT_EQ(parts.size(), 1u);
      EXPECT_EQ(*parts[0].payload, payload) << "round " << round.value();
      const bool late = round.value() % 2 == 0;
      if (late) naive.Return(taken);
      for (uint32_t b = 0; b < group.pipeline.buckets().count(); ++b) {
        auto update = MakeUpdate({}, group, round, BucketIndex(b));
        if (b == 0 && round.value() < cuts.size()) {
          const auto [chunk_size, k] = cuts[round.value()];
          const FormatChange change{round.next(), Cut(run.format, chunk_size, k)};
          update = Saying(change, update);
          group.formats.Change(change);
        }
        group.pipeline.Apply(update, late ? Credit::kReturn : Credit::kMerged, group.job);
      }
    }
    EXPECT_TRUE(group.events.failures().empty());
  }
}

// Groups of one, two and three ranks, whose updates are merged or left to them to merge.
struct Replicas {
  explicit Replicas(const RunSpec& run)
      : a(1, run, MixedLayout(), 0), b(2, run, MixedLayout(), 1), c(3, run, MixedLayout(), 2) {
    for (TestGroup* group : all) group->Start(7);
  }
  void Exchange(Round round, bool forwarded, const std::optional<FormatChange>& change) {
    for (TestGroup* group : all) {
      group->SetGradients(CoarseVector(10 * round.value() + group->self.group.value(), a.layout));
      group->ProcessAll(round, true);
      group->Await();
    }
    for (uint32_t i = 0; i < a.pipeline.buckets().count(); ++i) {
      const BucketIndex bucket(i);
      for (TestGroup* group : all) {
        std::shared_ptr<const ReceivedUpdate> update =
            forwarded ? MakeForwarded(all, *group, round, bucket)
                      : MakeUpdate(all, *group, round, bucket);
        if (i == 0 && change) update = Saying(*change, update);
        group->pipeline.Apply(update, Credit::kMerged, group->job);
      }
    }
    if (!change) return;
    for (TestGroup* group : all) group->formats.Change(*change);
  }
  void ExpectEqual(const std::string& when) {
    for (TestGroup* group : all) {
      EXPECT_EQ(group->Hash(), a.Hash()) << group->job->ranks() << " ranks, " << when;
      EXPECT_TRUE(group->events.failures().empty()) << when;
    }
  }

  TestGroup a, b, c;
  const std::vector<TestGroup*> all = {&a, &b, &c};
};

TEST(FormatChangeTest, P30_ReplicasStayEqual) {
  for (const RunSpec& run : {DemoRun(), OneBitRun(), SchemeRun(Scheme::kStriding)}) {
    for (const bool forwarded : {false, true}) {
      Replicas replicas(run);
      for (Round round(1); round <= Round(6); ++round) {
        std::optional<FormatChange> change;
        if (round == Round(2)) change = {Round(3), Cut(run.format, 128, 2)};
        if (round == Round(4)) change = {Round(5), Cut(run.format, 32, 8)};
        replicas.Exchange(round, forwarded, change);
        replicas.ExpectEqual(absl::StrCat(Name(run.scheme), forwarded ? ", forwarded" : ", merged",
                                          ", round ", round.value()));
      }
    }
  }
}

// One that takes nothing in for some rounds reads the others' in the formats of those rounds, and
// one that begins with a snapshot has them from there.
TEST(FormatChangeTest, P30_WhoMissesRoundsKnowsTheirFormats) {
  const RunSpec run = OneBitRun();
  TestGroup there(2, run, MixedLayout(), 0), idle(1, run, MixedLayout(), 1);
  TestGroup joiner(3, run, MixedLayout(), 2);
  there.Start(7);
  idle.Start(7);
  joiner.Start(8);
  const auto round_of = [&](Round round, const std::vector<TestGroup*>& listeners,
                            const std::optional<FormatChange>& change) {
    there.SetGradients(CoarseVector(round.value(), there.layout));
    there.ProcessAll(round, true);
    there.Await();
    for (uint32_t b = 0; b < there.pipeline.buckets().count(); ++b) {
      auto update = MakeUpdate({&there}, there, round, BucketIndex(b));
      if (b == 0 && change) update = Saying(*change, update);
      there.pipeline.Apply(update, Credit::kMerged, there.job);
      for (TestGroup* group : listeners) group->pipeline.Apply(update, Credit::kNone, group->job);
    }
    if (change) there.formats.Change(*change);
  };
  round_of(Round(1), {&idle}, FormatChange{Round(2), Cut(run.format, 256, 3)});
  round_of(Round(2), {&idle}, FormatChange{Round(3), Cut(run.format, 32, 1)});
  EXPECT_EQ(idle.Hash(), there.Hash());
  joiner.pipeline.Install(std::make_shared<StateImage>(there.Snapshot()),
                          {true, std::vector<Round>(there.pipeline.buckets().count(), Round(2)),
                           there.formats.From(Round(3))});
  round_of(Round(3), {&idle, &joiner}, std::nullopt);
  EXPECT_EQ(idle.Hash(), there.Hash());
  EXPECT_EQ(joiner.Hash(), there.Hash());
  // Then they take part.
  for (TestGroup* group : {&idle, &joiner}) {
    for (const FormatChange& change : there.formats.From(Round(3))) group->formats.Change(change);
  }
  ExchangeRound({&there, &idle, &joiner}, Round(4),
                {CoarseVector(1, there.layout), CoarseVector(2, there.layout),
                 CoarseVector(3, there.layout)});
  EXPECT_EQ(idle.Hash(), there.Hash());
  EXPECT_EQ(joiner.Hash(), there.Hash());
}

}  // namespace
}  // namespace isthmus
