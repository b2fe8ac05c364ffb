// What does not fit is refused, in words that name ids, expected and actual.
#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/e2e/harness.h"
#include "tests/e2e/raw_peer.h"

namespace isthmus::e2e {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kRounds = 8;

TEST(RefusalTest, ProtocolVersionsThatDoNotMeet) {
  TestCoordinator coordinator(SmallRun(1, kRounds));
  RawPeer peer(coordinator.address(), 7);
  v1::RegisterRequest request = peer.MakeRegister();
  const uint32_t newest = kProtocolVersions.max;
  request.mutable_versions()->set_min(newest + 1);
  request.mutable_versions()->set_max(newest + 2);
  const absl::Status status = peer.Register(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            absl::StrCat("protocol versions: the coordinator speaks ", kProtocolVersions.min,
                         " to ", newest, ", group 7 speaks ", newest + 1, " to ", newest + 2));
  request.mutable_versions()->set_min(newest);
  EXPECT_TRUE(peer.Register(request).ok());
  EXPECT_EQ(peer.registration().version(), newest);
}

TEST(RefusalTest, ADaemonWithoutASocketDoesNotStart) {
  Daemon::Options options;
  options.coordinator = "127.0.0.1:1";
  options.socket_path = "/nonexistent/folder/socket";
  options.nonce = 1;
  const auto daemon = Daemon::Start(options, Clock::Real());
  ASSERT_FALSE(daemon.ok());
  EXPECT_THAT(std::string(daemon.status().message()), HasSubstr("/nonexistent/folder/socket"));
}

TEST(RefusalTest, RegistrationsThatMakeNoSense) {
  TestCoordinator coordinator(SmallRun(1, kRounds));
  RawPeer peer(coordinator.address(), 7);
  const auto refused = [&](const std::function<void(v1::RegisterRequest&)>& edit) {
    v1::RegisterRequest request = peer.MakeRegister();
    edit(request);
    const absl::Status status = peer.Register(request);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(refused([](auto& r) { r.set_nonce(0); }), "nonce: expected non-zero, got 0");
  EXPECT_EQ(refused([](auto& r) { r.set_ranks(0); }), "ranks: expected at least 1, got 0");
  EXPECT_EQ(refused([](auto& r) { r.set_label(std::string(65, 'x')); }),
            "label: expected at most 64 bytes, got 65");
  EXPECT_THAT(refused([](auto& r) { r.add_expect("colour=red"); }), HasSubstr("colour"));
  EXPECT_EQ(coordinator.Status().groups_size(), 0);
}

TEST(RefusalTest, ARunSpecThatTheWorkerDoesNotExpect) {
  TestCoordinator coordinator(SmallRun(1, kRounds));
  Site site(coordinator.address(), 1, 1, [](Daemon::Options& options) {
    options.expect = {"chunk_size=64", "k=8", "sign=false"};
  });
  Job job(site);
  const Daemon::Ending ending = site.AwaitEnd();
  EXPECT_EQ(ending.code, DaemonExit::kRefused);
  EXPECT_THAT(ending.reason, AllOf(HasSubstr("k: "), HasSubstr("8"), HasSubstr("4"),
                                   HasSubstr("sign"), ::testing::Not(HasSubstr("chunk_size"))));
  const RankOutcome& rank = job.Await()[0];
  EXPECT_EQ(rank.status.code(), ISTHMUS_ABORTED) << rank.status.ToString();
  EXPECT_THAT(rank.status.message(), HasSubstr("k: "));
}

TEST(RefusalTest, AnotherLayoutFailsThatJobsAttachAndTheDaemonTakesARightOne) {
  TestCoordinator coordinator(SmallRun(2, kRounds));
  Site one(coordinator.address(), 1, 1);
  Site two(coordinator.address(), 2, 2);
  Job right(one);
  Eventually("group 1 is ready", [&] { return coordinator.Group(1).state() == "syncing"; });
  JobOptions options;
  options.model.rows = 121;
  Job wrong(two, options);
  for (const RankOutcome& rank : wrong.Await()) {
    EXPECT_EQ(rank.status.code(), ISTHMUS_FAILED_PRECONDITION) << rank.status.ToString();
    EXPECT_THAT(rank.status.message(),
                AllOf(HasSubstr("group 2 incarnation 1: the layout differs from the run's: "),
                      HasSubstr("weights"), HasSubstr("122"), HasSubstr("121")));
  }
  EXPECT_FALSE(two.daemon().Ended());
  Job again(two);
  ExpectEqualEnds({&right.Await(), &again.Await()}, coordinator.ExpectEqualHashes(2));
}

TEST(RefusalTest, ADaemonWithStateRefusesAJobOfAnotherLayoutItself) {
  TestCoordinator coordinator(SmallRun(2, kRounds));
  Site one(coordinator.address(), 1, 1);
  Site two(coordinator.address(), 2, 1);
  Job right(one);
  Job first(two, {.quit = [](uint32_t, uint64_t round) { return round == 3; }});
  right.PauseBefore(6);
  first.Await();
  JobOptions options;
  options.model.columns = 256;
  Job wrong(two, options);
  const RankOutcome& rank = wrong.Await()[0];
  EXPECT_EQ(rank.status.code(), ISTHMUS_FAILED_PRECONDITION) << rank.status.ToString();
  EXPECT_THAT(rank.status.message(),
              AllOf(HasSubstr("group 2 holds the state of another layout: "), HasSubstr("weights"),
                    HasSubstr("128"), HasSubstr("256")));
  Job again(two);
  again.AwaitAttached();
  right.Resume();
  ExpectEqualEnds({&right.Await(), &again.Await()}, coordinator.ExpectEqualHashes(2));
}

TEST(RefusalTest, P5_OfTwoProcessesForOneGroupTheNewestWins) {
  CoordinatorServer::Options options = ServerOptions(SmallRun(2, kRounds));
  TestCoordinator coordinator(options);
  Site one(coordinator.address(), 1, 1);
  Site older(coordinator.address(), 2, 2);
  Job a(one);
  a.PauseBefore(6);
  Job before(older);
  before.PauseBefore(4);
  before.AwaitPaused();
  Eventually("group 1 has answered round 4",
             [&] { return coordinator.Group(1).buckets_received() == 4; });

  Site newer(coordinator.address(), 2, 1);
  Job after(newer);
  const Daemon::Ending ending = older.AwaitEnd();
  EXPECT_EQ(ending.code, DaemonExit::kFenced);
  EXPECT_THAT(ending.reason, HasSubstr("group 2: fenced, a newer process has registered for it"));
  before.Resume();
  for (const RankOutcome& rank : before.Await()) {
    EXPECT_EQ(rank.status.code(), ISTHMUS_ABORTED) << rank.status.ToString();
    EXPECT_THAT(rank.status.message(), HasSubstr("fenced"));
  }
  after.AwaitAttached();
  a.Resume();
  ExpectEqualEnds({&a.Await(), &after.Await()}, coordinator.ExpectEqualHashes(2));
  EXPECT_EQ(coordinator.Group(2).incarnation(), 2u);
  EXPECT_EQ(coordinator.Group(2).ranks(), 1u);
  EXPECT_FALSE(newer.daemon().Ended() && newer.AwaitEnd().code != DaemonExit::kOk);
}

}  // namespace
}  // namespace isthmus::e2e
