// A replica group without a network: a pipeline, a job made of plain vectors, and the coordinator's
// part of a round done by hand.
#ifndef ISTHMUS_TESTS_WORKER_STEP_TEST_GROUP_H_
#define ISTHMUS_TESTS_WORKER_STEP_TEST_GROUP_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <future>
#include <map>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/rng.h"
#include "common/compression/merge.h"
#include "common/compression/payload.h"
#include "common/compression/update_payload.h"
#include "common/kernels/bfloat16.h"
#include "tests/worker/step/test_ranks.h"
#include "worker/step/local_pipeline.h"

namespace isthmus {

using FloatVector = std::vector<float>;

class FakeJob : public JobSession {
 public:
  FakeJob(Layout layout, uint32_t ranks, bool own_optimizer = false)
      : layout_(std::move(layout)),
        own_optimizer_(own_optimizer),
        parameters_(ranks, FloatVector(layout_.length())),
        gradients_(ranks, FloatVector(own_optimizer ? 0 : layout_.length())),
        constants_(ranks, std::vector<std::byte>(layout_.constants_bytes())) {}
  uint64_t id() const override { return 1; }
  const Layout& layout() const override { return layout_; }
  uint32_t ranks() const override { return static_cast<uint32_t>(parameters_.size()); }
  JobMemory memory() const override { return JobMemory::kHost; }
  bool own_optimizer() const override { return own_optimizer_; }
  bool gone() const override { return false; }
  Elements parameters(uint32_t rank) override { return std::span(parameters_[rank]); }
  Elements gradients(uint32_t rank) override { return std::span(gradients_[rank]); }
  std::span<std::byte> constants(uint32_t rank) override { return constants_[rank]; }
  SharedDeviceEvent& gradients_ready(uint32_t) override { std::abort(); }  // of the host's memory
  SharedDeviceEvent& parameters_ready(uint32_t) override { std::abort(); }
  const uint32_t* gradients_mark(uint32_t) override { std::abort(); }
  uint32_t steps() const override { return 0; }
  JobPace* pace(uint32_t) override { return nullptr; }

 private:
  const Layout layout_;
  const bool own_optimizer_;
  std::vector<FloatVector> parameters_;
  std::vector<FloatVector> gradients_;
  std::vector<std::vector<std::byte>> constants_;
};

// A job that holds bfloat16.
class HalfJob : public FakeJob {
 public:
  HalfJob(const Layout& layout, uint32_t ranks)
      : FakeJob(layout, ranks, true), halves_(ranks, std::vector<uint16_t>(layout.length())) {}
  Elements parameters(uint32_t rank) override {
    return {DType::kBFloat16, halves_[rank].data(), halves_[rank].size()};
  }

 private:
  std::vector<std::vector<uint16_t>> halves_;
};

inline float At(const Elements& elements, size_t i) {
  return elements.type() == DType::kFloat32 ? elements.floats()[i]
                                            : FromBfloat16(elements.halves()[i]);
}
inline void Put(float value, const Elements& elements, size_t i) {
  if (elements.type() == DType::kFloat32) {
    elements.floats()[i] = value;
  } else {
    elements.halves()[i] = ToBfloat16(value);
  }
}

// Thread-safe.
class RecordedEvents : public PipelineEvents {
 public:
  void OnPart(ContributionPart part) override {
    MutexLock lock(&mu_);
    parts_[{part.round, part.bucket}].push_back(std::move(part));
  }
  void OnNonFinite(Round round, BucketIndex bucket) override {
    MutexLock lock(&mu_);
    non_finite_.emplace_back(round, bucket);
  }
  void OnFailure(const absl::Status& status) override {
    MutexLock lock(&mu_);
    failures_.push_back(status);
    failed_.NotifyAll();
  }

  // In the order of their chunks.
  std::vector<ContributionPart> parts(Round round, BucketIndex bucket) {
    MutexLock lock(&mu_);
    std::vector<ContributionPart> parts = parts_[{round, bucket}];
    std::sort(parts.begin(), parts.end(),
              [](const auto& a, const auto& b) { return a.chunks.first < b.chunks.first; });
    return parts;
  }
  std::vector<std::pair<Round, BucketIndex>> non_finite() {
    MutexLock lock(&mu_);
    return non_finite_;
  }
  std::vector<absl::Status> failures() {
    MutexLock lock(&mu_);
    return failures_;
  }
  absl::Status AwaitFailure() {
    MutexLock lock(&mu_);
    while (failures_.empty()) {
      if (!failed_.WaitFor(&mu_, std::chrono::seconds(60)) && failures_.empty()) {
        return absl::DeadlineExceededError("no failure came");
      }
    }
    return failures_[0];
  }

 private:
  Mutex mu_;
  CondVar failed_;
  std::map<std::pair<Round, BucketIndex>, std::vector<ContributionPart>> parts_
      ABSL_GUARDED_BY(mu_);
  std::vector<std::pair<Round, BucketIndex>> non_finite_ ABSL_GUARDED_BY(mu_);
  std::vector<absl::Status> failures_ ABSL_GUARDED_BY(mu_);
};

// Several buckets, tensors across bucket borders, two parameter groups, padding, constants.
inline Layout MixedLayout() {
  return *Layout::Create({{.name = "embedding", .shape = {100, 97}, .parameter_group = 0},
                          {.name = "bias", .shape = {77}, .parameter_group = 1},
                          {.name = "weight", .shape = {9000}, .parameter_group = 0},
                          {.name = "scale", .shape = {}, .parameter_group = 1}},
                         {{.name = "mask", .size_bytes = 100}});
}

// One unit: with several ranks all parts but one are empty.
inline Layout TinyLayout() { return *Layout::Create({{.name = "w", .shape = {130}}}, {}); }

inline RunSpec SchemeRun(Scheme scheme) {
  RunSpec run = DefaultRunSpec(scheme);
  if (scheme == Scheme::kFlexDemo) {
    run.format.all.k = 4;
    run.format.all.values = ValueFormat::kBf16;
  }
  run.bucket_length = 2 * kUnitLength;
  return run;
}

inline RunSpec DemoRun() { return SchemeRun(Scheme::kFlexDemo); }
inline RunSpec FullRun() { return SchemeRun(Scheme::kFull); }

inline RunSpec OneBitRun() {
  RunSpec run = DemoRun();
  run.format.all.values = ValueFormat::kOneBit;
  return run;
}

// Every scheme that exchanges something.
inline std::vector<RunSpec> ExchangingRuns() {
  RunSpec numbers = SchemeRun(Scheme::kRandom);
  numbers.format.all.values = ValueFormat::kInt4;
  numbers.seed = 5;
  numbers.alpha = 0.5f;
  return {DemoRun(),
          OneBitRun(),
          FullRun(),
          SchemeRun(Scheme::kRandom),
          numbers,
          SchemeRun(Scheme::kStriding),
          SchemeRun(Scheme::kSlicing)};
}

// Group 0 sends less than the others, group 2 more.
inline RunSpec Mixed(RunSpec run, GroupFormat less, GroupFormat more) {
  run.format.own = {{GroupId(0), less}, {GroupId(2), more}};
  return run;
}
inline std::vector<RunSpec> MixedRuns() {
  RunSpec numbers = DemoRun();
  numbers.sign = false;
  return {Mixed(DemoRun(), {1, ValueFormat::kOneBit}, {8, ValueFormat::kInt4}),
          Mixed(OneBitRun(), {1, ValueFormat::kOneBit}, {16, ValueFormat::kOneBit}),
          Mixed(numbers, {2, ValueFormat::kF32}, {64, ValueFormat::kBf16}),
          Mixed(SchemeRun(Scheme::kRandom), {1, ValueFormat::kSign}, {32, ValueFormat::kSign}),
          Mixed(FullRun(), {4096, ValueFormat::kBf16}, {4096, ValueFormat::kF32})};
}

// Multiples of 2^-7 within (-8, 8), so that the mean of a few ranks' equal gradients is exactly
// that gradient. Zero on padding.
inline FloatVector CoarseVector(uint64_t seed, const Layout& layout) {
  Rng rng(seed);
  FloatVector vector(layout.length());
  for (size_t t = 0; t < layout.tensors().size(); ++t) {
    for (uint64_t i = 0; i < layout.counts()[t]; ++i) {
      vector[layout.offsets()[t] + i] = static_cast<float>(rng.Below(2047)) / 128.0f - 7.992f;
    }
  }
  for (float& value : vector) value = std::round(value * 128.0f) / 128.0f;
  return vector;
}

template <typename T>
T AwaitValue(std::future<T> future) {
  if (future.wait_for(std::chrono::seconds(60)) != std::future_status::ready) {
    ADD_FAILURE() << "the pipeline did not answer";
    std::abort();  // its threads hold on to what the test is about to destroy
  }
  return future.get();
}

struct TestGroup {
  // `edit`: of what the pipeline is made of.
  TestGroup(uint32_t ranks, const RunSpec& run_spec, const Layout& the_layout, uint32_t id = 0,
            const std::function<void(LocalPipeline::Options&)>& edit = nullptr)
      : self{GroupId(id), Incarnation(1)},
        run(run_spec),
        layout(the_layout),
        job(std::make_shared<FakeJob>(layout, ranks, PolicyOf(run).job_steps())),
        pipeline(OptionsOf(ranks, edit), &events) {
    EXPECT_TRUE(pipeline.Configure(layout).ok());
  }
  LocalPipeline::Options OptionsOf(uint32_t ranks,
                                   const std::function<void(LocalPipeline::Options&)>& edit) const {
    LocalPipeline::Options options{.ranks = MakeTestRanks(ranks), .self = self, .run = run};
    if (edit) edit(options);
    return options;
  }

  // Everybody's parameters are rank 0's, drawn from `seed`, and so are the constants.
  void Start(uint64_t seed) {
    const FloatVector initial = CoarseVector(seed, layout);
    std::copy(initial.begin(), initial.end(), job->parameters(0).floats().begin());
    std::fill(job->constants(0).begin(), job->constants(0).end(), std::byte(seed));
    pipeline.Adopt(job);
    pipeline.Load(job);
    Await();
  }
  void SetGradients(const FloatVector& gradient) {
    Await();
    for (uint32_t rank = 0; rank < job->ranks(); ++rank) {
      std::copy(gradient.begin(), gradient.end(), job->gradients(rank).floats().begin());
    }
  }
  void ProcessAll(Round round, bool extract) {
    for (uint32_t b = 0; b < pipeline.buckets().count(); ++b) {
      pipeline.Process(job, round, BucketIndex(b), extract, {.lr = 0.1f});
    }
  }
  static PayloadPlace PlaceOf(const ContributionPart& part) {
    return {part.round.value(), part.chunks.first, part.chunks.count};
  }
  // What the group would have sent: parts in order, covering the bucket.
  std::vector<Selection> Sent(Round round, BucketIndex bucket) {
    std::vector<Selection> selections;
    const ChunkRun whole = formats.ChunksAt(round, pipeline.buckets().bucket(bucket));
    uint64_t next = whole.first;
    for (const ContributionPart& part : events.parts(round, bucket)) {
      EXPECT_EQ(part.chunks.first, next);
      next += part.chunks.count;
      const auto decoded = DecodePayload(std::as_bytes(std::span(*part.payload)),
                                         formats.FormatAt(round, self.group), PlaceOf(part));
      EXPECT_TRUE(decoded.ok()) << decoded.status();
      selections.push_back(*decoded);
    }
    EXPECT_EQ(next, whole.end());
    return selections;
  }
  // The same without the cuts between ranks.
  Selection SentWhole(Round round, BucketIndex bucket) {
    Selection whole;
    for (const Selection& part : Sent(round, bucket)) {
      whole.chunk_count += part.chunk_count;
      whole.indices.insert(whole.indices.end(), part.indices.begin(), part.indices.end());
      whole.values.insert(whole.values.end(), part.values.begin(), part.values.end());
    }
    return whole;
  }

  void Await() {
    // The promise is shared: set_value() may still be returning when this does.
    const auto done = std::make_shared<std::promise<void>>();
    pipeline.Then([done] { done->set_value(); });
    AwaitValue(done->get_future());
  }
  uint64_t Hash() {
    const std::vector<uint64_t> hashes = BucketHashes();
    return std::accumulate(hashes.begin(), hashes.end(), uint64_t{0});
  }
  std::vector<uint64_t> BucketHashes() {
    const auto hashes = std::make_shared<std::promise<std::vector<uint64_t>>>();
    pipeline.Hash([hashes](std::vector<uint64_t> value) { hashes->set_value(std::move(value)); });
    return AwaitValue(hashes->get_future());
  }
  StateImage Snapshot() {
    const auto image = std::make_shared<std::promise<StateImage>>();
    pipeline.Snapshot([image](StateImage value) { image->set_value(std::move(value)); });
    return AwaitValue(image->get_future());
  }
  FloatVector Masters() {
    const StateImage image = Snapshot();
    FloatVector masters(layout.length());
    std::memcpy(masters.data(), image.bytes.data(), masters.size() * sizeof(float));
    return masters;
  }

  const Member self;
  const RunSpec run;
  const Layout layout;
  RoundFormats formats{run};  // as the coordinator of these tests has them
  RecordedEvents events;
  const std::shared_ptr<FakeJob> job;
  LocalPipeline pipeline;  // last: its threads use everything above
};

// Of contributors that are numbered from 0. `rates` scales the learning rate, which differs per
// parameter group.
inline UpdateHeader MakeHeader(size_t contributors, const TestGroup& shape, Round round,
                               BucketIndex bucket, float rate = 0.01f) {
  UpdateHeader header;
  header.round = round;
  header.bucket = bucket;
  header.first = round == Round(1);
  const double t = static_cast<double>(round.value());
  const OptimizerSpec& optimizer = shape.run.optimizer;
  header.bias1 = static_cast<float>(1.0 - std::pow(static_cast<double>(optimizer.beta1), t));
  header.bias2_sqrt =
      static_cast<float>(std::sqrt(1.0 - std::pow(static_cast<double>(optimizer.beta2), t)));
  for (uint32_t g = 0; g < shape.layout.parameter_groups(); ++g) {
    const float lr = rate * static_cast<float>(g + 1);
    header.scalars.push_back({.lr = lr, .decay = 1.0f - lr * 0.1f});
  }
  for (uint32_t g = 0; g < contributors; ++g) {
    header.contributors.push_back(
        {.group = GroupId(g), .incarnation = Incarnation(1), .samples = 3 + g});
  }
  return header;
}

// The coordinator's part: merges what `groups` sent for (round, bucket). Without groups, an update
// that changes nothing.
inline std::shared_ptr<const ReceivedUpdate> MakeUpdate(const std::vector<TestGroup*>& groups,
                                                        const TestGroup& shape, Round round,
                                                        BucketIndex bucket, float rate = 0.01f) {
  auto update = std::make_shared<ReceivedUpdate>();
  update->header = MakeHeader(groups.size(), shape, round, bucket, rate);
  if (groups.empty()) return update;
  std::vector<uint64_t> samples;
  for (const Contributor& c : update->header.contributors) samples.push_back(c.samples);
  const std::vector<float> weights = MergeWeights(samples);
  std::vector<std::vector<ContributionPart>> parts;
  std::vector<std::vector<PayloadView>> views(groups.size());
  for (size_t g = 0; g < groups.size(); ++g) {
    parts.push_back(groups[g]->events.parts(round, bucket));
    for (const ContributionPart& part : parts[g]) {
      views[g].push_back(
          PayloadView::Parse(std::as_bytes(std::span(*part.payload)),
                             groups[g]->formats.FormatAt(round, groups[g]->self.group),
                             TestGroup::PlaceOf(part))
              .value());
    }
  }
  std::vector<MergeInput> inputs;
  for (size_t g = 0; g < groups.size(); ++g) inputs.push_back({weights[g], views[g]});
  const Extent extent = shape.pipeline.buckets().bucket(bucket);
  update->payload = EncodeUpdate(shape.formats.MergedAt(round),
                                 {round.value(), shape.formats.ChunksAt(round, extent)}, inputs);
  return update;
}

// The same, left to the receiver to merge: what the groups sent, but for `receiver`'s own.
inline std::shared_ptr<ReceivedUpdate> MakeForwarded(const std::vector<TestGroup*>& groups,
                                                     const TestGroup& receiver, Round round,
                                                     BucketIndex bucket, float rate = 0.01f) {
  auto update = std::make_shared<ReceivedUpdate>();
  update->header = MakeHeader(groups.size(), receiver, round, bucket, rate);
  for (uint32_t g = 0; g < groups.size(); ++g) {
    if (GroupId(g) == receiver.self.group) continue;
    ReceivedUpdate::Contribution contribution{g, {}};
    for (const ContributionPart& part : groups[g]->events.parts(round, bucket)) {
      contribution.parts.push_back(*part.payload);
    }
    update->contributions.push_back(std::move(contribution));
  }
  return update;
}

// A round of all `groups`: each processes `gradients[g]`, all apply what they sent together.
inline void ExchangeRound(const std::vector<TestGroup*>& groups, Round round,
                          const std::vector<FloatVector>& gradients) {
  for (size_t g = 0; g < groups.size(); ++g) {
    groups[g]->SetGradients(gradients[g]);
    groups[g]->ProcessAll(round, true);
    groups[g]->Await();
  }
  for (uint32_t b = 0; b < groups[0]->pipeline.buckets().count(); ++b) {
    const auto update = MakeUpdate(groups, *groups[0], round, BucketIndex(b));
    for (TestGroup* group : groups) {
      group->pipeline.Apply(update, Credit::kMerged, group->job);
    }
  }
}

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_WORKER_STEP_TEST_GROUP_H_
