// Steps, updates and credit.
#include "worker/core/worker_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/worker/core/worker_action_text.h"

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr BucketIndex kB0(0);
constexpr BucketIndex kB1(1);

UpdateHeader Header(uint64_t sequence, uint64_t round, uint32_t bucket) {
  UpdateHeader update;
  update.sequence = Sequence(sequence);
  update.round = Round(round);
  update.bucket = BucketIndex(bucket);
  return update;
}

TEST(WorkerCoreTest, AttachesAdoptsAndWaitsForStart) {
  CoreUnderTest t;
  EXPECT_EQ(t.core.WaitingFor(), "waiting for all local ranks to attach");
  t.core.JobAttached(2, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("adopt", "ready"));
  EXPECT_EQ(t.core.WaitingFor(), "waiting for the coordinator");
  t.core.StreamOpened(t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("hello, applied 0"));
  EXPECT_TRUE(t.core.Welcomed(Sequence(0), t.out).ok());
  EXPECT_THAT(t.Texts(), IsEmpty());
  EXPECT_FALSE(t.core.in_sync());
  EXPECT_EQ(t.core.WaitingFor(), "waiting for the run to start");
  t.core.Started(1, 3, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("load", "attached as 1 of 3, round 0"));
  EXPECT_TRUE(t.core.in_sync());
  EXPECT_EQ(t.core.WaitingFor(), "");
  // Start is repeated after a reconnect; the job is not loaded again.
  t.core.Started(1, 3, t.out);
  EXPECT_THAT(t.Texts(), IsEmpty());
}

TEST(WorkerCoreTest, P13_AStepAnswersEveryOpenBucketAndEndsWhenTheRoundIsApplied) {
  CoreUnderTest t;
  t.Start(2);
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("process 1/0", "process 1/1"));
  EXPECT_EQ(t.core.WaitingFor(), "in round 1");
  EXPECT_TRUE(t.core.Wanted(Round(1), kB0));
  ASSERT_TRUE(t.Update(Round(1), kB1, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/1", "apply 1 to 1 merged gather"));
  EXPECT_FALSE(t.core.Wanted(Round(1), kB1));
  EXPECT_TRUE(t.core.in_step());
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/0", "apply 2 to 0 merged gather", "step done 1"));
  EXPECT_FALSE(t.core.in_step());
  EXPECT_EQ(t.core.AppliedRound(), Round(1));
}

TEST(WorkerCoreTest, AFinishedStepSaysWhoTookPart) {
  CoreUnderTest t;
  t.Start(2);
  t.core.StepBegun({}, false, t.out);
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  ASSERT_TRUE(t.Update(Round(1), kB1, false).ok());
  const auto* done = std::get_if<FinishStep>(&t.out.back());
  ASSERT_NE(done, nullptr);
  EXPECT_EQ(done->contributors, 2u);  // of bucket 0
  EXPECT_EQ(done->merged_here, 1u);
  EXPECT_EQ(done->loss, 3.0f);
  EXPECT_EQ(done->peer_wait, absl::Seconds(1));
}

TEST(WorkerCoreTest, TheLossOfAStepIsWeightedBySamplesAndLeavesOutWhatIsNoNumber) {
  CoreUnderTest t;
  t.Start(1);
  t.core.StepBegun({}, false, t.out);
  UpdateHeader update = Header(1, 1, 0);
  update.contributors = {{GroupId(1), Incarnation(1), 1, 2.0f},
                         {GroupId(3), Incarnation(1), 100, NAN},
                         {GroupId(5), Incarnation(2), 3, 4.0f}};
  ASSERT_TRUE(t.core.UpdateArrived(update, absl::ZeroDuration(), t.out).ok());
  const auto* done = std::get_if<FinishStep>(&t.out.back());
  ASSERT_NE(done, nullptr);
  EXPECT_EQ(done->contributors, 3u);
  EXPECT_EQ(done->loss, 3.5f);
}

TEST(WorkerCoreTest, P8a_ARefusedContributionFailsTheStepAndGoesBackWithTheUpdate) {
  CoreUnderTest t;
  t.Start(2);
  t.core.StepBegun({}, false, t.out);
  t.Texts();
  t.core.ContributionRefused(Round(1), kB0, "lr: too odd", t.out);
  EXPECT_THAT(t.Texts(),
              ElementsAre("stop 1/0", "abstain 1/0 refused",
                          "step fails: group 5: the coordinator refused this step's contribution "
                          "to round 1 bucket 0: lr: too odd"));
  EXPECT_FALSE(t.core.Wanted(Round(1), kB0));  // what another rank extracts is not sent either
  EXPECT_TRUE(t.core.Wanted(Round(1), kB1));
  t.core.ContributionRefused(Round(1), kB0, "lr: too odd", t.out);  // a second rank's part
  t.core.ContributionRefused(Round(1), kB1, "lr: too odd", t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("stop 1/1", "abstain 1/1 refused"));
  t.core.JobLost("told so", t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("not ready: told so"));
  ASSERT_TRUE(t.Update(Round(1), kB0, false).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/0", "apply 1 to 0 return"));
  ASSERT_TRUE(t.Update(Round(1), kB1, false).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/1", "apply 2 to 1 return"));
  EXPECT_EQ(t.core.returned(), 2u);
}

TEST(WorkerCoreTest, ALaterJobIsNotBlamedForWhatAnEarlierOneContributed) {
  CoreUnderTest t;
  t.Start(1);
  t.core.StepBegun({}, false, t.out);
  t.core.JobLost("a rank died", t.out);
  t.core.JobAttached(1, t.out);
  t.core.Started(0, 2, t.out);
  t.core.StepBegun({}, false, t.out);
  t.Texts();
  t.core.ContributionRefused(Round(1), kB0, "lr: too odd", t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("stop 1/0", "abstain 1/0 refused"));
  EXPECT_TRUE(t.core.in_step());
}

TEST(WorkerCoreTest, ARefusalOfWhatIsDecidedOrWasNotContributedChangesNothing) {
  CoreUnderTest t;
  t.Start(2);
  t.core.StepBegun({}, false, t.out);
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  t.core.NonFinite(Round(1), kB1, t.out);
  t.Texts();
  t.core.ContributionRefused(Round(1), kB0, "late", t.out);
  t.core.ContributionRefused(Round(1), kB1, "abstained", t.out);
  t.core.ContributionRefused(Round(1), BucketIndex(2), "no such bucket", t.out);
  EXPECT_THAT(t.Texts(), IsEmpty());
  EXPECT_TRUE(t.core.in_step());
}

TEST(WorkerCoreTest, P12_WhatWasNotMergedGoesBack) {
  CoreUnderTest t;
  t.Start(1);
  t.core.StepBegun({}, false, t.out);
  t.Texts();
  ASSERT_TRUE(t.Update(Round(1), kB0, false).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/0", "apply 1 to 0 return gather", "step done 1"));
  EXPECT_EQ(t.core.returned(), 1u);
}

TEST(WorkerCoreTest, P12_AnotherIncarnationOfTheGroupIsNotThisOne) {
  CoreUnderTest t;
  t.Start(1);
  t.core.StepBegun({}, false, t.out);
  t.Texts();
  UpdateHeader update = Header(1, 1, 0);
  update.contributors = {{GroupId(5), Incarnation(1), 1, 0.0f}};
  ASSERT_TRUE(t.core.UpdateArrived(update, absl::ZeroDuration(), t.out).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/0", "apply 1 to 0 return gather", "step done 1"));
}

TEST(WorkerCoreTest, P12_WhoAbstainedHasNothingToGetBack) {
  CoreUnderTest t;
  t.Start(2);
  t.core.StepBegun({}, true, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("abstain 1/0 skipped", "abstain 1/1 skipped"));
  ASSERT_TRUE(t.Update(Round(1), kB0, false).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/0", "apply 1 to 0 gather"));
  EXPECT_EQ(t.core.returned(), 0u);
}

TEST(WorkerCoreTest, P8_NonFiniteAbstainsOnce) {
  CoreUnderTest t;
  t.Start(2);
  t.core.StepBegun({}, false, t.out);
  t.Texts();
  t.core.NonFinite(Round(1), kB1, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("abstain 1/1 nonfinite"));
  EXPECT_FALSE(t.core.Wanted(Round(1), kB1));
  t.core.NonFinite(Round(1), kB1, t.out);
  EXPECT_THAT(t.Texts(), IsEmpty());
  EXPECT_EQ(t.core.nonfinite(), 2u);
  // Decided meanwhile: there is nobody to tell.
  ASSERT_TRUE(t.Update(Round(1), kB0, false).ok());
  t.Texts();
  t.core.NonFinite(Round(1), kB0, t.out);
  EXPECT_THAT(t.Texts(), IsEmpty());
}

TEST(WorkerCoreTest, P13_ABucketThatIsClosedAlreadyKeepsItsGradient) {
  CoreUnderTest t;
  t.Start(2);
  ASSERT_TRUE(t.Update(Round(1), kB0, false).ok());  // between steps: not into the job's buffer
  EXPECT_THAT(t.Texts(), ElementsAre("apply 1 to 0"));
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("process 1/0 keeping all", "gather 0", "process 1/1"));
  ASSERT_TRUE(t.Update(Round(1), kB1, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/1", "apply 2 to 1 merged gather", "step done 1"));
}

TEST(WorkerCoreTest, P13_AStepJoinsTheOldestOpenRound) {
  CoreUnderTest t;
  t.Start(1);
  for (uint64_t round = 1; round <= 3; ++round) {
    ASSERT_TRUE(t.Update(Round(round), kB0, false).ok());
  }
  t.Texts();
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("process 4/0"));
  ASSERT_TRUE(t.Update(Round(4), kB0, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 4/0", "apply 4 to 0 merged gather", "step done 4"));
}

TEST(WorkerCoreTest, P13_AnUpdateIsAppliedOnce) {
  CoreUnderTest t;
  t.Start(1);
  ASSERT_TRUE(t.Update(Round(1), kB0, false).ok());
  t.Texts();
  EXPECT_TRUE(t.core.UpdateArrived(Header(1, 1, 0), absl::ZeroDuration(), t.out).ok());
  EXPECT_THAT(t.Texts(), IsEmpty());
}

TEST(WorkerCoreTest, P13_AGapIsRefusedAndChangesNothing) {
  CoreUnderTest t;
  t.Start(2);
  const auto refused = [&](const UpdateHeader& update) {
    const absl::Status status = t.core.UpdateArrived(update, absl::ZeroDuration(), t.out);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(t.Texts(), IsEmpty());
    EXPECT_EQ(t.core.applied_sequence(), Sequence(0));
    return std::string(status.message());
  };
  EXPECT_EQ(refused(Header(2, 1, 0)), "update sequence 2: expected 1");
  EXPECT_EQ(refused(Header(1, 1, 2)), "update of bucket 2: expected below 2");
  EXPECT_EQ(refused(Header(1, 2, 0)), "bucket 0: update of round 2, expected 1");
  EXPECT_EQ(refused(Header(1, 0, 0)), "bucket 0: update of round 0, expected 1");
}

TEST(WorkerCoreTest, P9_ClosedStopsTheSendingAndNothingElse) {
  CoreUnderTest t;
  t.Start(1);
  t.core.StepBegun({}, false, t.out);
  t.Texts();
  t.core.ClosedArrived(Round(1), kB0, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("stop 1/0"));
  EXPECT_TRUE(t.core.in_step());  // credit waits for the update
}

TEST(WorkerCoreTest, P16_AfterTheLastRoundStepReturnsEnd) {
  CoreUnderTest t(Round(1));
  t.Start(1);
  t.core.StepBegun({}, false, t.out);
  t.Texts();
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  EXPECT_THAT(t.Texts(),
              ElementsAre("forget 1/0", "apply 1 to 0 merged gather", "step done 1", "hash 1"));
  EXPECT_TRUE(t.core.ended());
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("step done 1 END"));
}

TEST(WorkerCoreTest, P29_AJobThatStepsByItselfEndsAtTheAnchor) {
  CoreUnderTest t(Round(1), 0, /*job_steps=*/true);
  t.Start(2);
  t.core.StepBegun({}, false, t.out);
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  ASSERT_TRUE(t.Update(Round(1), kB1, true).ok());
  t.Texts();
  // It has stepped once more since.
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("gather 0 alone", "gather 1 alone", "step done 1 END"));
}

// What it had gone is in the residual already, and comes back there: it must not be taken in twice.
TEST(WorkerCoreTest, P29_AJobWhoseContributionWasRefusedGoesOnFromTheAnchor) {
  CoreUnderTest t(Round(0), 0, /*job_steps=*/true);
  t.Start(2);
  t.core.StepBegun({}, false, t.out);
  t.Texts();
  t.core.ContributionRefused(Round(1), kB1, "no", t.out);
  const std::vector<std::string> texts = t.Texts();
  ASSERT_EQ(texts.size(), 5u);
  EXPECT_EQ(texts[2], "gather 0 alone");
  EXPECT_EQ(texts[3], "gather 1 alone");
  EXPECT_THAT(texts[4], testing::HasSubstr("refused this step's contribution"));
}

// --- overlap (P29) -------------------------------------------------------------------------------

constexpr StepWants kBegin{.take = true, .give = false};
constexpr StepWants kBeGiven{.take = false, .give = true};
constexpr StepWants kBoth{.give_first = true, .take = true, .give = false};
constexpr StepWants kReadAnchor{.take = false, .give = false, .anchor = true};

TEST(WorkerCoreTest, P29_AJobGoesOnWhereAnExchangeBeginsAndIsGivenItLater) {
  CoreUnderTest t(Round(0), 0, /*job_steps=*/true);
  t.Start(2);
  t.core.StepBegun(kBegin, false, t.out);
  EXPECT_THAT(t.Texts(),
              ElementsAre("process 1/0 going on", "process 1/1 going on", "step done 0 so far"));
  EXPECT_FALSE(t.core.in_step());
  // Not behind the job's back; what has come by then is given at once, the rest as it comes.
  ASSERT_TRUE(t.Update(Round(1), kB1, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/1", "apply 1 to 1 merged"));
  t.core.StepBegun(kBeGiven, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("gather 1"));
  EXPECT_EQ(t.core.WaitingFor(), "in round 1");
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/0", "apply 2 to 0 merged gather", "step done 1"));
}

TEST(WorkerCoreTest, P29_WhatWasTakenInIsGivenBeforeTheNextIsTaken) {
  CoreUnderTest t(Round(0), 0, /*job_steps=*/true);
  t.Start(1);
  t.core.StepBegun(kBegin, false, t.out);
  t.Texts();
  t.core.StepBegun(kBoth, false, t.out);
  EXPECT_THAT(t.Texts(), IsEmpty());
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  ASSERT_EQ(t.out.size(), 4u);
  const auto& finish = std::get<FinishStep>(t.out.back());
  EXPECT_TRUE(finish.gave);
  EXPECT_EQ(finish.contributors, 2u) << "of round 1";
  EXPECT_EQ(finish.merged_here, 1u);
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/0", "apply 1 to 0 merged gather",
                                     "process 2/0 going on", "step done 1"));
}

TEST(WorkerCoreTest, P29_AfterTheLastRoundNothingIsTakenIn) {
  CoreUnderTest t(Round(1), 0, /*job_steps=*/true);
  t.Start(1);
  t.core.StepBegun(kBegin, false, t.out);
  t.core.StepBegun(kBoth, false, t.out);
  t.Texts();
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/0", "apply 1 to 0 merged gather", "gather 0 alone",
                                     "step done 1 END", "hash 1"));
}

TEST(WorkerCoreTest, P29_ARefusalIsHeardWithTheNextStep) {
  CoreUnderTest t(Round(0), 0, /*job_steps=*/true);
  t.Start(1);
  t.core.StepBegun(kBegin, false, t.out);
  t.Texts();
  t.core.ContributionRefused(Round(1), kB0, "no", t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("stop 1/0", "abstain 1/0 refused"));
  t.core.StepBegun(kBeGiven, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("gather 0 alone",
                                     testing::HasSubstr("refused this step's contribution")));
  EXPECT_FALSE(t.core.in_step());
}

TEST(WorkerCoreTest, P29_TheAnchorIsShownOnceItIsOfOneRound) {
  CoreUnderTest t(Round(0), 0, /*job_steps=*/true);
  t.Start(2);
  t.core.StepBegun(kReadAnchor, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("show 0", "show 1", "step done 0 so far"));
  t.core.StepBegun(kBegin, false, t.out);
  t.Texts();
  t.core.StepBegun(kReadAnchor, false, t.out);
  EXPECT_THAT(t.Texts(), IsEmpty());
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/0", "apply 1 to 0 merged"));
  ASSERT_TRUE(t.Update(Round(1), kB1, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/1", "apply 2 to 1 merged", "show 0", "show 1",
                                     "step done 1 so far"));
  t.core.StepBegun(kBeGiven, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("gather 0", "gather 1", "step done 1"));
}

// Others may wait for its answer, while it waits for them.
TEST(WorkerCoreTest, P29_WhoReadsTheAnchorInMidRoundSitsTheRestOfItOut) {
  CoreUnderTest t(Round(0), 0, /*job_steps=*/true);
  t.Start(2);
  ASSERT_TRUE(t.Update(Round(1), kB0, false).ok());
  t.Texts();
  t.core.StepBegun(kReadAnchor, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("abstain 1/1 skipped"));
  ASSERT_TRUE(t.Update(Round(1), kB1, false).ok());
  EXPECT_THAT(t.Texts(),
              ElementsAre("forget 1/1", "apply 2 to 1", "show 0", "show 1", "step done 1 so far"));
}

// --- overlap of rounds (P31) ---------------------------------------------------------------------

RunSpec OverlappedRun() {
  RunSpec run;
  run.format.overlap = 1;
  return run;
}

TEST(WorkerCoreTest, P31_AStepIsGivenWhatTheOneBeforeBegan) {
  CoreUnderTest t(Round(0), 0, false, OverlappedRun());
  t.Start(2);
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("process 1/0", "process 1/1", "step done 0 so far"));
  EXPECT_FALSE(t.core.in_step());
  // Masters move behind the job's back, its buffers do not.
  ASSERT_TRUE(t.Update(Round(1), kB1, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/1", "apply 1 to 1 merged"));
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("gather 1"));
  EXPECT_EQ(t.core.WaitingFor(), "in round 1");
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/0", "apply 2 to 0 merged gather", "process 2/0",
                                     "process 2/1", "step done 1"));
  // One that comes while nobody waits costs the next step no waiting.
  ASSERT_TRUE(t.Update(Round(2), kB0, true).ok());
  ASSERT_TRUE(t.Update(Round(2), kB1, true).ok());
  t.Texts();
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(),
              ElementsAre("gather 0", "gather 1", "process 3/0", "process 3/1", "step done 2"));
}

TEST(WorkerCoreTest, P31_TheLastRoundIsWaitedForInTheStepThatBeganIt) {
  CoreUnderTest t(Round(2), 0, false, OverlappedRun());
  t.Start(1);
  t.core.StepBegun({}, false, t.out);
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  t.Texts();
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("gather 0", "process 2/0"));
  ASSERT_TRUE(t.Update(Round(2), kB0, true).ok());
  EXPECT_THAT(t.Texts(),
              ElementsAre("forget 2/0", "apply 2 to 0 merged gather", "step done 2", "hash 2"));
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("step done 2 END"));
}

TEST(WorkerCoreTest, P31_ARoundThatOthersAreInTheMidstOfIsWaitedForAtOnce) {
  CoreUnderTest t(Round(0), 0, false, OverlappedRun());
  t.Start(2);
  t.core.StepBegun({}, false, t.out);
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  ASSERT_TRUE(t.Update(Round(1), kB1, true).ok());
  ASSERT_TRUE(t.Update(Round(2), kB0, false).ok());  // without us
  t.Texts();
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(),
              ElementsAre("gather 0", "gather 1", "process 2/0 keeping all", "process 2/1"));
  ASSERT_TRUE(t.Update(Round(2), kB1, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 2/1", "apply 4 to 1 merged gather", "step done 2"));
  // And from there on as ever.
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("process 3/0", "process 3/1", "step done 2 so far"));
}

TEST(WorkerCoreTest, P31_ALateContributionIsBackBeforeTheNextStepIsTakenIn) {
  CoreUnderTest t(Round(0), 0, false, OverlappedRun());
  t.Start(1);
  t.core.StepBegun({}, false, t.out);
  t.Texts();
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(), IsEmpty());
  ASSERT_TRUE(t.Update(Round(1), kB0, false).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/0", "apply 1 to 0 return gather", "process 2/0",
                                     "step done 1"));
  EXPECT_EQ(t.core.returned(), 1u);
}

TEST(WorkerCoreTest, P31_AJobThatTakesAnothersPlaceIsGivenNothingFirst) {
  CoreUnderTest t(Round(0), 0, false, OverlappedRun());
  t.Start(1);
  t.core.StepBegun({}, false, t.out);
  t.core.JobLost("gone", t.out);
  t.core.JobAttached(1, t.out);
  t.core.Started(0, 2, t.out);
  t.Texts();
  // What the other began is still under way: this one's gradient goes into the momentum alone.
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("process 1/0 keeping all", "step done 0 so far"));
}

TEST(WorkerCoreTest, P18_AStepSaysHowManyBucketsWereNotTakenIn) {
  CoreUnderTest t;
  t.Start(2);
  t.core.StepBegun({}, false, t.out);
  t.core.NonFinite(Round(1), kB1, t.out);
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  ASSERT_TRUE(t.Update(Round(1), kB1, false).ok());
  EXPECT_EQ(std::get<FinishStep>(t.out.back()).nonfinite, 1u);
}

TEST(WorkerCoreTest, P22_TheStateIsAuditedEveryIntervalOnceTheRoundIsWhole) {
  CoreUnderTest t(Round(0), 2);
  t.Start(2);
  for (uint64_t round = 1; round <= 4; ++round) {
    for (BucketIndex bucket : {kB1, kB0}) {
      ASSERT_TRUE(t.Update(Round(round), bucket, false).ok());
      const std::vector<std::string> texts = t.Texts();
      const bool due = round % 2 == 0 && bucket == kB0;
      EXPECT_EQ(texts.back() == "audit " + std::to_string(round), due) << round;
    }
  }
}

TEST(WorkerCoreTest, P22_TheLastRoundIsHashedWhetherItIsAuditedOrNot) {
  CoreUnderTest t(Round(3), 2);
  t.Start(1);
  for (uint64_t round = 1; round <= 3; ++round) {
    ASSERT_TRUE(t.Update(Round(round), kB0, false).ok());
  }
  EXPECT_THAT(t.Texts(),
              ElementsAre("apply 1 to 0", "apply 2 to 0", "audit 2", "apply 3 to 0", "hash 3"));
}

}  // namespace
}  // namespace isthmus
