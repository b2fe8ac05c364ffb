// Rounds whose formats change (docs/protocol.md, P30).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/worker/core/worker_action_text.h"
#include "worker/core/worker_core.h"

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr BucketIndex kB0(0);

FormatChange Cut(uint64_t from, uint32_t chunk_size, uint32_t k) {
  FormatChange change{Round(from), RunSpec().format};
  change.format.chunk_size = chunk_size;
  change.format.all.k = k;
  return change;
}

FormatChange Every(uint64_t from, uint32_t steps, uint32_t overlap = 0) {
  FormatChange change{Round(from), DefaultRunSpec(Scheme::kLocal).format};
  change.format.every = {.steps = steps};
  change.format.overlap = overlap;
  return change;
}

RunSpec LocalRun(uint32_t every, uint32_t overlap = 0) {
  RunSpec run = DefaultRunSpec(Scheme::kLocal);
  run.format.every = {.steps = every};
  run.format.overlap = overlap;
  return run;
}

// What the last FinishStep said, whatever came with it.
FinishStep TakeFinish(CoreUnderTest& t) {
  FinishStep finish;
  for (const WorkerAction& action : std::exchange(t.out, {})) {
    if (const auto* step = std::get_if<FinishStep>(&action)) finish = *step;
  }
  return finish;
}

TEST(WorkerCoreFormatsTest, P30_AnUpdateSaysTheFormatOfTheNextRound) {
  CoreUnderTest t;
  t.Start(1);
  ASSERT_TRUE(t.Update(Round(1), kB0, false, Cut(2, 128, 1)).ok());
  EXPECT_EQ(t.core.formats().At(Round(1)).chunk_size, 64u);
  EXPECT_EQ(t.core.formats().At(Round(2)).chunk_size, 128u);
  ASSERT_TRUE(t.Update(Round(2), kB0, false).ok());
  EXPECT_EQ(t.core.formats().At(Round(3)).chunk_size, 128u);
}

TEST(WorkerCoreFormatsTest, P30_RefusesWhatCannotFollow) {
  CoreUnderTest t;
  t.Start(1);
  t.Texts();
  const auto refused = [&](const FormatChange& change, const std::string& why) {
    const absl::Status status = t.Update(Round(1), kB0, false, change);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << why;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
    EXPECT_THAT(t.Texts(), IsEmpty());
    EXPECT_EQ(t.core.formats().last(), Round(0));
  };
  refused(Cut(1, 128, 1), "update sequence 1: formats from round 1: expected a round after 1");
  refused(Cut(2, 100, 1), "chunk_size: expected a power of two from 16 to 4096, got 100");
  refused(Cut(2, 64, 64), "k: expected less than chunk_size, as before");
  FormatChange sign = Cut(2, 64, 4);
  sign.format.all.values = ValueFormat::kSign;
  refused(sign, "values: expected other than sign, as before, got sign");
  EXPECT_TRUE(t.Update(Round(1), kB0, false, Cut(2, 128, 1)).ok());
}

TEST(WorkerCoreFormatsTest, P30_WhatWasHeardBeforeIsNoChange) {
  CoreUnderTest t;
  t.Start(1);
  ASSERT_TRUE(t.Update(Round(1), kB0, false, Cut(3, 128, 1)).ok());
  EXPECT_TRUE(t.Update(Round(2), kB0, false, Cut(3, 128, 1)).ok());
  const absl::Status other = t.Update(Round(3), kB0, false, Cut(3, 256, 1));
  EXPECT_THAT(std::string(other.message()),
              HasSubstr("formats from round 3: expected those that are known"));
}

TEST(WorkerCoreFormatsTest, P30_ASnapshotBringsThem) {
  CoreUnderTest donor, joiner;
  donor.Start(1);
  ASSERT_TRUE(donor.Update(Round(1), kB0, false, Cut(2, 128, 1)).ok());
  ASSERT_TRUE(donor.Update(Round(2), kB0, false, Cut(4, 256, 1)).ok());
  donor.Texts();
  ASSERT_TRUE(donor.core.SnapshotAsked(TransferId(1), Sequence(2), donor.out).ok());
  const auto give = std::get<GiveSnapshot>(donor.out.at(0));
  EXPECT_THAT(give.formats, ElementsAre(Cut(3, 128, 1), Cut(4, 256, 1)));
  joiner.core.StreamOpened(joiner.out);
  joiner.core.JobAttached(1, joiner.out);
  joiner.out.clear();
  FormatChange wrong = Cut(3, 17, 1);
  EXPECT_EQ(
      joiner.core.SnapshotArrived(TransferId(1), Sequence(2), {Round(2)}, {}, {wrong}, joiner.out)
          .code(),
      absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(joiner.Texts(), IsEmpty());
  ASSERT_TRUE(
      joiner.core
          .SnapshotArrived(TransferId(1), Sequence(2), {Round(2)}, {}, give.formats, joiner.out)
          .ok());
  EXPECT_EQ(std::get<InstallSnapshot>(joiner.out.at(0)).formats, give.formats);
  EXPECT_EQ(joiner.core.formats().At(Round(3)).chunk_size, 128u);
  // The donor hears of round 4 a second time, as the joiner does; both go on.
  for (CoreUnderTest* t : {&donor, &joiner}) {
    EXPECT_TRUE(t->Update(Round(3), kB0, false, Cut(4, 256, 1)).ok());
    EXPECT_EQ(t->core.formats().At(Round(4)).chunk_size, 256u);
  }
}

TEST(WorkerCoreFormatsTest, P30_TheJobHearsOfAnotherPeriodWhereOneEnds) {
  CoreUnderTest t(Round(0), 0, true, LocalRun(8));
  t.Start(1);
  t.core.StepBegun({}, false, t.out);
  ASSERT_TRUE(t.Update(Round(1), kB0, true, Every(2, 30)).ok());
  EXPECT_EQ(TakeFinish(t).every, 30u);
  t.core.StepBegun({}, false, t.out);
  ASSERT_TRUE(t.Update(Round(2), kB0, true).ok());
  EXPECT_EQ(TakeFinish(t).every, 30u);
}

// The job is on its way to round 2 when it hears of round 3.
TEST(WorkerCoreFormatsTest, P30_WithOverlapOneRoundLater) {
  CoreUnderTest t(Round(0), 0, true, LocalRun(8, 3));
  t.Start(1);
  t.core.StepBegun({.take = true, .give = false}, false, t.out);
  EXPECT_EQ(TakeFinish(t).every, 8u);
  ASSERT_TRUE(t.Update(Round(1), kB0, true, Every(3, 30, 5)).ok());
  t.core.StepBegun({.take = false, .give = true}, false, t.out);
  const FinishStep given = TakeFinish(t);
  EXPECT_EQ(given.every, 8u);
  EXPECT_EQ(given.overlap, 3u);
  t.core.StepBegun({.take = true, .give = false}, false, t.out);
  const FinishStep taken = TakeFinish(t);
  EXPECT_EQ(taken.every, 30u);
  EXPECT_EQ(taken.overlap, 5u);
}

}  // namespace
}  // namespace isthmus
