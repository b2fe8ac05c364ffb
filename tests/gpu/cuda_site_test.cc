// A site on a GPU and a site of CPUs train one model over real gRPC and hold the same bits: with
// jobs in the host's memory, and with jobs that have their buffers on the GPU (cuda_job.cu), which
// attach by CUDA IPC from processes of their own.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>

#include "common/collectives/nccl.h"
#include "tests/e2e/local_jobs.h"
#include "tests/gpu/cuda_main.h"
#include "worker/step/rank_choice.h"

namespace isthmus::e2e {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// `ranks` as --ranks has it.
std::function<void(Daemon::Options&)> On(const std::string& ranks) {
  return [ranks](Daemon::Options& options) {
    const RankChoice choice = ParseRankChoice(ranks).value();
    const auto places = OpenGpuPlaces(choice).value();
    std::string how;
    for (const GpuRankPlace& place : places) options.devices.push_back(place.device);
    options.make_ranks = [places, connect = ChooseConnection(choice, places.size(), false, &how)] {
      return MakeGpuRanks(places, connect);
    };
  };
}

// A program of this test's folder, or of its sibling bin/.
std::string Beside(const char* name) {
  const auto folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const auto here = folder / name;
  return std::filesystem::exists(here) ? here : folder.parent_path() / "bin" / name;
}

// A worker in a process of its own, as deployed: a GPU's memory is shared between processes only.
class WorkerProcess {
 public:
  explicit WorkerProcess(const std::vector<std::string>& flags)
      : socket_(dir_.Path("jobs.sock")), program_([&] {
          std::vector<std::string> argv = {Beside("isthmus-worker"), "--socket", socket_,
                                           "--log-level", "error"};
          argv.insert(argv.end(), flags.begin(), flags.end());
          return argv;
        }()) {
    Eventually("the worker's socket", [&] { return ::access(socket_.c_str(), F_OK) == 0; });
  }
  WorkerProcess(const std::string& coordinator, uint32_t group, const std::string& ranks)
      : WorkerProcess(
            {"--coordinator", coordinator, "--group", std::to_string(group), "--ranks", ranks}) {}
  const std::string& socket() const { return socket_; }
  Program& program() { return program_; }

 private:
  TempDir dir_;
  const std::string socket_;
  Program program_;
};

std::vector<std::string> JobAt(const WorkerProcess& worker,
                               const std::vector<std::string>& more = {}) {
  std::vector<std::string> argv = {Beside("cuda_job"), "--socket", worker.socket()};
  argv.insert(argv.end(), more.begin(), more.end());
  return argv;
}

TEST(CudaSiteTest, JobsInTheHostsMemory) {
  for (const std::string gpus : {"cuda:0", "cuda:0,0"}) {
    TestCoordinator coordinator(SmallRun(2, 20));
    Site gpu_site(coordinator.address(), 1, gpus == "cuda:0" ? 1 : 2, On(gpus));
    Site cpu_site(coordinator.address(), 2, 2);
    Job gpu_job(gpu_site);
    Job cpu_job(cpu_site);
    ExpectEqualEnds({&gpu_job.Await(), &cpu_job.Await()}, coordinator.ExpectEqualHashes(2));
  }
}

TEST(CudaSiteTest, OneBitAdamWAndBfloat16Jobs) {
  RunSpec run = SmallRun(2, 20);
  run.format.all.values = ValueFormat::kOneBit;
  run.optimizer.kind = OptimizerKind::kAdamW;
  TestCoordinator coordinator(run);
  Site gpu_site(coordinator.address(), 1, 1, On("cuda:0"));
  Site cpu_site(coordinator.address(), 2, 1);
  JobOptions options;
  options.dtype = ISTHMUS_BFLOAT16;
  Job gpu_job(gpu_site, options);
  Job cpu_job(cpu_site);
  EXPECT_TRUE(gpu_job.Await()[0].status.end());
  ExpectEqualEnds({&cpu_job.Await()}, coordinator.ExpectEqualHashes(2));
}

// Two sites of the same GPU, each with a job in its memory; equal states, and jobs that see the
// same.
void JobsOnTheGpu(const std::vector<std::string>& flags, const RunSpec& run = SmallRun(2, 60)) {
  TestCoordinator coordinator(run);
  WorkerProcess one(coordinator.address(), 1, "cuda:0");
  WorkerProcess two(coordinator.address(), 2, "cuda:0");
  Program job_one(JobAt(one, flags));
  Program job_two(JobAt(two, flags));
  const std::string seen = job_one.ReadLine();
  EXPECT_THAT(seen, StartsWith("parameters "));
  EXPECT_THAT(seen, HasSubstr("rounds " + std::to_string(run.rounds)));
  EXPECT_EQ(job_two.ReadLine(), seen);
  EXPECT_EQ(job_one.Await(), 0);
  EXPECT_EQ(job_two.Await(), 0);
  coordinator.ExpectEqualHashes(2);
}

TEST(CudaSiteTest, JobsWithTheirBuffersOnTheGpu) { JobsOnTheGpu({}); }
TEST(CudaSiteTest, JobsThatAreSlowOnTheGpu) { JobsOnTheGpu({"--delay-us", "5000"}); }
TEST(CudaSiteTest, JobsInBfloat16OnTheGpu) { JobsOnTheGpu({"--bf16"}); }

// --- jobs that step by themselves

TEST(CudaSiteTest, P29_LocalStepsEndAtTheAnchorOfCpusAlone) {
  for (const uint32_t overlap : {0u, 1u}) {
    RunSpec run = LocalRun(2);
    run.format.overlap = overlap;
    const uint64_t hash = TrainLocalSites(run, {2, 1});
    EXPECT_EQ(TrainLocalSites(run, {LocalSite(2, On("cuda:0,0")), 1}), hash);
  }
}

TEST(CudaSiteTest, P29_JobsThatStepByThemselvesOnTheGpu) {
  RunSpec run = LocalRun(2);
  run.rounds = 20;
  for (const uint32_t overlap : {0u, 2u}) {
    run.format.overlap = overlap;
    JobsOnTheGpu({"--own-optimizer"}, run);
    JobsOnTheGpu({"--own-optimizer", "--bf16", "--delay-us", "2000"}, run);
  }
}

// The order of streams is all that keeps gradients and parameters apart: however long the job
// takes, it trains the same.
TEST(CudaSiteTest, TheJobsPaceChangesNothing) {
  std::string seen[2];
  for (int i = 0; i < 2; ++i) {
    TestCoordinator coordinator(SmallRun(1, 60));
    WorkerProcess worker(coordinator.address(), 1, "cuda:0");
    Program job(JobAt(worker, {"--delay-us", i == 0 ? "0" : "3000"}));
    seen[i] = job.ReadLine();
    EXPECT_EQ(job.Await(), 0);
  }
  EXPECT_EQ(seen[0], seen[1]);
}

TEST(CudaSiteTest, AJobIsKilledAndAnotherGoesOn) {
  TestCoordinator coordinator(SmallRun(1, 500));
  WorkerProcess worker(coordinator.address(), 1, "cuda:0");
  {
    Program job(JobAt(worker, {"--delay-us", "2000"}));
    coordinator.AwaitRound(50);
    job.Signal(SIGKILL);
    job.Await();
  }
  Program next(JobAt(worker, {"--delay-us", "0"}));
  EXPECT_THAT(next.ReadLine(), HasSubstr("rounds 500"));
  EXPECT_EQ(next.Await(), 0);
}

// --- a group on two machines
// -----------------------------------------------------------------------

int FreePort() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ::close(fd);
  return ntohs(address.sin_port);
}

// Two daemons share the GPU; to NCCL each is another host, as in nccl_pair_test.cc.
TEST(CudaSiteTest, TwoDaemonsAreOneGroup) {
  if (!OpenNccl().ok()) GTEST_SKIP() << OpenNccl().status().message();
  ::setenv("NCCL_SOCKET_IFNAME", "lo", 1);
  ::setenv("NCCL_IB_DISABLE", "1", 1);
  TestCoordinator coordinator(SmallRun(2, 20));
  const std::string listen = "127.0.0.1:" + std::to_string(FreePort());
  ::setenv("NCCL_HOSTID", "isthmus-a", 1);
  WorkerProcess leader({"--coordinator", coordinator.address(), "--group", "1", "--ranks", "cuda:0",
                        "--machines", "2", "--listen", listen});
  ::setenv("NCCL_HOSTID", "isthmus-b", 1);
  WorkerProcess follower({"--leader", listen, "--machine", "1", "--ranks", "cuda:0"});
  ::unsetenv("NCCL_HOSTID");
  Site cpu_site(coordinator.address(), 2, 2);
  JobOptions options;
  options.socket = leader.socket();
  Job here(options);
  options.socket = follower.socket();
  Job there(options);
  Job cpu_job(cpu_site);
  ExpectEqualEnds({&here.Await(), &there.Await(), &cpu_job.Await()},
                  coordinator.ExpectEqualHashes(2));
  EXPECT_EQ(there.Await()[0].info.rank, 1u);
  EXPECT_EQ(leader.program().Await(), 0);
  EXPECT_EQ(follower.program().Await(), 0);
}

}  // namespace
}  // namespace isthmus::e2e

int main(int argc, char** argv) { return isthmus::RunCudaTests(argc, argv); }
