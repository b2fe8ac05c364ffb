// A worker daemon killed in mid-round, as the real program: the others go on, and a new process
// for its group catches up by snapshot.
#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/link/forwarder.h"
#include "tests/e2e/harness.h"

namespace isthmus::e2e {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kRounds = 24;

bool Listens(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = ""};
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int probe = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  const bool connected =
      ::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  ::close(probe);
  return connected;
}

// isthmus-worker as a child, for group 2 with two ranks.
class WorkerProcess {
 public:
  explicit WorkerProcess(const std::string& coordinator)
      : socket_(dir_.Path("jobs.sock")),
        program_({ISTHMUS_WORKER, "--coordinator", coordinator, "--group", "2", "--ranks", "cpu:2",
                  "--socket", socket_, "--give-up-after", "20s", "--log-level", "error"}) {
    Eventually("the worker listens", [&] { return Listens(socket_); });
  }
  JobOptions options() const { return {.socket = socket_, .group = 2, .ranks = 2}; }
  Program& program() { return program_; }

 private:
  TempDir dir_;
  std::string socket_;
  Program program_;
};

CoordinatorServer::Options QuickOptions(uint32_t min_groups) {
  RunSpec run = SmallRun(2, kRounds);
  run.min_groups = min_groups;
  CoordinatorServer::Options options = ServerOptions(run);
  options.engine.core.reconnect_grace = absl::Milliseconds(200);
  return options;
}

// Both groups are in the middle of round `round`: group 1 has sent all of it and waits, group 2's
// job has yet to step.
void StopInRound(uint64_t round, TestCoordinator& coordinator, Job& victim) {
  victim.AwaitPaused();
  Eventually(absl::StrCat("group 1 has answered round ", round), [&] {
    return coordinator.Status().rounds_committed() == round - 1 &&
           coordinator.Group(1).buckets_received() == 4;
  });
}

void ExpectCutOff(const std::vector<RankOutcome>& ranks) {
  for (const RankOutcome& rank : ranks) {
    EXPECT_EQ(rank.status.code(), ISTHMUS_UNAVAILABLE) << rank.status.ToString();
  }
}

TEST(WorkerLossTest, OthersGoOnAfterTheGraceAndTheNextProcessCatchesUpBySnapshot) {
  TestCoordinator coordinator(QuickOptions(1));
  Site one(coordinator.address(), 1, 1);
  Job job(one, {});
  WorkerProcess first(coordinator.address());
  auto victim = std::make_unique<Job>(first.options());
  victim->PauseBefore(7);
  job.PauseBefore(12);
  StopInRound(7, coordinator, *victim);
  first.program().Signal(SIGKILL);
  victim->Resume();
  ExpectCutOff(victim->Await());
  coordinator.AwaitRound(11);

  WorkerProcess second(coordinator.address());
  Job returned(second.options());
  returned.PauseBefore(12);
  returned.AwaitAttached();
  EXPECT_EQ(coordinator.Group(2).incarnation(), 2u);
  job.Resume();
  returned.Resume();
  const auto& a = job.Await();
  const auto& b = returned.Await();
  ExpectEqualEnds({&a, &b}, coordinator.ExpectEqualHashes(2));
  EXPECT_EQ(b[0].info.round, 11u);
  EXPECT_EQ(b[0].steps.back().contributors, 2u);
  EXPECT_EQ(second.program().Await(), 0);
}

TEST(WorkerLossTest, KilledInTheMiddleOfItsContribution) {
  TestCoordinator coordinator(QuickOptions(1));
  LinkLoop loop;
  LinkSpec slow;
  slow.up_bits_per_second = 100e3;  // a round of group 2 takes 0.4 s
  auto link = Forwarder::Start(&loop, "127.0.0.1:0", coordinator.address(), slow);
  ASSERT_TRUE(link.ok()) << link.status();
  Site one(coordinator.address(), 1, 1);
  Job job(one, {});
  job.PauseBefore(15);
  {
    WorkerProcess first((*link)->address());
    Job victim(first.options());
    Eventually("group 2 has sent one bucket of round 2 and not all", [&] {
      const v1::GetStatusReply s = coordinator.Status();
      const uint32_t have = s.groups_size() == 2 ? s.groups(1).buckets_received() : 0;
      return s.rounds_committed() >= 1 && have >= 1 && have < 4;
    });
    first.program().Signal(SIGKILL);
    ExpectCutOff(victim.Await());
  }
  WorkerProcess second(coordinator.address());
  Job returned(second.options());
  returned.AwaitAttached();
  job.Resume();
  ExpectEqualEnds({&job.Await(), &returned.Await()}, coordinator.ExpectEqualHashes(2));
}

TEST(WorkerLossTest, BelowTheMinimumTheOthersWaitAndSayWhyAndGoOnWhenItIsBack) {
  TestCoordinator coordinator(QuickOptions(2));
  Site one(coordinator.address(), 1, 2);
  Job job(one, {});
  auto first = std::make_unique<WorkerProcess>(coordinator.address());
  auto victim = std::make_unique<Job>(first->options());
  victim->PauseBefore(7);
  StopInRound(7, coordinator, *victim);
  first->program().Signal(SIGKILL);
  victim->Resume();
  ExpectCutOff(victim->Await());
  Eventually("the coordinator waits for a quorum", [&] {
    return coordinator.Status().state() == v1::GetStatusReply::WAITING_FOR_QUORUM;
  });
  const v1::GetStatusReply waiting = coordinator.Status();
  EXPECT_THAT(waiting.waiting_reason(),
              HasSubstr("waiting for quorum: 1 of min_groups 2 are active"));
  EXPECT_EQ(waiting.rounds_committed(), 6u);

  WorkerProcess second(coordinator.address());
  Job returned(second.options());
  const auto& a = job.Await();
  const auto& b = returned.Await();
  ExpectEqualEnds({&a, &b}, coordinator.ExpectEqualHashes(2));
  EXPECT_EQ(b[0].info.round, 6u);
  for (const isthmus_step_result& step : a[0].steps) EXPECT_EQ(step.contributors, 2u);
}

TEST(WorkerLossTest, WithADeadlineAGroupThatHangsIsNotWaitedFor) {
  CoordinatorServer::Options options = QuickOptions(1);
  options.engine.core.deadline = absl::Milliseconds(100);
  TestCoordinator coordinator(options);
  Site one(coordinator.address(), 1, 1);
  Job job(one, {});
  WorkerProcess frozen(coordinator.address());
  Job victim(frozen.options());
  victim.PauseBefore(3);
  StopInRound(3, coordinator, victim);
  frozen.program().Signal(SIGSTOP);
  victim.Resume();
  coordinator.AwaitRound(6);
  frozen.program().Signal(SIGCONT);
  const auto& a = job.Await();
  ExpectEqualEnds({&a, &victim.Await()}, coordinator.ExpectEqualHashes(2));
  EXPECT_GT(coordinator.Status().contributions_late(), 0u);
}

}  // namespace
}  // namespace isthmus::e2e
