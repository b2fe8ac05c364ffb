// A rank of a job goes in mid-step: its fellows hear of it at once, the daemon lives on with its
// masters and takes the next job, the other groups go on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>

#include "tests/e2e/harness.h"
#include "worker/step/cpu_ranks.h"
#include "worker/step/rank_state.h"

namespace isthmus::e2e {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kRounds = 20;

class JobLossTest : public ::testing::Test {
 protected:
  void ExpectAborted(const RankOutcome& rank, uint64_t steps, const char* why) {
    EXPECT_EQ(rank.status.code(), ISTHMUS_ABORTED) << rank.status.ToString();
    EXPECT_THAT(rank.status.message(), HasSubstr(why));
    EXPECT_EQ(rank.steps.size(), steps);
  }
  // A new job at group 2 trains to the end with `other`.
  void TrainsToTheEnd(Job& other, uint64_t at_least) {
    Job again(two_, {});
    again.AwaitAttached();  // a daemon whose run ends while it has no job ends too
    other.Resume();
    const auto& a = other.Await();
    const auto& b = again.Await();
    ExpectEqualEnds({&a, &b}, coordinator_.ExpectEqualHashes(2));
    EXPECT_GE(b[0].info.round, at_least);
    EXPECT_EQ(a[0].steps.size(), kRounds);
    EXPECT_EQ(two_.AwaitEnd().code, DaemonExit::kOk);
  }

  TestCoordinator coordinator_{SmallRun(2, kRounds)};
  Site one_{coordinator_.address(), 1, 1};
  Site two_{coordinator_.address(), 2, 3};
};

TEST_F(JobLossTest, ARankThatDetachesBeforeItsStepAbortsTheOthers) {
  Job other(one_, {});
  other.PauseBefore(12);
  Job job(two_, {.quit = [](uint32_t rank, uint64_t round) { return rank == 1 && round == 6; }});
  const auto& lost = job.Await();
  ExpectAborted(lost[0], 5, "rank 1");
  ExpectAborted(lost[2], 5, "rank 1");
  coordinator_.AwaitRound(8);  // the other group does not wait for one without a job
  EXPECT_FALSE(two_.daemon().Ended());
  TrainsToTheEnd(other, 8);
}

TEST_F(JobLossTest, ARankProcessKilledBeforeItsStep) {
  Job other(one_, {});
  other.PauseBefore(12);
  Program rank0({DOOMED_RANK, two_.socket(), "2", "0", "6", "after"});
  Program rank1({DOOMED_RANK, two_.socket(), "2", "1", "6", "before"});
  Program rank2({DOOMED_RANK, two_.socket(), "2", "2", "6", "after"});
  for (Program* rank : {&rank0, &rank1, &rank2}) EXPECT_EQ(rank->ReadLine(), "here");
  EXPECT_EQ(coordinator_.Status().rounds_committed(), 5u);
  rank1.Signal(SIGKILL);
  EXPECT_EQ(rank1.Await(), -SIGKILL);
  coordinator_.AwaitRound(8);
  EXPECT_THAT(coordinator_.Group(2).last_event(), HasSubstr("rank 1"));
  TrainsToTheEnd(other, 8);
}

TEST_F(JobLossTest, ARankProcessKilledAfterAllHandedOverItsGradientsAreMerged) {
  Job other(one_, {});
  other.PauseBefore(6);
  Program rank0({DOOMED_RANK, two_.socket(), "2", "0", "6", "after"});
  Program rank1({DOOMED_RANK, two_.socket(), "2", "1", "6", "after"});
  Program rank2({DOOMED_RANK, two_.socket(), "2", "2", "6", "after"});
  for (Program* rank : {&rank0, &rank1, &rank2}) EXPECT_EQ(rank->ReadLine(), "here");
  Eventually("group 2 has answered", [&] { return coordinator_.Group(2).buckets_received() == 4; });
  rank2.Signal(SIGKILL);
  Eventually("group 2 is without its job",
             [&] { return coordinator_.Group(2).state() == "waiting for its job"; });
  EXPECT_EQ(coordinator_.Status().rounds_committed(), 5u);
  EXPECT_EQ(coordinator_.Status().contributions_merged(), 5u * 4 * 2);
  TrainsToTheEnd(other, 5);
  EXPECT_GE(other.Await()[0].steps[5].contributors, 2u);
}

TEST_F(JobLossTest, JobsComeAndGoAndComeBackManyTimes) {
  Job other(one_, {});
  other.PauseBefore(15);
  for (uint64_t stop : {2, 3, 7, 8, 13}) {
    Job job(two_, {.quit = [stop](uint32_t rank, uint64_t round) {
              return rank == round % 3 && round >= stop;
            }});
    job.Await();
  }
  TrainsToTheEnd(other, 2);
}

TEST_F(JobLossTest, AJobThatLeavesAloneInItsGroupLeavesTheOtherWaitingForNobody) {
  Job job(two_, {});
  job.PauseBefore(4);
  {
    Job other(one_, {.quit = [](uint32_t, uint64_t round) { return round == 2; }});
    other.Await();
  }
  coordinator_.AwaitRound(3);
  Job other(one_, {});
  other.AwaitAttached();
  job.Resume();
  const auto& a = other.Await();
  ExpectEqualEnds({&a, &job.Await()}, coordinator_.ExpectEqualHashes(2));
}

// --- while a job's state is being made ---------------------------------------------------------

// CPU ranks that first ask the test.
class AskingRanks : public LocalRanks {
 public:
  AskingRanks(uint32_t count, std::function<absl::Status()> ask)
      : ranks_(MakeCpuRanks(count, 1)), ask_(std::move(ask)) {}
  uint32_t count() const override { return ranks_->count(); }
  absl::StatusOr<std::string> Invite() override { return ranks_->Invite(); }
  absl::StatusOr<std::vector<std::unique_ptr<RankState>>> Make(const RunSpec& run,
                                                               const Layout& layout,
                                                               const Ownership& ownership,
                                                               const GroupPlace& place) override {
    if (absl::Status status = ask_(); !status.ok()) return status;
    return ranks_->Make(run, layout, ownership, place);
  }
  void Abort(const absl::Status& reason) override { ranks_->Abort(reason); }

 private:
  const std::unique_ptr<LocalRanks> ranks_;
  const std::function<absl::Status()> ask_;
};

TEST(JobStateTest, AJobThatDoesNotFitIsToldThatItNeverWillAndTheNextOneIsTaken) {
  TestCoordinator coordinator(SmallRun(1, kRounds));
  std::atomic<int> asked{0};
  Site site(coordinator.address(), 1, 2, [&](Daemon::Options& options) {
    options.make_ranks = [&] {
      return std::make_unique<AskingRanks>(2, [&] {
        return asked++ == 0 ? absl::ResourceExhaustedError("needs 8 bytes of 7") : absl::OkStatus();
      });
    };
  });
  Job large(site);
  for (const RankOutcome& rank : large.Await()) {
    EXPECT_EQ(rank.status.code(), ISTHMUS_RESOURCE_EXHAUSTED) << rank.status.ToString();
    EXPECT_THAT(rank.status.message(), HasSubstr("does not fit, and will not another time"));
    EXPECT_THAT(rank.status.message(), HasSubstr("needs 8 bytes of 7"));
  }
  Job job(site);
  ExpectEqualEnds({&job.Await()}, coordinator.ExpectEqualHashes(1));
}

// State was made on the thread that heard of the job, which heard nothing else meanwhile.
TEST(JobStateTest, WhileItIsMadeTheWorkerHearsThatItsJobIsGoneAndSpeaksToTheCoordinator) {
  TestCoordinator coordinator(SmallRun(1, kRounds));
  std::atomic<int> asked{0};
  std::atomic<bool> go{false};
  Site site(coordinator.address(), 1, 1, [&](Daemon::Options& options) {
    options.make_ranks = [&] {
      return std::make_unique<AskingRanks>(1, [&] {
        ++asked;
        Eventually("the test lets go", [&] { return go.load(); });
        return absl::OkStatus();
      });
    };
  });
  JobOptions impatient;
  impatient.attach_timeout = absl::Milliseconds(300);
  Job first(site, impatient);
  Eventually("its state is being made", [&] { return asked == 1; });
  EXPECT_EQ(first.Await()[0].status.code(), ISTHMUS_DEADLINE_EXCEEDED);
  Job second(site);  // the first is known to be gone, or it would be told that its ranks are taken
  const auto heard = [&] { return coordinator.Group(1).seconds_since_heard(); };
  Eventually("a heartbeat comes", [&] { return heard() < 0.2; });
  EXPECT_EQ(coordinator.Group(1).state(), "registered");
  go = true;
  ExpectEqualEnds({&second.Await()}, coordinator.ExpectEqualHashes(1));
}

}  // namespace
}  // namespace isthmus::e2e
