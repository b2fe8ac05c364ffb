// Streams that break, jobs that end, snapshots.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/worker/core/worker_action_text.h"
#include "worker/core/worker_core.h"

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr BucketIndex kB0(0);
constexpr BucketIndex kB1(1);

TEST(WorkerCoreRecoveryTest, P12_AReconnectSendsUndecidedAnswersAgain) {
  CoreUnderTest t;
  t.Start(2);
  t.core.StepBegun({}, false, t.out);
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  t.Texts();
  t.core.StreamLost();
  EXPECT_FALSE(t.core.in_sync());
  EXPECT_EQ(t.core.WaitingFor(), "waiting for the coordinator");
  EXPECT_TRUE(t.core.Wanted(Round(1), kB1));
  t.core.StreamOpened(t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("hello, applied 1"));
  ASSERT_TRUE(t.core.Welcomed(Sequence(2), t.out).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("resend"));
  EXPECT_TRUE(t.core.in_sync());
  ASSERT_TRUE(t.Update(Round(1), kB1, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/1", "apply 2 to 1 merged gather", "step done 1"));
}

TEST(WorkerCoreRecoveryTest, P15_UpdatesThatWouldLeaveAGapAreRefused) {
  CoreUnderTest t;
  t.Start(1);
  t.core.StreamLost();
  t.core.StreamOpened(t.out);
  t.Texts();
  const absl::Status status = t.core.Welcomed(Sequence(2), t.out);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status.message(), "the coordinator would send updates from sequence 2, expected 1");
  EXPECT_THAT(t.Texts(), IsEmpty());
  EXPECT_FALSE(t.core.in_sync());
}

TEST(WorkerCoreRecoveryTest, P15_OverlappingUpdatesAreSkipped) {
  CoreUnderTest t;
  t.Start(1);
  ASSERT_TRUE(t.Update(Round(1), kB0, false).ok());
  t.core.StreamOpened(t.out);
  t.Texts();
  EXPECT_TRUE(t.core.Welcomed(Sequence(1), t.out).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("resend"));
}

TEST(WorkerCoreRecoveryTest, P15_AJoinerInstallsASnapshotWithMomentumZero) {
  CoreUnderTest t;
  t.core.JobAttached(2, t.out);
  t.core.StreamOpened(t.out);
  t.Texts();
  ASSERT_TRUE(
      t.core
          .SnapshotArrived(TransferId(3), Sequence(9), {Round(5), Round(4)}, {150, 2400}, {}, t.out)
          .ok());
  EXPECT_THAT(t.Texts(), ElementsAre("install 3 reset", "caught up by 3 to 9"));
  EXPECT_TRUE(t.core.has_state());
  EXPECT_EQ(t.core.applied_sequence(), Sequence(9));
  EXPECT_EQ(t.core.AppliedRound(), Round(4));
  t.core.Started(1, 2, t.out);
  EXPECT_EQ(std::get<FinishAttach>(t.out.back()).totals, (RunTotals{150, 2400}));
  EXPECT_THAT(t.Texts(), ElementsAre("load", "attached as 1 of 2, round 4"));
  // Round 5 is open, and bucket 0 of it was closed when the snapshot was taken.
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("process 5/0 keeping all", "process 5/1"));
}

TEST(WorkerCoreRecoveryTest, P15_WhoFellBehindKeepsItsMomentumAndForgetsWhatIsInFlight) {
  CoreUnderTest t;
  t.Start(2);
  t.core.StepBegun({}, false, t.out);
  t.Texts();
  ASSERT_TRUE(
      t.core.SnapshotArrived(TransferId(3), Sequence(9), {Round(4), Round(4)}, {}, {}, t.out).ok());
  // The step's round is over, and the job sees the masters.
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/0", "forget 1/1", "install 3", "caught up by 3 to 9",
                                     "gather 0", "gather 1", "step done 4"));
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("process 5/0", "process 5/1"));
}

TEST(WorkerCoreRecoveryTest, P15_AStepGoesOnIfTheSnapshotDoesNotCloseItsRound) {
  CoreUnderTest t;
  t.Start(2);
  t.core.StepBegun({}, false, t.out);
  t.Texts();
  ASSERT_TRUE(
      t.core.SnapshotArrived(TransferId(3), Sequence(1), {Round(1), Round(0)}, {}, {}, t.out).ok());
  // What is undecided stays in flight: others may wait for it.
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/0", "install 3", "caught up by 3 to 1", "resend",
                                     "gather 0", "gather 1"));
  EXPECT_TRUE(t.core.in_step());
  ASSERT_TRUE(t.Update(Round(1), kB1, false).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/1", "apply 2 to 1 return gather", "step done 1"));
}

TEST(WorkerCoreRecoveryTest, P15_ASnapshotOfAnotherNumberOfBucketsIsRefused) {
  CoreUnderTest t;
  t.Start(2);
  const absl::Status status =
      t.core.SnapshotArrived(TransferId(3), Sequence(9), {Round(4)}, {}, {}, t.out);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "snapshot of 1 buckets, expected 2");
  EXPECT_THAT(t.Texts(), IsEmpty());
  EXPECT_EQ(t.core.applied_sequence(), Sequence(0));
}

TEST(WorkerCoreRecoveryTest, P15_GivesASnapshotOfWhatIsApplied) {
  CoreUnderTest t;
  EXPECT_EQ(t.core.SnapshotAsked(TransferId(1), Sequence(0), t.out).code(),
            absl::StatusCode::kFailedPrecondition);
  t.Start(2);
  ASSERT_TRUE(t.Update(Round(1), kB1, false).ok());
  t.Texts();
  ASSERT_TRUE(t.core.SnapshotAsked(TransferId(1), Sequence(0), t.out).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("give 1 as of 1, round 0 [0 1]"));
}

TEST(WorkerCoreRecoveryTest, P15_GivesASnapshotOnceItHasWhatTheJoinerMayHave) {
  CoreUnderTest t;
  t.Start(2);
  ASSERT_TRUE(t.core.SnapshotAsked(TransferId(1), Sequence(2), t.out).ok());
  EXPECT_THAT(t.Texts(), IsEmpty());
  ASSERT_TRUE(t.Update(Round(1), kB1, false).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("apply 1 to 1"));
  ASSERT_TRUE(t.Update(Round(1), kB0, false).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("apply 2 to 0", "give 1 as of 2, round 1 [1 1]"));
  ASSERT_TRUE(t.Update(Round(2), kB0, false).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("apply 3 to 0"));  // once
}

TEST(WorkerCoreRecoveryTest, P15_ASnapshotThatNobodyWaitsForAnyMoreIsNotGiven) {
  CoreUnderTest t;
  t.Start(1);
  ASSERT_TRUE(t.core.SnapshotAsked(TransferId(1), Sequence(1), t.out).ok());
  t.core.SnapshotAborted(TransferId(1));
  ASSERT_TRUE(t.Update(Round(1), kB0, false).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("apply 1 to 0"));
  ASSERT_TRUE(t.core.SnapshotAsked(TransferId(2), Sequence(2), t.out).ok());
  t.core.StreamLost();
  t.core.StreamOpened(t.out);
  t.Texts();
  ASSERT_TRUE(t.Update(Round(2), kB0, false).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("apply 2 to 0"));
}

// It would answer rounds that it has answered already, and nobody could tell the answers apart.
TEST(WorkerCoreRecoveryTest, P15_NobodyGoesBack) {
  CoreUnderTest t;
  t.Start(1);
  ASSERT_TRUE(t.Update(Round(1), kB0, false).ok());
  ASSERT_TRUE(t.Update(Round(2), kB0, false).ok());
  t.Texts();
  const absl::Status status =
      t.core.SnapshotArrived(TransferId(3), Sequence(1), {Round(1)}, {}, {}, t.out);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "snapshot as of update 1: expected at least 2");
  EXPECT_THAT(t.Texts(), IsEmpty());
}

// What an audit that found a difference leads to: the state is replaced under a running step.
TEST(WorkerCoreRecoveryTest, P22_AStepThatIsUnderWayEndsNormallyAfterAResync) {
  CoreUnderTest t(Round(0), 1);
  t.Start(2);
  for (BucketIndex bucket : {kB0, kB1}) ASSERT_TRUE(t.Update(Round(1), bucket, false).ok());
  t.core.StepBegun({}, false, t.out);
  ASSERT_TRUE(t.Update(Round(2), kB0, true).ok());
  t.Texts();
  // As of the last update that it has: bucket 1 is still open, and its answer goes out again.
  ASSERT_TRUE(
      t.core.SnapshotArrived(TransferId(1), Sequence(3), {Round(2), Round(1)}, {}, {}, t.out).ok());
  EXPECT_THAT(t.Texts(),
              ElementsAre("install 1", "caught up by 1 to 3", "resend", "gather 0", "gather 1"));
  t.core.Started(0, 2, t.out);
  EXPECT_THAT(t.Texts(), IsEmpty());
  ASSERT_TRUE(t.Update(Round(2), kB1, true).ok());
  EXPECT_THAT(t.Texts(),
              ElementsAre("forget 2/1", "apply 4 to 1 merged gather", "step done 2", "audit 2"));
}

// The hash of a state that came whole would only tell of its donor.
TEST(WorkerCoreRecoveryTest, P22_ARoundThatCameWithASnapshotIsNotAudited) {
  CoreUnderTest t(Round(0), 2);
  t.core.JobAttached(1, t.out);
  t.core.StreamOpened(t.out);
  t.Texts();
  ASSERT_TRUE(t.core.SnapshotArrived(TransferId(3), Sequence(4), {Round(4)}, {}, {}, t.out).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("install 3 reset", "caught up by 3 to 4"));
}

TEST(WorkerCoreRecoveryTest, P15_WhoGaveItsParametersKeepsThemForTheNextJob) {
  CoreUnderTest t;
  t.core.JobAttached(1, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("adopt", "ready"));
  t.core.JobLost("killed", t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("not ready: killed"));
  t.core.JobAttached(1, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("adopt", "ready"));  // nobody has them yet
  ASSERT_TRUE(t.core.SnapshotAsked(TransferId(1), Sequence(0), t.out).ok());
  t.core.JobLost("killed", t.out);
  t.Texts();
  t.core.JobAttached(1, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("ready"));
}

TEST(WorkerCoreRecoveryTest, P13_TheNextJobDoesNotAnswerTwice) {
  CoreUnderTest t;
  t.Start(2);
  t.core.StepBegun({}, false, t.out);
  t.core.JobLost("killed", t.out);
  t.Texts();
  EXPECT_FALSE(t.core.in_step());
  EXPECT_TRUE(t.core.Wanted(Round(1), kB0));  // what is in the pipeline goes on
  t.core.JobAttached(2, t.out);
  t.core.Started(0, 2, t.out);
  EXPECT_THAT(t.Texts(), ElementsAre("ready", "load", "attached as 0 of 2, round 0"));
  ASSERT_TRUE(t.Update(Round(1), kB0, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/0", "apply 1 to 0 merged"));
  t.core.StepBegun({}, false, t.out);
  EXPECT_THAT(t.Texts(),
              ElementsAre("process 1/0 keeping all", "gather 0", "process 1/1 keeping all"));
  ASSERT_TRUE(t.Update(Round(1), kB1, true).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("forget 1/1", "apply 2 to 1 merged gather", "step done 1"));
}

TEST(WorkerCoreRecoveryTest, AJobBeforeAnyStateMayHaveAnotherSize) {
  CoreUnderTest t;
  t.core.JobAttached(2, t.out);
  t.core.JobLost("killed", t.out);
  t.core.JobAttached(3, t.out);
  t.Texts();
  EXPECT_FALSE(
      t.core.SnapshotArrived(TransferId(1), Sequence(0), std::vector<Round>(2), {}, {}, t.out)
          .ok());
  EXPECT_TRUE(
      t.core.SnapshotArrived(TransferId(1), Sequence(0), std::vector<Round>(3), {}, {}, t.out)
          .ok());
}

// A group that learns of the last round by a snapshot has a hash to compare like any other.
TEST(WorkerCoreRecoveryTest, P22_ASnapshotOfTheLastRoundIsHashed) {
  CoreUnderTest t(Round(4));
  t.core.JobAttached(1, t.out);
  t.core.StreamOpened(t.out);
  t.Texts();
  ASSERT_TRUE(t.core.SnapshotArrived(TransferId(3), Sequence(4), {Round(4)}, {}, {}, t.out).ok());
  EXPECT_THAT(t.Texts(), ElementsAre("install 3 reset", "caught up by 3 to 4", "hash 4"));
}

}  // namespace
}  // namespace isthmus
