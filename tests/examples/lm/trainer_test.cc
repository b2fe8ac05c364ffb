#include "examples/lm/trainer.h"

#include <csignal>
#include <cstring>
#include <functional>
#include <limits>

#include "examples/lm/local_service.h"
#include "examples/lm/stop_signal.h"
#include "gtest/gtest.h"

namespace isthmus::lm {
namespace {

Text PatternText() {
  std::string file;
  while (file.size() < 4000) file += "abcdefgh ijklmnop, ";
  Text text;
  text.Append(file);
  return text;
}

TrainerOptions SmallOptions(uint64_t steps) {
  TrainerOptions options;
  options.model = {.width = 32, .layers = 2, .heads = 2, .context = 32};
  options.batch = 4;
  options.steps = steps;
  options.schedule.peak = 1e-2;
  options.schedule.warmup = 5;
  options.log_every = 0;
  options.reattach_delay = absl::ZeroDuration();
  return options;
}

// A local service with something happening before each step.
class ScriptedService : public LocalService {
 public:
  using Script = std::function<absl::Status(int step, ScriptedService* service)>;
  explicit ScriptedService(Script script) : script_(std::move(script)) {}

  absl::Status Attach(const std::vector<TensorSpec>& tensors,
                      const ParameterSet<float>& initial) override {
    ++attached;
    return LocalService::Attach(tensors, initial);
  }
  void Detach() override { ++detached; }
  absl::StatusOr<StepOutput> Step(const StepInput& input) override {
    inputs.push_back(input);
    absl::Status status = script_(static_cast<int>(inputs.size()), this);
    if (!status.ok()) return status;
    return LocalService::Step(input);
  }

  int attached = 0;
  int detached = 0;
  std::vector<StepInput> inputs;

 private:
  const Script script_;
};

TEST(TrainerTest, LearnsAPattern) {
  const Text text = PatternText();
  LocalService service;
  Trainer trainer(SmallOptions(120), text, &service);
  ASSERT_TRUE(trainer.Run().ok());
  EXPECT_EQ(trainer.standing().round, 120u);
  EXPECT_EQ(trainer.steps().size(), 120u);
  Batch batch;
  EXPECT_LT(ValidationLoss(text, trainer.model(), &batch), 0.2f);
}

TEST(TrainerTest, TheSameSeedGivesTheSameBits) {
  const Text text = PatternText();
  std::vector<float> parameters[2];
  for (std::vector<float>& result : parameters) {
    LocalService service;
    Trainer trainer(SmallOptions(10), text, &service);
    ASSERT_TRUE(trainer.Run().ok());
    result = trainer.parameters().flat();
  }
  EXPECT_EQ(
      std::memcmp(parameters[0].data(), parameters[1].data(), parameters[0].size() * sizeof(float)),
      0);
}

TEST(TrainerTest, AttachesAgainAndContinuesOnTheSchedule) {
  const Text text = PatternText();
  ScriptedService service([](int step, ScriptedService*) {
    return step == 4 ? absl::AbortedError("rank 1 left") : absl::OkStatus();
  });
  Trainer trainer(SmallOptions(6), text, &service);
  ASSERT_TRUE(trainer.Run().ok());
  EXPECT_EQ(service.attached, 2);
  EXPECT_EQ(service.detached, 2);
  EXPECT_EQ(trainer.steps().size(), 6u);
  // The step that was lost is taken again: the same round, so the same batch and learning rate.
  EXPECT_EQ(service.inputs[4].loss, service.inputs[3].loss);
  EXPECT_EQ(service.inputs[4].rates.learning_rate, service.inputs[3].rates.learning_rate);
}

TEST(TrainerTest, DoesNotInsistWhereTheFirstAttachFails) {
  const Text text = PatternText();
  ScriptedService service(
      [](int, ScriptedService*) { return absl::UnavailableError("no daemon"); });
  Trainer trainer(SmallOptions(6), text, &service);
  EXPECT_TRUE(absl::IsUnavailable(trainer.Run()));
  EXPECT_EQ(service.attached, 1);
}

TEST(TrainerTest, GivesUpAtOnceWhereRefused) {
  const Text text = PatternText();
  ScriptedService service([](int step, ScriptedService*) {
    return step == 2 ? absl::FailedPreconditionError("layout") : absl::OkStatus();
  });
  Trainer trainer(SmallOptions(6), text, &service);
  EXPECT_TRUE(absl::IsFailedPrecondition(trainer.Run()));
  EXPECT_EQ(service.attached, 1);
  EXPECT_EQ(service.detached, 1);
}

TEST(TrainerTest, AStopSignalFinishesTheStepUnderWay) {
  const Text text = PatternText();
  ScriptedService service([](int step, ScriptedService*) {
    if (step == 3) std::raise(SIGTERM);
    return absl::OkStatus();
  });
  Trainer trainer(SmallOptions(6), text, &service);
  EXPECT_TRUE(absl::IsCancelled(trainer.Run()));
  EXPECT_EQ(StopSignal(), SIGTERM);
  EXPECT_EQ(trainer.standing().round, 3u);
  EXPECT_EQ(service.detached, 1);
}

TEST(TrainerTest, SkipsARoundWhoseLossIsNotFinite) {
  const Text text = PatternText();
  ScriptedService service([](int step, ScriptedService* self) {
    // Seen by the step after: a broken parameter breaks the loss, and is mended before the next.
    float& value = self->parameters()[kTokenEmbedding]['a' * 32];
    if (step == 2) value = std::numeric_limits<float>::quiet_NaN();
    if (step == 3) value = 0.0f;
    return absl::OkStatus();
  });
  TrainerOptions options = SmallOptions(5);
  options.weight_decay = 0;
  Trainer trainer(options, text, &service);
  ASSERT_TRUE(trainer.Run().ok());
  EXPECT_FALSE(service.inputs[1].skip);
  EXPECT_TRUE(service.inputs[2].skip);
}

TEST(TrainerTest, ClipsTheNormOfTheWholeGradient) {
  const Text text = PatternText();
  double squares = 0;
  ScriptedService service([&squares](int, ScriptedService* self) {
    const std::vector<TensorSpec> tensors = ModelTensors(SmallOptions(1).model);
    for (size_t i = 0; i < tensors.size(); ++i) {
      for (int64_t j = 0; j < tensors[i].size(); ++j) {
        squares += double{self->gradients()[i][j]} * self->gradients()[i][j];
      }
    }
    return absl::OkStatus();
  });
  TrainerOptions options = SmallOptions(1);
  options.clip = 0.01;
  Trainer trainer(options, text, &service);
  ASSERT_TRUE(trainer.Run().ok());
  EXPECT_NEAR(std::sqrt(squares), 0.01, 1e-6);
}

TEST(TrainerTest, ValidatesAsOftenAsAsked) {
  const Text text = PatternText();
  LocalService service;
  TrainerOptions options = SmallOptions(4);
  options.validate_every = 2;
  Trainer trainer(options, text, &service);
  ASSERT_TRUE(trainer.Run().ok());
  EXPECT_FALSE(trainer.steps()[2].validation_loss.has_value());
  ASSERT_TRUE(trainer.steps()[3].validation_loss.has_value());
  Batch batch;
  EXPECT_EQ(*trainer.steps()[3].validation_loss, ValidationLoss(text, trainer.model(), &batch));
  const std::vector<CurvePoint> curve = ValidationCurve(trainer.steps());
  ASSERT_EQ(curve.size(), 2u);
  EXPECT_EQ(curve[1].step, 4u);
  EXPECT_EQ(curve[1].loss, *trainer.steps()[3].validation_loss);
}

// A local service that stands where it is told to.
class PlacedService : public LocalService {
 public:
  PlacedService(uint32_t group_index, uint32_t rank) : group_index_(group_index), rank_(rank) {}

  Standing standing() const override {
    Standing standing = LocalService::standing();
    standing.group_index = group_index_;
    standing.rank = rank_;
    return standing;
  }

 private:
  const uint32_t group_index_;
  const uint32_t rank_;
};

TEST(TrainerTest, OnlyTheFirstGroupsFirstRankValidatesOnTheWay) {
  const Text text = PatternText();
  TrainerOptions options = SmallOptions(2);
  options.validate_every = 1;
  for (const uint32_t group_index : {0, 1}) {
    for (const uint32_t rank : {0, 1}) {
      PlacedService service(group_index, rank);
      Trainer trainer(options, text, &service);
      ASSERT_TRUE(trainer.Run().ok());
      const size_t expected = group_index == 0 && rank == 0 ? 2 : 0;
      EXPECT_EQ(ValidationCurve(trainer.steps()).size(), expected);
    }
  }
}

}  // namespace
}  // namespace isthmus::lm
