// What the coordinator refuses for good is not sent again: a contribution costs the job its step, a
// malformed message the worker its life, and the others get on.
#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "tests/e2e/harness.h"
#include "tests/e2e/raw_coordinator.h"

namespace isthmus::e2e {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kRounds = 8;

// A learning rate that the coordinator refuses; it was sent again twelve times a second, nobody got
// on, and the job was told nothing.
TEST(RefusedContributionTest, ABadRateFailsThatJobAndNobodyElse) {
  TestCoordinator coordinator(SmallRun(2, kRounds));
  Site one(coordinator.address(), 1, 2);
  Site two(coordinator.address(), 2, 1);
  JobOptions options;
  options.lr = {-1e-9f, 0.02f};
  Job other(two);
  other.PauseBefore(4);
  Job bad(one, options);
  for (const RankOutcome& rank : bad.Await()) {
    EXPECT_EQ(rank.status.code(), ISTHMUS_INVALID_ARGUMENT) << rank.status.ToString();
    EXPECT_THAT(rank.status.message(), HasSubstr("lr"));
  }
  coordinator.AwaitRound(3);  // without that group
  EXPECT_EQ(coordinator.Status().contributions_merged(), 3u * 4);
  Job right(one);
  right.AwaitAttached();
  other.Resume();
  const auto& ranks = right.Await();
  ExpectEqualEnds({&other.Await(), &ranks}, coordinator.ExpectEqualHashes(2));
  EXPECT_FALSE(one.daemon().Ended() && one.daemon().ending().code != DaemonExit::kOk);
}

// --- a coordinator that the test plays ---------------------------------------------------------

v1::WorkerMessage Read(RawCoordinator::Stream& stream) {
  v1::WorkerMessage message;
  stream.Read(&message);
  return message;
}

// Tells a worker that all start from its parameters.
void Start(RawCoordinator::Stream& stream) {
  EXPECT_TRUE(Read(stream).has_hello());
  v1::CoordinatorMessage message;
  message.mutable_welcome()->set_next_sequence(1);
  stream.Write(message);
  message.mutable_start()->set_group_count(1);
  message.mutable_start()->set_open_round(1);
  stream.Write(message);
}

TEST(RefusedContributionTest, TheJobHearsWhyAndTheWorkerSaysAbstainInItsPlace) {
  std::atomic<bool> abstained{false};
  std::atomic<int> parts_after{0};
  RawCoordinator coordinator(SmallRun(1, kRounds), [&](RawCoordinator::Stream& stream) {
    Eventually("the job is there", [&] { return coordinator.readies() == 1; });
    Start(stream);
    v1::WorkerMessage message;
    while (stream.Read(&message)) {
      if (message.has_part() && message.part().bucket() == 2 && !abstained) {
        v1::CoordinatorMessage refused;
        refused.mutable_refused()->set_round(1);
        refused.mutable_refused()->set_bucket(2);
        refused.mutable_refused()->set_reason("this test will not have it");
        stream.Write(refused);
      }
      parts_after += message.has_part() && message.part().bucket() == 2 && abstained;
      abstained = abstained || (message.abstain().bucket() == 2 &&
                                message.abstain().reason() == v1::Abstain::REFUSED);
    }
    return absl::OkStatus();
  });
  Site site(coordinator.address(), 1, 2);
  Job job(site);
  for (const RankOutcome& rank : job.Await()) {
    EXPECT_EQ(rank.status.code(), ISTHMUS_INVALID_ARGUMENT) << rank.status.ToString();
    EXPECT_THAT(rank.status.message(),
                AllOf(HasSubstr("the coordinator refused this step's contribution to round 1 "
                                "bucket 2"),
                      HasSubstr("this test will not have it")));
  }
  Eventually("the worker abstains", [&] { return abstained.load(); });
  EXPECT_FALSE(site.daemon().Ended());
  site.daemon().Stop();
  EXPECT_EQ(parts_after, 0);
  EXPECT_EQ(coordinator.streams(), 1);
}

TEST(RefusedContributionTest, AWorkerWhoseMessageIsMalformedEndsWithTheReason) {
  RawCoordinator coordinator(SmallRun(1, kRounds), [](RawCoordinator::Stream& stream) {
    (void)Read(stream);
    return absl::InvalidArgumentError("this test takes no Hello");
  });
  Site site(coordinator.address(), 1, 1);
  const Daemon::Ending ending = site.AwaitEnd();
  EXPECT_EQ(ending.code, DaemonExit::kRefused);
  EXPECT_THAT(ending.reason, HasSubstr("this test takes no Hello"));
  EXPECT_EQ(coordinator.streams(), 1);
}

TEST(RefusedContributionTest, WhatIsOutOfOrderIsTriedOnceMoreAfterRegistering) {
  RawCoordinator coordinator(SmallRun(1, kRounds), [](RawCoordinator::Stream& stream) {
    (void)Read(stream);
    return absl::FailedPreconditionError("not now");
  });
  Site site(coordinator.address(), 1, 1);
  const Daemon::Ending ending = site.AwaitEnd();
  EXPECT_EQ(ending.code, DaemonExit::kRefused);
  EXPECT_THAT(ending.reason, HasSubstr("not now"));
  EXPECT_EQ(coordinator.streams(), 2);
  EXPECT_EQ(coordinator.registrations(), 2);
}

TEST(RefusedContributionTest, APassingFaultIsNone) {
  RawCoordinator coordinator(SmallRun(1, kRounds), [](RawCoordinator::Stream& stream) {
    (void)Read(stream);
    return absl::ResourceExhaustedError("slower than the ring");
  });
  Site site(coordinator.address(), 1, 1);
  Eventually("several streams", [&] { return coordinator.streams() >= 4; });
  EXPECT_FALSE(site.daemon().Ended());
}

}  // namespace
}  // namespace isthmus::e2e
