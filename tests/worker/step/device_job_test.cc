// Jobs whose buffers are on the ranks' devices: what they train, and what becomes of their
// unfinished work when they die.
#include <gtest/gtest.h>

#include <atomic>

#include "common/collectives/element_copies.h"
#include "common/device/host_device.h"
#include "tests/worker/step/test_group.h"
#include "worker/step/gpu_ranks.h"

namespace isthmus {
namespace {

// Memory and events of a device that the host plays; addressed as the host's.
class DeviceJob : public JobSession {
 public:
  DeviceJob(Layout layout, uint32_t ranks, DType dtype = DType::kFloat32,
            bool own_optimizer = false)
      : layout_(std::move(layout)), dtype_(dtype), own_optimizer_(own_optimizer) {
    const size_t bytes = layout_.length() * SizeOf(dtype);
    const size_t gradient_bytes = own_optimizer ? 0 : bytes;
    for (uint32_t r = 0; r < ranks; ++r) {
      ranks_.push_back({device_.AllocateShared(bytes).value(),
                        device_.AllocateShared(gradient_bytes + sizeof(uint32_t)).value(),
                        device_.MakeSharedEvent().value(), device_.MakeSharedEvent().value(),
                        std::vector<std::byte>(layout_.constants_bytes())});
    }
  }
  uint64_t id() const override { return 1; }
  const Layout& layout() const override { return layout_; }
  uint32_t ranks() const override { return static_cast<uint32_t>(ranks_.size()); }
  JobMemory memory() const override { return JobMemory::kDevice; }
  bool own_optimizer() const override { return own_optimizer_; }
  bool gone() const override { return gone_; }
  Elements parameters(uint32_t rank) override { return Of(ranks_[rank].parameters); }
  Elements gradients(uint32_t rank) override {
    return own_optimizer_ ? Elements(dtype_, nullptr, 0) : Of(ranks_[rank].gradients);
  }
  std::span<std::byte> constants(uint32_t rank) override { return ranks_[rank].constants; }
  SharedDeviceEvent& gradients_ready(uint32_t rank) override {
    return *ranks_[rank].gradients_ready;
  }
  SharedDeviceEvent& parameters_ready(uint32_t rank) override {
    return *ranks_[rank].parameters_ready;
  }

  const uint32_t* gradients_mark(uint32_t rank) override { return Mark(rank); }
  uint32_t steps() const override { return steps_; }
  JobPace* pace(uint32_t) override { return nullptr; }

  // Of every rank but `torn`, what makes the gradients has been done.
  void BeginStep(uint32_t torn) {
    ++steps_;
    for (uint32_t rank = 0; rank < ranks(); ++rank) {
      if (rank != torn) *Mark(rank) = steps_;
    }
  }
  // The job's side of gradients_ready.
  HostSharedFile OpenGradientsReady(uint32_t rank) {
    return HostSharedFile::Open(ranks_[rank].gradients_ready->handle().data());
  }
  void Die() { gone_ = true; }

 private:
  struct Rank {
    SharedDeviceMemory parameters, gradients;
    std::unique_ptr<SharedDeviceEvent> gradients_ready, parameters_ready;
    std::vector<std::byte> constants;
  };
  uint32_t* Mark(uint32_t rank) {
    return reinterpret_cast<uint32_t*>(ranks_[rank].gradients.memory.as<std::byte>() +
                                       gradients(rank).size_bytes());
  }
  Elements Of(const SharedDeviceMemory& shared) const {
    return {dtype_, shared.memory.data(), layout_.length()};
  }

  const Layout layout_;
  const DType dtype_;
  const bool own_optimizer_;
  HostDevice device_;
  std::vector<Rank> ranks_;
  std::atomic<bool> gone_ = false;
  std::atomic<uint32_t> steps_ = 0;
};

void ProcessAll(TestGroup& group, const std::shared_ptr<JobSession>& job, Round round) {
  for (uint32_t b = 0; b < group.pipeline.buckets().count(); ++b) {
    group.pipeline.Process(job, round, BucketIndex(b), true, {.lr = 0.1f});
  }
}

// One round of a group alone, its job's gradients `gradient` at every rank; the hash after it.
uint64_t TrainOneRound(TestGroup& group, const std::shared_ptr<JobSession>& job,
                       const FloatVector& initial, const FloatVector& gradient) {
  CopyFromFloats(initial, job->parameters(0));
  group.pipeline.Adopt(job);
  group.pipeline.Load(job);
  group.Await();
  for (uint32_t r = 0; r < job->ranks(); ++r) CopyFromFloats(gradient, job->gradients(r));
  ProcessAll(group, job, Round(1));
  group.Await();
  for (uint32_t b = 0; b < group.pipeline.buckets().count(); ++b) {
    group.pipeline.Apply(MakeUpdate({&group}, group, Round(1), BucketIndex(b)), Credit::kMerged,
                         job);
  }
  group.Await();
  return group.Hash();
}

TEST(DeviceJobTest, TrainsAsInTheHostsMemory) {
  for (const uint32_t ranks : {1u, 2u, 3u}) {
    const Layout layout = MixedLayout();
    const FloatVector initial = CoarseVector(1, layout), gradient = CoarseVector(2, layout);
    TestGroup on_host(ranks, DemoRun(), layout);
    const uint64_t expected = TrainOneRound(on_host, on_host.job, initial, gradient);
    TestGroup on_device(ranks, DemoRun(), layout);
    const auto job = std::make_shared<DeviceJob>(layout, ranks);
    EXPECT_EQ(TrainOneRound(on_device, job, initial, gradient), expected);
    for (uint32_t r = 0; r < ranks; ++r) {
      EXPECT_TRUE(job->parameters_ready(r).Done());
      EXPECT_TRUE(
          std::ranges::equal(job->parameters(r).floats(), on_host.job->parameters(0).floats()));
    }
    on_device.pipeline.Release();
    on_device.Await();
    EXPECT_EQ(job.use_count(), 1) << "nothing holds on to the job's memory";
  }
}

// Coarse numbers have few enough digits for a bfloat16, where they are small.
TEST(DeviceJobTest, Bfloat16IsRoundedOnTheWayOutOnly) {
  const Layout layout = MixedLayout();
  const FloatVector initial(layout.length(), 0.5f);
  FloatVector gradient(layout.length());
  for (size_t i = 0; i < gradient.size(); ++i) gradient[i] = static_cast<float>(i % 5) - 2.0f;
  for (const uint32_t ranks : {1u, 3u}) {
    TestGroup on_host(ranks, DemoRun(), layout);
    const uint64_t expected = TrainOneRound(on_host, on_host.job, initial, gradient);
    TestGroup on_device(ranks, DemoRun(), layout);
    const auto job = std::make_shared<DeviceJob>(layout, ranks, DType::kBFloat16);
    EXPECT_EQ(TrainOneRound(on_device, job, initial, gradient), expected);
    const std::span<const float> masters = on_host.job->parameters(0).floats();
    for (uint32_t r = 0; r < ranks; ++r) {
      const std::span<const uint16_t> seen = job->parameters(r).halves();
      for (size_t i = 0; i < masters.size(); ++i) ASSERT_EQ(seen[i], ToBfloat16(masters[i])) << i;
    }
  }
}

// What a dead process had queued on its GPU may never be done: its gradient is given up, at every
// rank alike, and the pipeline goes on.
TEST(DeviceJobTest, AJobThatDiesBeforeItsWorkIsDoneIsGivenUp) {
  const Layout layout = MixedLayout();
  TestGroup group(2, DemoRun(), layout);
  const auto job = std::make_shared<DeviceJob>(layout, 2);
  group.pipeline.Adopt(job);
  group.pipeline.Load(job);
  group.Await();
  const HostSharedFile file = job->OpenGradientsReady(1);
  RecordShared(*static_cast<HostSharedCounts*>(file.data()));  // and never gets there
  ProcessAll(group, job, Round(1));
  job->Die();
  group.Await();
  const uint32_t buckets = group.pipeline.buckets().count();
  EXPECT_EQ(group.events.non_finite().size(), buckets);
  for (uint32_t b = 0; b < buckets; ++b) {
    EXPECT_TRUE(group.events.parts(Round(1), BucketIndex(b)).empty());
  }
  EXPECT_TRUE(group.events.failures().empty());

  const auto next = std::make_shared<DeviceJob>(layout, 2);
  group.pipeline.Load(next);
  ProcessAll(group, next, Round(1));
  group.Await();
  EXPECT_EQ(group.events.parts(Round(1), BucketIndex(0)).size(), 2u);
}

// A process that is killed in a kernel takes its context along, and its event is done then. The
// mark behind the gradients, or of the job's own step, says that the work is not; at a rank that
// has no part of the bucket, too.
void ExpectUnmarkedIsGivenUp(const RunSpec& run, DType dtype, uint32_t ranks, uint32_t torn) {
  constexpr uint32_t kNone = 99;
  TestGroup group(ranks, run, TinyLayout());
  const auto job =
      std::make_shared<DeviceJob>(TinyLayout(), ranks, dtype, PolicyOf(run).job_steps());
  group.pipeline.Adopt(job);
  group.pipeline.Load(job);
  group.Await();
  job->BeginStep(kNone);
  ProcessAll(group, job, Round(1));
  group.Await();
  EXPECT_TRUE(group.events.non_finite().empty());
  job->BeginStep(torn);
  ProcessAll(group, job, Round(2));
  group.Await();
  EXPECT_EQ(group.events.non_finite().size(), 1u) << ranks << " ranks, of them " << torn;
  EXPECT_TRUE(group.events.parts(Round(2), BucketIndex(0)).empty());
  EXPECT_TRUE(group.events.failures().empty());
}

TEST(DeviceJobTest, WhatHasNoMarkIsGivenUp) {
  for (const RunSpec& run : {DemoRun(), SchemeRun(Scheme::kLocal)}) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      for (const uint32_t ranks : {1u, 2u}) {
        for (uint32_t torn = 0; torn < ranks; ++torn) {
          ExpectUnmarkedIsGivenUp(run, dtype, ranks, torn);
        }
      }
    }
  }
}

// What a process no longer maps is freed where that holds up nobody: between two steps.
TEST(DeviceJobTest, BetweenStepsWhatIsLeftIsFreed) {
  TestGroup group(2, DemoRun(), MixedLayout());
  const auto job = std::make_shared<DeviceJob>(MixedLayout(), 2);
  group.pipeline.Adopt(job);
  group.pipeline.Load(job);
  group.Await();
  const std::vector<std::shared_ptr<Device>> devices = TestDevices();
  ASSERT_EQ(devices.size(), 2u);
  for (const auto& device : devices) device->FreeLater(device->Allocate(16).value());
  ProcessAll(group, job, Round(1));
  group.Await();
  for (const auto& device : devices) EXPECT_FALSE(device->FreeLeft());
}

// Until its work is done the job is waited for, however late.
TEST(DeviceJobTest, GradientsAreNotReadBeforeTheyAreDone) {
  const Layout layout = TinyLayout();
  const FloatVector gradient = CoarseVector(3, layout);
  TestGroup expected(1, DemoRun(), layout);
  TrainOneRound(expected, expected.job, FloatVector(layout.length()), gradient);
  TestGroup group(1, DemoRun(), layout);
  const auto job = std::make_shared<DeviceJob>(layout, 1);
  group.pipeline.Adopt(job);
  group.pipeline.Load(job);
  group.Await();
  const HostSharedFile file = job->OpenGradientsReady(0);
  auto& counts = *static_cast<HostSharedCounts*>(file.data());
  const uint64_t record = RecordShared(counts);
  ProcessAll(group, job, Round(1));
  EXPECT_TRUE(group.events.parts(Round(1), BucketIndex(0)).empty());
  CopyFromFloats(gradient, job->gradients(0));
  ReachShared(counts, record);
  group.Await();
  EXPECT_EQ(*group.events.parts(Round(1), BucketIndex(0)).at(0).payload,
            *expected.events.parts(Round(1), BucketIndex(0)).at(0).payload);
}

// --- jobs that step by themselves (P29) ----------------------------------------------------------

// Every rank steps, each in a way of its own.
void Step(JobSession& job, uint64_t seed) {
  for (uint32_t rank = 0; rank < job.ranks(); ++rank) {
    const FloatVector way = CoarseVector(seed + rank, job.layout());
    const Elements p = job.parameters(rank);
    for (size_t i = 0; i < way.size(); ++i) Put(At(p, i) - way[i] / 64.0f, p, i);
  }
}

// Rounds of a group alone whose job steps between them, and in the midst of them where the run has
// overlap: what its last rank holds after each, and the anchor at the end.
std::vector<FloatVector> StepLocally(TestGroup& group, const std::shared_ptr<JobSession>& job) {
  CopyFromFloats(CoarseVector(1, group.layout), job->parameters(0));
  group.pipeline.Adopt(job);
  group.pipeline.Load(job);
  group.Await();
  std::vector<FloatVector> seen;
  const bool overlaps = group.run.format.overlap > 0;
  for (Round round(1); round <= Round(3); ++round) {
    Step(*job, 10 * round.value());
    for (uint32_t b = 0; b < group.pipeline.buckets().count(); ++b) {
      group.pipeline.Process(job, round, BucketIndex(b), true, {.job_goes_on = overlaps});
    }
    group.Await();
    if (overlaps) Step(*job, 1000 * round.value());
    for (uint32_t b = 0; b < group.pipeline.buckets().count(); ++b) {
      const auto update = MakeForwarded({&group}, group, round, BucketIndex(b));
      for (ParameterGroupScalars& scalars : update->header.scalars) scalars = {.lr = 1, .decay = 1};
      group.pipeline.Apply(update, Credit::kMerged, job);
    }
    group.Await();
    FloatVector& held = seen.emplace_back(group.layout.length());
    CopyToFloats(job->parameters(job->ranks() - 1), held);
  }
  seen.push_back(group.Masters());
  EXPECT_TRUE(group.events.failures().empty());
  group.pipeline.Release();
  group.Await();
  return seen;
}

TEST(DeviceJobTest, P29_AJobStepsByItselfAsInTheHostsMemory) {
  for (const ValueFormat values : {ValueFormat::kTwoBit, ValueFormat::kF32}) {
    for (const uint32_t overlap : {0u, 3u}) {
      for (const uint32_t ranks : {1u, 3u}) {
        for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
          RunSpec run = SchemeRun(Scheme::kLocal);
          run.format.all.values = values;
          run.format.every = {.steps = 8};
          run.format.overlap = overlap;
          std::vector<TensorSpec> tensors = MixedLayout().tensors();
          for (TensorSpec& tensor : tensors) tensor.dtype = dtype;
          const Layout layout = *Layout::Create(tensors, {});
          TestGroup on_host(ranks, run, layout);
          const std::shared_ptr<JobSession> host_job =
              dtype == DType::kFloat32 ? on_host.job : std::make_shared<HalfJob>(layout, ranks);
          TestGroup on_device(ranks, run, layout);
          const auto device_job = std::make_shared<DeviceJob>(layout, ranks, dtype, true);
          EXPECT_EQ(StepLocally(on_device, device_job), StepLocally(on_host, host_job))
              << ranks << " ranks, overlap " << overlap;
          for (uint32_t r = 0; r < ranks; ++r) EXPECT_TRUE(device_job->parameters_ready(r).Done());
          EXPECT_EQ(device_job.use_count(), 1) << "nothing holds on to the job's memory";
        }
      }
    }
  }
}

// Masters and momentum; what a job was given while masters moved on; where it was.
TEST(DeviceJobTest, P29_WhatLocalStepsTakeIsThereFromTheStartOrRefused) {
  RunSpec run = SchemeRun(Scheme::kLocal);
  run.format.every = {.steps = 8};
  run.format.overlap = 3;
  const Layout layout = MixedLayout();
  const Ownership ownership =
      Ownership::InEqualParts(*Buckets::Create(layout.length(), run.bucket_length), /*ranks=*/1);
  const size_t need = 4 * layout.length() * sizeof(float) + 2 * layout.length() / 64;
  const auto ranks = MakeGpuRanks({{std::make_shared<HostDevice>(need - 1), MakeHostGpuKernels()}});
  const absl::Status status = ranks->Make(run, layout, ownership, {.ranks = 1}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(std::string(status.message())
                .find("elements needs " + std::to_string(need) + " bytes at rank 0"),
            std::string::npos)
      << status;
}

}  // namespace
}  // namespace isthmus
