// The coordinator is not up yet, goes away, or comes back as another instance (P14).
#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <string_view>
#include <utility>

#include "common/telemetry/log.h"
#include "tests/e2e/harness.h"

namespace isthmus::e2e {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr uint64_t kRounds = 10;

// A port that was free a moment ago.
std::string FreeAddress() { return TestCoordinator(SmallRun(1, 1)).address(); }

std::unique_ptr<TestCoordinator> StartAt(const std::string& address,
                                         CoordinatorServer::Options options) {
  options.listen = address;
  return std::make_unique<TestCoordinator>(options);
}

// A job that is told, while it attaches, what its daemon waits for. Outlives the job.
class ToldWhileAttaching {
 public:
  explicit ToldWhileAttaching(std::string words) : words_(std::move(words)) {}
  JobOptions options() {
    JobOptions options;
    options.keep_waiting = [this](const char* what) {
      if (std::string_view(what).find(words_) != std::string_view::npos) told_ = true;
      return true;
    };
    return options;
  }
  void Await() const {
    Eventually("a job is told: " + words_, [this] { return told_.load(); });
  }

 private:
  const std::string words_;
  std::atomic<bool> told_{false};
};

TEST(CoordinatorLossTest, WorkersAndJobsWaitForACoordinatorThatIsNotUpYetAndSaySo) {
  const std::string address = FreeAddress();
  ::testing::internal::CaptureStderr();
  ASSERT_TRUE(SetLogLevel("warning").ok());
  Site one(address, 1, 1);
  Site two(address, 2, 2);
  const std::string words = "waiting for the coordinator at " + address;
  ToldWhileAttaching a_is_told(words), b_is_told(words);
  Job a(one, a_is_told.options());
  Job b(two, b_is_told.options());
  a_is_told.Await();
  b_is_told.Await();
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("group 1: " + words));
  EXPECT_THAT(said, HasSubstr("group 2: " + words));
  ASSERT_TRUE(SetLogLevel("off").ok());
  const auto coordinator = StartAt(address, ServerOptions(SmallRun(2, kRounds)));
  ExpectEqualEnds({&a.Await(), &b.Await()}, coordinator->ExpectEqualHashes(2));
}

TEST(CoordinatorLossTest, WhenItStaysAwayWorkersGiveUpAndTheirJobsHearWhy) {
  auto coordinator = std::make_unique<TestCoordinator>(SmallRun(2, kRounds));
  const auto impatient = [](Daemon::Options& o) { o.give_up_after = absl::Milliseconds(500); };
  Site one(coordinator->address(), 1, 1, impatient);
  Site two(coordinator->address(), 2, 2, impatient);
  Job a(one, {});
  Job b(two, {});
  b.PauseBefore(5);
  b.AwaitPaused();
  const std::string address = coordinator->address();
  coordinator->Shutdown();
  for (Site* site : {&one, &two}) {
    const Daemon::Ending ending = site->AwaitEnd();
    EXPECT_EQ(ending.code, DaemonExit::kLost);
    EXPECT_THAT(ending.reason,
                HasSubstr("nothing heard of the coordinator at " + address + " for 500ms"));
  }
  b.Resume();
  for (Job* job : {&a, &b}) {
    for (const RankOutcome& rank : job->Await()) {
      EXPECT_EQ(rank.status.code(), ISTHMUS_ABORTED) << rank.status.ToString();
      EXPECT_THAT(rank.status.message(), HasSubstr("nothing heard of the coordinator"));
    }
  }
}

TEST(CoordinatorLossTest, P14_WhoHoldsStateRefusesAnotherInstance) {
  const std::string address = FreeAddress();
  auto first = StartAt(address, ServerOptions(SmallRun(2, kRounds)));
  const uint64_t old_instance = first->Status().instance();
  Site one(address, 1, 1);
  Site two(address, 2, 2);
  Job a(one, {});
  Job b(two, {});
  b.PauseBefore(5);
  b.AwaitPaused();
  first->AwaitRound(4);
  first->Shutdown();
  const auto second = StartAt(address, ServerOptions(SmallRun(2, kRounds)));
  for (Site* site : {&one, &two}) {
    const Daemon::Ending ending = site->AwaitEnd();
    EXPECT_EQ(ending.code, DaemonExit::kLost);
    EXPECT_THAT(ending.reason,
                HasSubstr(absl::StrCat("group ", site->group(),
                                       " holds updates of coordinator instance ", old_instance,
                                       ", this one is instance ", second->Status().instance())));
  }
  b.Resume();
  for (Job* job : {&a, &b}) {
    for (const RankOutcome& rank : job->Await()) {
      EXPECT_EQ(rank.status.code(), ISTHMUS_ABORTED) << rank.status.ToString();
      EXPECT_THAT(rank.status.message(), HasSubstr("coordinator instance"));
    }
  }
  EXPECT_EQ(second->Status().groups_size(), 0);
}

TEST(CoordinatorLossTest, P14_WorkersWithoutStateJustRegisterAgain) {
  const std::string address = FreeAddress();
  auto first = StartAt(address, ServerOptions(SmallRun(2, kRounds)));
  Site one(address, 1, 1);
  Site two(address, 2, 2);
  Job a(one, {});
  Eventually("group 1 is ready, group 2 registered",
             [&] { return first->Group(1).state() == "syncing" && first->Group(2).connected(); });
  first->Shutdown();
  Job b(two, {});  // attaches while there is no coordinator: its Ready reaches the next one first
  const auto second = StartAt(address, ServerOptions(SmallRun(2, kRounds)));
  const auto& ranks = b.Await();
  ExpectEqualEnds({&a.Await(), &ranks}, second->ExpectEqualHashes(2));
}

TEST(CoordinatorLossTest, ACoordinatorMayGoInMidRoundAtAnyTime) {
  for (uint64_t round = 1; round <= 6; ++round) {
    auto coordinator = std::make_unique<TestCoordinator>(SmallRun(2, 1000));
    const auto impatient = [](Daemon::Options& o) { o.give_up_after = absl::Milliseconds(100); };
    Site one(coordinator->address(), 1, 1, impatient);
    Site two(coordinator->address(), 2, 2, impatient);
    Job a(one, {});
    Job b(two, {});
    coordinator->AwaitRound(round);
    coordinator->Shutdown();
    for (Job* job : {&a, &b}) {
      for (const RankOutcome& rank : job->Await()) {
        EXPECT_THAT(rank.status.code(), AnyOf(ISTHMUS_ABORTED, ISTHMUS_UNAVAILABLE));
      }
    }
  }
}

// Takes connections, and says nothing: a host that hangs, or drops what comes.
class SilentListener {
 public:
  SilentListener() : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_, 16), 0);
    EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~SilentListener() { ::close(fd_); }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  const int fd_;
  int port_ = 0;
};

// Stop() waited for the call under way, and then for its goodbye, each with its whole deadline; the
// job was told last.
TEST(CoordinatorLossTest, StoppingDoesNotWaitForASilentCoordinatorAndTellsTheJobFirst) {
  const SilentListener silent;
  Site site(silent.address(), 1, 1,
            [](Daemon::Options& options) { options.call_deadline = absl::Seconds(60); });
  ToldWhileAttaching told("waiting for the coordinator");
  Job job(site, told.options());
  told.Await();
  const absl::Time began = Clock::Real().Now();
  site.daemon().Stop();
  EXPECT_LT(Clock::Real().Now() - began, absl::Seconds(20));  // two, and a machine that is busy
  EXPECT_EQ(job.Await()[0].status.code(), ISTHMUS_UNAVAILABLE);
}

TEST(CoordinatorLossTest, ADaemonMayStopInMidRoundAtAnyTime) {
  for (uint64_t round = 1; round <= 6; ++round) {
    TestCoordinator coordinator(SmallRun(1, 1'000'000));
    Site one(coordinator.address(), 1, 2);
    Job job(one, {});
    job.AwaitAttached();
    coordinator.AwaitRound(round);
    one.daemon().Stop();
    for (const RankOutcome& rank : job.Await()) {
      EXPECT_EQ(rank.status.code(), ISTHMUS_UNAVAILABLE) << rank.status.ToString();
    }
  }
}

}  // namespace
}  // namespace isthmus::e2e
