// A site of GPU ranks and a site of CPU ranks train one model and hold the same bits. The host is
// in the GPU's place here, for the daemon (common/device/host_device.h) and for jobs that have
// their buffers there (tests/support/fake_cuda.cc); the same with GPUs is in tests/gpu.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include "tests/e2e/harness.h"
#include "tests/e2e/local_jobs.h"
#include "worker/step/rank_choice.h"

extern "C" int fake_cuda_open();

namespace isthmus::e2e {
namespace {

using ::testing::HasSubstr;

// As `isthmus-worker --ranks host-gpu:N`.
void OnGpus(Daemon::Options& options) {
  const auto places = OpenGpuPlaces({.kind = RankChoice::Kind::kHostGpu, .count = options.ranks});
  for (const GpuRankPlace& place : places.value()) options.devices.push_back(place.device);
  options.make_ranks = [places = places.value()] { return MakeGpuRanks(places); };
}

// Returns the state hash at the end.
uint64_t GpusAndCpusTrain(const RunSpec& run, uint32_t gpus, uint32_t cpus,
                          const JobOptions& on_gpu = {}) {
  TestCoordinator coordinator(run);
  Site gpu_site(coordinator.address(), 1, gpus, OnGpus);
  Site cpu_site(coordinator.address(), 2, cpus);
  Job gpu_job(gpu_site, on_gpu);
  Job cpu_job(cpu_site);
  const auto& on_gpus = gpu_job.Await();
  const auto& on_cpus = cpu_job.Await();
  const uint64_t hash = coordinator.ExpectEqualHashes(2);
  ExpectEqualEnds({&on_gpus, &on_cpus}, hash);
  EXPECT_EQ(coordinator.Status().contributions_merged(), run.rounds * 4 * 2);
  return hash;
}

TEST(GpuSiteTest, GpuRanksAndCpuRanksEndWithTheSameBits) {
  GpusAndCpusTrain(SmallRun(2, 6), 1, 1);
  GpusAndCpusTrain(SmallRun(2, 6), 2, 3);
}

TEST(GpuSiteTest, InOneBitWithAdamW) {
  RunSpec run = SmallRun(2, 6);
  run.format.all.values = ValueFormat::kOneBit;
  run.optimizer.kind = OptimizerKind::kAdamW;
  GpusAndCpusTrain(run, 2, 1);
}

// Where a rank's part of the arithmetic happens changes nothing at all.
TEST(GpuSiteTest, TheRunEndsWhereOneOfCpusEnds) {
  TestCoordinator coordinator(SmallRun(2, 6));
  Site one(coordinator.address(), 1, 2);
  Site two(coordinator.address(), 2, 1);
  Job job_one(one);
  Job job_two(two);
  job_one.Await();
  job_two.Await();
  EXPECT_EQ(GpusAndCpusTrain(SmallRun(2, 6), 2, 1), coordinator.ExpectEqualHashes(2));
}

// A job that comes back finds the model where the GPUs have it.
TEST(GpuSiteTest, AJobDiesAndComesBack) {
  TestCoordinator coordinator(SmallRun(2, 10));
  Site gpu_site(coordinator.address(), 1, 1, OnGpus);
  Site cpu_site(coordinator.address(), 2, 1);
  Job cpu_job(cpu_site);
  cpu_job.PauseBefore(9);
  JobOptions options;
  options.quit = [](uint32_t, uint64_t round) { return round >= 4; };
  Job first(gpu_site, options);
  first.Await();
  Job second(gpu_site);
  second.AwaitAttached();
  cpu_job.Resume();
  ExpectEqualEnds({&second.Await(), &cpu_job.Await()}, coordinator.ExpectEqualHashes(2));
}

// --- buffers on the GPU ------------------------------------------------------------------------

JobOptions OnDevice() {
  JobOptions options;
  options.memory = ISTHMUS_DEVICE_MEMORY;
  return options;
}

// Where the job's buffers are changes nothing, and nothing stays open.
TEST(GpuMemoryTest, AJobWithItsBuffersThere) {
  for (const uint32_t gpus : {1u, 2u}) {
    const uint64_t host = GpusAndCpusTrain(SmallRun(2, 6), gpus, 1);
    EXPECT_EQ(GpusAndCpusTrain(SmallRun(2, 6), gpus, 1, OnDevice()), host);
    EXPECT_EQ(fake_cuda_open(), 0);
  }
}

// Every step's parameters are those of the masters, and gradients are read before they change: what
// the daemon has queued is waited for, and nothing else.
TEST(GpuMemoryTest, EveryStepSeesItsParameters) {
  const auto parameters_by_round = [](const JobOptions& how) {
    TestCoordinator coordinator(SmallRun(1, 20));
    Site site(coordinator.address(), 1, 1, OnGpus);
    std::vector<std::vector<float>> seen;
    JobOptions options = how;
    options.edit = [&](uint32_t, uint64_t, client::Session& session) {
      seen.emplace_back(session.FlatParameters().begin(), session.FlatParameters().end());
    };
    Job job(site, options);
    const std::vector<float> end = job.Await()[0].parameters;
    seen.push_back(end);
    return seen;
  };
  const auto host = parameters_by_round({});
  EXPECT_GE(host.size(), 20u);
  EXPECT_TRUE(parameters_by_round(OnDevice()) == host);
}

// A step without a gradient: nothing comes in, parameters are new all the same.
TEST(GpuMemoryTest, ASkippedStep) {
  TestCoordinator coordinator(SmallRun(2, 8));
  Site gpu_site(coordinator.address(), 1, 2, OnGpus);
  Site cpu_site(coordinator.address(), 2, 1);
  JobOptions options = OnDevice();
  options.skip = [](uint32_t rank, uint64_t round) { return rank == 1 && round % 3 == 0; };
  Job gpu_job(gpu_site, options);
  Job cpu_job(cpu_site);
  ExpectEqualEnds({&gpu_job.Await(), &cpu_job.Await()}, coordinator.ExpectEqualHashes(2));
}

TEST(GpuMemoryTest, AJobDiesAndComesBackInOtherMemory) {
  TestCoordinator coordinator(SmallRun(2, 10));
  Site gpu_site(coordinator.address(), 1, 1, OnGpus);
  Site cpu_site(coordinator.address(), 2, 1);
  Job cpu_job(cpu_site);
  cpu_job.PauseBefore(9);
  JobOptions options = OnDevice();
  options.quit = [](uint32_t, uint64_t round) { return round >= 4; };
  Job first(gpu_site, options);
  first.Await();
  options = JobOptions();
  options.quit = [](uint32_t, uint64_t round) { return round >= 7; };
  Job second(gpu_site, options);
  second.Await();
  Job third(gpu_site, OnDevice());
  third.AwaitAttached();
  cpu_job.Resume();
  ExpectEqualEnds({&third.Await(), &cpu_job.Await()}, coordinator.ExpectEqualHashes(2));
}

// What the masters are is the same for all sites; a bfloat16 job sees it rounded.
void Bfloat16JobTrains(const std::function<void(Daemon::Options&)>& edit, isthmus_memory memory) {
  TestCoordinator coordinator(SmallRun(2, 6));
  Site half_site(coordinator.address(), 1, 2, edit);
  Site cpu_site(coordinator.address(), 2, 1);
  JobOptions options;
  options.memory = memory;
  options.dtype = ISTHMUS_BFLOAT16;
  Job half_job(half_site, options);
  Job cpu_job(cpu_site);
  const auto& halves = half_job.Await();
  const auto& floats = cpu_job.Await();
  ExpectEqualEnds({&floats}, coordinator.ExpectEqualHashes(2));
  for (const RankOutcome& rank : halves) {
    ASSERT_TRUE(rank.status.end()) << rank.status.ToString();
    for (size_t i = 0; i < rank.parameters.size(); ++i) {
      ASSERT_NEAR(rank.parameters[i], floats[0].parameters[i],
                  std::fabs(floats[0].parameters[i]) / 256)
          << i;
      ASSERT_EQ(rank.initial[i], floats[0].initial[i]) << "group 1's initial values are rounded";
    }
  }
}

TEST(Bfloat16Test, OnCpus) { Bfloat16JobTrains(nullptr, ISTHMUS_HOST_MEMORY); }
TEST(Bfloat16Test, OnGpusWithTheHostsMemory) { Bfloat16JobTrains(OnGpus, ISTHMUS_HOST_MEMORY); }
TEST(Bfloat16Test, OnGpusWithTheirMemory) { Bfloat16JobTrains(OnGpus, ISTHMUS_DEVICE_MEMORY); }

// --- jobs that step by themselves (P29) ----------------------------------------------------------

LocalSite Gpus(uint32_t ranks, isthmus_memory memory = ISTHMUS_HOST_MEMORY) {
  return {ranks, OnGpus, memory};
}

// With overlap and without, forwarded to few and quantized again for many: where CPU sites alone
// would be.
TEST(LocalStepsTest, P29_GpuSitesAndCpuSitesEndAtTheAnchorOfCpusAlone) {
  for (const ValueFormat values : {ValueFormat::kTwoBit, ValueFormat::kBf16}) {
    for (const uint32_t overlap : {0u, 1u}) {
      RunSpec run = LocalRun(2, values);
      run.format.overlap = overlap;
      const uint64_t hash = TrainLocalSites(run, {2, 1});
      EXPECT_EQ(TrainLocalSites(run, {Gpus(2), 1}), hash);
      EXPECT_EQ(TrainLocalSites(run, {Gpus(2, ISTHMUS_DEVICE_MEMORY), Gpus(1)}), hash);
    }
  }
  const RunSpec many = LocalRun(4);
  EXPECT_EQ(TrainLocalSites(many, {Gpus(1, ISTHMUS_DEVICE_MEMORY), 2, Gpus(3), 1}),
            TrainLocalSites(many, {1, 2, 3, 1}));
  EXPECT_EQ(fake_cuda_open(), 0);
}

TEST(LocalStepsTest, P29_SoDoJobsInBfloat16) {
  RunSpec run = LocalRun(2);
  run.format.overlap = 2;
  LocalJobOptions options;
  options.dtype = ISTHMUS_BFLOAT16;
  const uint64_t hash = TrainLocalSites(run, {1, 2}, options);
  EXPECT_EQ(TrainLocalSites(run, {Gpus(1, ISTHMUS_DEVICE_MEMORY), Gpus(2)}, options), hash);
}

// What is due where is told through memory of the host, whatever else a job has on its GPU.
TEST(LocalStepsTest, P29_GpuSitesStopWhereTheCoordinatorSays) {
  for (const uint32_t overlap : {0u, 2u}) {
    RunSpec run = LocalRun(2);
    run.rounds = 3;
    run.format.every = {.steps = 0, .millis = 20};
    run.format.overlap = overlap;
    TrainLocalSites(run, {Gpus(3, ISTHMUS_DEVICE_MEMORY), 1});
  }
}

// --- what cannot be ----------------------------------------------------------------------------

TEST(GpuMemoryTest, TheAnchorIsReadInTheHostsMemoryOnly) {
  LocalJobOptions options;
  options.edit = [](uint32_t, uint64_t step, client::Session& session) {
    if (step != 1) return;
    const std::vector<void*> places(Model().Tensors(1).size());
    const auto round = session.ReadAnchor(places);
    EXPECT_EQ(round.status().code(), ISTHMUS_FAILED_PRECONDITION);
    EXPECT_THAT(round.status().message(), HasSubstr("expected parameters in host memory"));
  };
  TrainLocalSites(LocalRun(1), {Gpus(1, ISTHMUS_DEVICE_MEMORY)}, options);
}

client::Status AttachTo(const Site& site, isthmus_memory memory) {
  const Model model;
  return client::Session::Attach(
             {.socket_path = site.socket(), .timeout_seconds = 30, .memory = memory},
             model.Tensors(1))
      .status();
}

TEST(GpuMemoryTest, ADaemonOfCpusHasNone) {
  TestCoordinator coordinator(SmallRun(1, 1));
  Site site(coordinator.address(), 1, 1);
  const client::Status status = AttachTo(site, ISTHMUS_DEVICE_MEMORY);
  EXPECT_EQ(status.code(), ISTHMUS_FAILED_PRECONDITION);
  EXPECT_THAT(status.message(),
              HasSubstr("expected the host's, since the daemon's ranks are CPUs"));
}

TEST(GpuMemoryTest, WhatTheDriverRefusesIsToldInWords) {
  TestCoordinator coordinator(SmallRun(1, 1));
  Site site(coordinator.address(), 1, 1, OnGpus);
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"no_init", "CUDA: cuInit: CUDA_ERROR_INVALID_VALUE"},
      {"no_device", "is none of the 0 that this process sees (CUDA_VISIBLE_DEVICES?)"},
      {"no_map", "CUDA: cuIpcOpenMemHandle: CUDA_ERROR_MAP_FAILED"}};
  for (const auto& [told, words] : cases) {
    setenv("FAKE_CUDA", told, 1);
    const client::Status status = AttachTo(site, ISTHMUS_DEVICE_MEMORY);
    unsetenv("FAKE_CUDA");
    EXPECT_NE(status.code(), ISTHMUS_OK);
    EXPECT_THAT(status.message(), HasSubstr(words));
    EXPECT_EQ(fake_cuda_open(), 0);
  }
  // The daemon is as it was.
  Job job(site, OnDevice());
  EXPECT_TRUE(job.Await()[0].status.end());
}

}  // namespace
}  // namespace isthmus::e2e
