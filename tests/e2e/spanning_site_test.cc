// One replica group on two machines: a daemon that leads, one that follows, a job at each; ranks
// meet as on NCCL (tests/common/collectives/fake_nccl.h). Beside it a site of CPUs, which knows of
// nothing.
#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/common/collectives/fake_nccl.h"
#include "tests/e2e/harness.h"
#include "worker/site/follower.h"
#include "worker/step/gpu_ranks.h"

extern "C" int fake_cuda_open();

namespace isthmus::e2e {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

// The GPUs of one machine, played by the host.
struct Machine {
  static constexpr size_t kMemory = size_t{1} << 30;  // bytes of each GPU

  Machine(std::shared_ptr<FakeNccl> nccl, uint32_t count, size_t memory_bytes = kMemory)
      : connect(std::move(nccl)) {
    for (uint32_t rank = 0; rank < count; ++rank) {
      places.push_back({std::make_shared<HostDevice>(memory_bytes, HostWork::kByThread),
                        MakeHostGpuKernels(rank)});
    }
  }
  std::function<std::unique_ptr<LocalRanks>()> MakeRanks() const {
    return [*this] { return MakeGpuRanks(places, ConnectByNccl(connect)); };
  }
  std::vector<std::shared_ptr<Device>> Devices() const {
    std::vector<std::shared_ptr<Device>> devices;
    for (const GpuRankPlace& place : places) devices.push_back(place.device);
    return devices;
  }
  std::shared_ptr<FakeNccl> connect;
  std::vector<GpuRankPlace> places;
};

// The second machine of a site; `leader` is of its first.
class FollowerSite {
 public:
  FollowerSite(int leader_port, const Machine& machine, uint32_t number = 1)
      : ranks_(static_cast<uint32_t>(machine.places.size())), socket_(dir_.Path("jobs.sock")) {
    auto follower = Follower::Start({.leader = absl::StrCat("127.0.0.1:", leader_port),
                                     .machine = number,
                                     .ranks = ranks_,
                                     .make_ranks = machine.MakeRanks(),
                                     .jobs = {.socket_path = socket_,
                                              .ranks = ranks_,
                                              .name = absl::StrCat("machine ", number),
                                              .devices = machine.Devices()},
                                     .retry = absl::Milliseconds(20)});
    EXPECT_TRUE(follower.ok()) << follower.status();
    follower_ = *std::move(follower);
  }
  Follower& daemon() { return *follower_; }
  JobOptions For(JobOptions options) const {
    options.socket = socket_;
    options.ranks = ranks_;
    return options;
  }
  absl::Status AwaitEnd() {
    Eventually("the follower ends", [&] { return follower_->Ended().has_value(); });
    return *follower_->Ended();
  }

 private:
  const uint32_t ranks_;
  TempDir dir_;
  std::string socket_;
  std::unique_ptr<Follower> follower_;
};

// Group 1: one rank where it is led, two where it follows.
struct Spanning {
  static constexpr uint32_t kHere = 1;
  static constexpr uint32_t kThere = 2;

  // The second machine's ranks meet by `theirs`, if it is given, and have GPUs of so much memory.
  explicit Spanning(const std::string& coordinator_address,
                    const std::shared_ptr<FakeNccl>& theirs = nullptr,
                    size_t their_memory = Machine::kMemory)
      : coordinator(coordinator_address),
        nccl(std::make_shared<FakeNccl>()),
        here(nccl, kHere),
        there(theirs == nullptr ? nccl : theirs, kThere, their_memory) {
    Lead("127.0.0.1:0");
    follower = std::make_unique<FollowerSite>(leader->daemon().site_port(), there);
  }
  void Lead(const std::string& listen) {
    leader = std::make_unique<Site>(coordinator, 1, kHere, [&](Daemon::Options& options) {
      options.site = {.machines = 2, .listen = listen};
      options.make_ranks = here.MakeRanks();
      options.devices = here.Devices();
    });
  }

  const std::string coordinator;
  const std::shared_ptr<FakeNccl> nccl;
  const Machine here, there;
  std::unique_ptr<Site> leader;
  std::unique_ptr<FollowerSite> follower;
};

// A job of the group, at both machines. What the second brings of its own is not what all start
// from.
struct SpanningJob {
  explicit SpanningJob(Spanning& site, const JobOptions& options = {}, uint32_t brings = 9)
      : here(*site.leader, options), there(site.follower->For([&] {
          JobOptions theirs = options;
          theirs.initial_values_of = brings;
          return theirs;
        }())) {}
  void AwaitAttached() {
    here.AwaitAttached();
    there.AwaitAttached();
  }
  std::vector<RankOutcome> Await() {
    std::vector<RankOutcome> all = here.Await();
    for (const RankOutcome& rank : there.Await()) all.push_back(rank);
    return all;
  }
  Job here, there;
};

// Buckets of which every rank has a part; SmallRun()'s own are one unit each, of one rank.
RunSpec WideRun(uint32_t groups, uint64_t rounds) {
  RunSpec run = SmallRun(groups, rounds);
  run.bucket_length = 4 * kUnitLength;
  return run;
}

// Returns the state hash at the end of a run beside a CPU site.
uint64_t TrainOnTwoMachines(const RunSpec& run, const JobOptions& options = {}) {
  TestCoordinator coordinator(run);
  Spanning site(coordinator.address());
  Site cpu_site(coordinator.address(), 2, 1);
  SpanningJob job(site, options);
  Job cpu_job(cpu_site);
  const std::vector<RankOutcome> outcomes = job.Await();
  const uint64_t hash = coordinator.ExpectEqualHashes(2);
  ExpectEqualEnds({&outcomes, &cpu_job.Await()}, hash);
  EXPECT_EQ(coordinator.Group(1).ranks(), 3u);
  for (uint32_t rank = 0; rank < outcomes.size(); ++rank) {
    EXPECT_EQ(outcomes[rank].info.rank, rank);
    EXPECT_EQ(outcomes[rank].info.world_size, 3u);
    EXPECT_TRUE(outcomes[rank].initial == outcomes[0].initial) << rank;
    EXPECT_TRUE(outcomes[rank].table == outcomes[0].table) << rank;
  }
  EXPECT_EQ(site.leader->AwaitEnd().code, DaemonExit::kOk);
  site.leader->daemon().Stop();
  EXPECT_TRUE(site.follower->AwaitEnd().ok());
  return hash;
}

// The same three ranks in one daemon.
uint64_t TrainOnOneMachine(const RunSpec& run, const JobOptions& options = {}) {
  TestCoordinator coordinator(run);
  const Machine machine(std::make_shared<FakeNccl>(), 3);
  Site site(coordinator.address(), 1, 3, [&](Daemon::Options& o) {
    o.make_ranks = machine.MakeRanks();
    o.devices = machine.Devices();
  });
  Site cpu_site(coordinator.address(), 2, 1);
  Job job(site, options);
  Job cpu_job(cpu_site);
  ExpectEqualEnds({&job.Await(), &cpu_job.Await()});
  return coordinator.ExpectEqualHashes(2);
}

// Where ranks are changes nothing at all.
TEST(SpanningSiteTest, EndsWhereOneDaemonEnds) {
  for (const RunSpec& run : {SmallRun(2, 6), WideRun(2, 6)}) {
    EXPECT_EQ(TrainOnTwoMachines(run), TrainOnOneMachine(run));
  }
}

TEST(SpanningSiteTest, InOneBitWithAdamWAndAudits) {
  RunSpec run = WideRun(2, 6);
  run.format.all.values = ValueFormat::kOneBit;
  run.optimizer.kind = OptimizerKind::kAdamW;
  run.audit_rounds = 2;
  EXPECT_EQ(TrainOnTwoMachines(run), TrainOnOneMachine(run));
}

TEST(SpanningSiteTest, P29_LocalStepsAreForRanksOfOneMachine) {
  TestCoordinator coordinator(SmallRun(1, 6, Scheme::kLocal));
  Spanning site(coordinator.address());
  SpanningJob job(site);
  for (const RankOutcome& rank : job.Await()) {
    EXPECT_EQ(rank.status.code(), ISTHMUS_FAILED_PRECONDITION) << rank.status.ToString();
    EXPECT_THAT(rank.status.message(), HasSubstr("the run's scheme is local: expected the ranks of "
                                                 "one machine"));
  }
}

TEST(SpanningSiteTest, WithBuffersOnTheDevicesInBfloat16) {
  JobOptions options;
  options.memory = ISTHMUS_DEVICE_MEMORY;
  options.dtype = ISTHMUS_BFLOAT16;
  TestCoordinator coordinator(WideRun(1, 6));
  Spanning site(coordinator.address());
  SpanningJob job(site, options);
  const std::vector<RankOutcome> outcomes = job.Await();
  ExpectEqualEnds({&outcomes});
  EXPECT_EQ(fake_cuda_open(), 0);
}

// The first to have a state gives it, in the parts that its machines have.
TEST(SpanningSiteTest, GivesASnapshot) {
  RunSpec run = WideRun(1, 8);
  run.optimizer.kind = OptimizerKind::kAdamW;
  TestCoordinator coordinator(run);
  Spanning site(coordinator.address());
  SpanningJob job(site);
  job.here.PauseBefore(4);
  job.here.AwaitPaused();
  Site cpu_site(coordinator.address(), 2, 1);
  Job cpu_job(cpu_site);
  cpu_job.AwaitAttached();
  job.here.Resume();
  const std::vector<RankOutcome> outcomes = job.Await();
  ExpectEqualEnds({&outcomes, &cpu_job.Await()}, coordinator.ExpectEqualHashes(2));
  EXPECT_TRUE(cpu_job.Await()[0].table == outcomes[0].table);
}

TEST(SpanningSiteTest, TakesASnapshot) {
  RunSpec run = WideRun(1, 8);
  run.optimizer.kind = OptimizerKind::kAdamW;
  TestCoordinator coordinator(run);
  Site cpu_site(coordinator.address(), 2, 1);
  Job cpu_job(cpu_site);
  cpu_job.PauseBefore(4);
  cpu_job.AwaitPaused();
  Spanning site(coordinator.address());
  SpanningJob job(site);
  job.AwaitAttached();
  cpu_job.Resume();
  const std::vector<RankOutcome> outcomes = job.Await();
  ExpectEqualEnds({&outcomes, &cpu_job.Await()}, coordinator.ExpectEqualHashes(2));
  for (const RankOutcome& rank : outcomes) {
    EXPECT_TRUE(rank.initial == outcomes[0].initial);
    EXPECT_TRUE(rank.table == cpu_job.Await()[0].table);
  }
}

// What one rank of another machine computes can spoil a bucket for the whole group.
TEST(SpanningSiteTest, AbstainsForAGradientThatIsNoNumberAnywhere) {
  JobOptions options;
  options.edit = [](uint32_t rank, uint64_t round, client::Session& session) {
    if (rank == 2 && round == 3) {
      session.FlatGradients()[0] = std::numeric_limits<float>::quiet_NaN();
    }
  };
  TestCoordinator coordinator(SmallRun(2, 6));
  Spanning site(coordinator.address());
  Site cpu_site(coordinator.address(), 2, 1);
  SpanningJob job(site, options);
  Job cpu_job(cpu_site);
  const std::vector<RankOutcome> outcomes = job.Await();
  ExpectEqualEnds({&outcomes, &cpu_job.Await()}, coordinator.ExpectEqualHashes(2));
  EXPECT_EQ(coordinator.Status().abstentions(), 1u);
}

// --- losses
// ----------------------------------------------------------------------------------------

TEST(SpanningSiteTest, AJobLeavesOneMachineAndComesBack) {
  TestCoordinator coordinator(SmallRun(2, 10));
  Spanning site(coordinator.address());
  Site cpu_site(coordinator.address(), 2, 1);
  Job cpu_job(cpu_site);
  cpu_job.PauseBefore(9);
  {
    JobOptions options;
    options.quit = [](uint32_t rank, uint64_t round) { return rank == 1 && round >= 4; };
    SpanningJob job(site, options);
    EXPECT_EQ(job.here.Await()[0].status.code(), ISTHMUS_ABORTED);
    EXPECT_THAT(job.here.Await()[0].status.ToString(), HasSubstr("machine 1"));
    job.there.Await();
  }
  SpanningJob job(site);
  job.AwaitAttached();
  cpu_job.Resume();
  const std::vector<RankOutcome> outcomes = job.Await();
  ExpectEqualEnds({&outcomes, &cpu_job.Await()}, coordinator.ExpectEqualHashes(2));
}

// A part may be gone by the time the leader hears of it, and asks things of it.
TEST(SpanningSiteTest, JobsThatLeaveAtAnyMomentDoNoHarm) {
  TestCoordinator coordinator(SmallRun(1, 5));
  Spanning site(coordinator.address());
  for (int i = 0; i < 40; ++i) {
    JobOptions hasty;
    hasty.attach_timeout = absl::Milliseconds(1 + i / 4);
    hasty.quit = [](uint32_t, uint64_t) { return true; };
    SpanningJob(site, hasty).Await();
  }
  SpanningJob job(site);
  const std::vector<RankOutcome> outcomes = job.Await();
  ExpectEqualEnds({&outcomes});
}

// The group's incarnation ends; a new one gets the state from the other site.
TEST(SpanningSiteTest, AMachineIsLost) {
  TestCoordinator coordinator(SmallRun(2, 10));
  Spanning site(coordinator.address());
  Site cpu_site(coordinator.address(), 2, 1);
  Job cpu_job(cpu_site);
  cpu_job.PauseBefore(9);
  {
    SpanningJob job(site);
    job.here.PauseBefore(5);
    job.here.AwaitPaused();
    site.follower = nullptr;
    const Daemon::Ending ending = site.leader->AwaitEnd();
    EXPECT_EQ(ending.code, DaemonExit::kSiteLost);
    EXPECT_THAT(ending.reason, HasSubstr("machine 1 is gone"));
    job.here.Resume();
    EXPECT_EQ(job.here.Await()[0].status.code(), ISTHMUS_ABORTED);
  }
  site.Lead("127.0.0.1:0");
  site.follower = std::make_unique<FollowerSite>(site.leader->daemon().site_port(), site.there);
  SpanningJob job(site);
  job.AwaitAttached();
  cpu_job.Resume();
  const std::vector<RankOutcome> outcomes = job.Await();
  ExpectEqualEnds({&outcomes, &cpu_job.Await()}, coordinator.ExpectEqualHashes(2));
}

// A follower outlives its leader, and follows the next.
TEST(SpanningSiteTest, TheLeaderIsLost) {
  TestCoordinator coordinator(SmallRun(2, 10));
  Spanning site(coordinator.address());
  const std::string listen = absl::StrCat("127.0.0.1:", site.leader->daemon().site_port());
  Site cpu_site(coordinator.address(), 2, 1);
  Job cpu_job(cpu_site);
  cpu_job.PauseBefore(9);
  {
    SpanningJob job(site);
    job.there.PauseBefore(5);
    job.there.AwaitPaused();
    site.leader = nullptr;
    job.there.Resume();
    for (const RankOutcome& rank : job.there.Await()) {
      EXPECT_EQ(rank.status.code(), ISTHMUS_UNAVAILABLE) << rank.status.ToString();
    }
  }
  site.Lead(listen);
  SpanningJob job(site);
  job.AwaitAttached();
  cpu_job.Resume();
  const std::vector<RankOutcome> outcomes = job.Await();
  ExpectEqualEnds({&outcomes, &cpu_job.Await()}, coordinator.ExpectEqualHashes(2));
}

// Ranks that do not find each other keep nobody from leaving.
TEST(SpanningSiteTest, TheLeaderIsLostWhileRanksConnect) {
  TestCoordinator coordinator(SmallRun(1, 3));
  const auto elsewhere = std::make_shared<FakeNccl>();
  Spanning site(coordinator.address(), elsewhere);
  SpanningJob job(site);
  Eventually("both sides connect", [&] {
    return site.nccl->comms() == static_cast<int>(Spanning::kHere) &&
           elsewhere->comms() == static_cast<int>(Spanning::kThere);
  });
  site.leader = nullptr;
  EXPECT_EQ(job.here.Await()[0].status.code(), ISTHMUS_UNAVAILABLE);  // told before all else
  for (const RankOutcome& rank : job.there.Await()) {
    EXPECT_THAT(rank.status.code(), AnyOf(ISTHMUS_ABORTED, ISTHMUS_UNAVAILABLE))
        << rank.status.ToString();
  }
}

// --- what does not fit
// -----------------------------------------------------------------------------

TEST(SpanningSiteTest, RefusesAnotherModelOnAnotherMachine) {
  TestCoordinator coordinator(SmallRun(1, 3));
  Spanning site(coordinator.address());
  JobOptions other;
  other.model.rows = 61;
  Job here(*site.leader);
  Job there(site.follower->For(other));
  Eventually("one of them is refused", [&] { return here.Ended() || there.Ended(); });
  // Whichever came later; the other goes on with one of its own model.
  const bool was_here = here.Ended();
  for (const RankOutcome& rank : (was_here ? here : there).Await()) {
    EXPECT_EQ(rank.status.code(), ISTHMUS_FAILED_PRECONDITION);
    EXPECT_THAT(rank.status.ToString(), HasSubstr(was_here ? "layout unlike that of machine 1"
                                                           : "layout unlike that of machine 0"));
  }
  const auto second = was_here ? std::make_unique<Job>(*site.leader, other)
                               : std::make_unique<Job>(site.follower->For({}));
  std::vector<RankOutcome> outcomes = (was_here ? there : here).Await();
  for (const RankOutcome& rank : second->Await()) outcomes.push_back(rank);
  ExpectEqualEnds({&outcomes});
}

TEST(SpanningSiteTest, RefusesOtherRatesOnAnotherMachine) {
  TestCoordinator coordinator(SmallRun(1, 3));
  Spanning site(coordinator.address());
  Job here(*site.leader);
  JobOptions other;
  other.lr = {0.01f, 0.5f};
  Job there(site.follower->For(other));
  for (const RankOutcome& rank : there.Await()) {
    EXPECT_EQ(rank.status.code(), ISTHMUS_INVALID_ARGUMENT);
    EXPECT_THAT(rank.status.ToString(), HasSubstr("lr[1]: expected machine 0's 0.02, got 0.5"));
  }
  EXPECT_EQ(here.Await()[0].status.code(), ISTHMUS_ABORTED);
}

// Whichever of both comes to know first what befell it.
TEST(SpanningSiteTest, RefusesAJobThatDoesNotFitOnAnotherMachine) {
  TestCoordinator coordinator(SmallRun(1, 3));
  Spanning site(coordinator.address(), nullptr, 10'000);
  for (int attempt = 0; attempt < 5; ++attempt) {
    SpanningJob job(site);
    for (const RankOutcome& rank : job.Await()) {
      EXPECT_EQ(rank.status.code(), ISTHMUS_RESOURCE_EXHAUSTED);
      EXPECT_THAT(rank.status.ToString(), HasSubstr("machine 1: the state of "));
      EXPECT_THAT(rank.status.ToString(), HasSubstr("bytes needed, "));
    }
  }
  EXPECT_FALSE(site.follower->daemon().Ended().has_value());
}

TEST(SpanningSiteTest, RefusesAMachineThatItDoesNotHave) {
  TestCoordinator coordinator(SmallRun(1, 3));
  Spanning site(coordinator.address());
  FollowerSite third(site.leader->daemon().site_port(), site.there, 2);
  const absl::Status status = third.AwaitEnd();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("machine: expected 1 to 1, got 2"));
}

// Two that say they are the same: the second waits, and takes over when the first goes before all
// are there. (The site below never is: machine 2 does not come.)
TEST(SpanningSiteTest, TheSecondOfTwoThatAreOneMachineWaits) {
  TestCoordinator coordinator(SmallRun(1, 3));
  const auto nccl = std::make_shared<FakeNccl>();
  const Machine machine(nccl, 1);
  Site leader(coordinator.address(), 1, 1, [&](Daemon::Options& options) {
    options.site = {.machines = 3, .listen = "127.0.0.1:0"};
    options.make_ranks = machine.MakeRanks();
  });
  const int port = leader.daemon().site_port();
  auto first = std::make_unique<FollowerSite>(port, machine);
  FollowerSite second(port, machine);
  first = nullptr;
  FollowerSite other(port, machine, 2);
  Eventually("the site is whole", [&] { return coordinator.Group(1).ranks() == 3; });
  EXPECT_FALSE(second.daemon().Ended().has_value());
}

TEST(SpanningSiteTest, CpuRanksCannot) {
  TestCoordinator coordinator(SmallRun(1, 3));
  Spanning site(coordinator.address());
  Site cpus(coordinator.address(), 2, 1, [](Daemon::Options& options) {
    options.site = {.machines = 2, .listen = "127.0.0.1:0"};
  });
  FollowerSite follower(cpus.daemon().site_port(), site.there);
  Job here(cpus);
  Job there(follower.For({}));
  EXPECT_EQ(here.Await()[0].status.code(), ISTHMUS_FAILED_PRECONDITION);
  EXPECT_THAT(here.Await()[0].status.ToString(), HasSubstr("give each machine a group of its own"));
}

// Exit codes of the program, where ranks can never be connected: 2 for CPUs, 7 for want of NCCL.
TEST(SpanningSiteTest, TheProgramSaysSoAtOnce) {
  TempDir dir;
  const auto worker = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(),
                 {ISTHMUS_WORKER, "--socket", dir.Path("jobs.sock"), "--log-level", "off"});
    return Program(flags).Await();
  };
  EXPECT_EQ(worker({"--machines", "2", "--ranks", "cpu:2"}), 2);
  EXPECT_EQ(worker({"--leader", "127.0.0.1:1", "--machine", "1", "--ranks", "cpu:2"}), 2);
  EXPECT_EQ(worker({"--machines", "2", "--ranks", "host-gpu:2"}), 7);
  EXPECT_EQ(worker({"--leader", "127.0.0.1:1", "--ranks", "host-gpu:2"}), 2);  // --machine?
  EXPECT_EQ(worker({"--machine", "1", "--ranks", "host-gpu:2"}), 2);           // --leader?
}

}  // namespace
}  // namespace isthmus::e2e
