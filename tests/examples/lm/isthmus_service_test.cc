// A rank of the example against a real job server, with an engine that keeps it waiting.
#include "examples/lm/isthmus_service.h"

#include <csignal>
#include <future>

#include "examples/lm/model.h"
#include "examples/lm/stop_signal.h"
#include "examples/lm/trainer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/jobs/fake_engine.h"

namespace isthmus::lm {
namespace {

using ::testing::HasSubstr;

Text SmallText() {
  std::string file;
  while (file.size() < 2000) file += "abcdefgh ijklmnop, ";
  Text text;
  text.Append(file);
  return text;
}

class IsthmusServiceTest : public testing::Test {
 protected:
  void Start(uint32_t ranks) { server_ = StartServer(dir_.path(), ranks, &engine_); }
  IsthmusOptions Options() {
    IsthmusOptions options;
    options.socket_path = dir_.path();
    options.local_rank = 0;
    options.stop_grace = absl::ZeroDuration();
    return options;
  }
  // Trains until something ends it.
  std::future<absl::Status> TrainAsync(IsthmusService* service) {
    return std::async(std::launch::async, [this, service] {
      TrainerOptions options;
      options.model = {.width = 16, .layers = 1, .heads = 2, .context = 16};
      options.batch = 1;
      options.log_every = 0;
      Trainer trainer(options, text_, service);
      const absl::Status status = trainer.Run();
      const auto initial =
          InitialParameters<float>(options.model, options.seed, options.initial_deviation);
      kept_initial_ = trainer.parameters().flat() == initial.flat();
      round_ = trainer.standing().round;
      return status;
    });
  }

  const Text text_ = SmallText();
  SocketDir dir_;
  FakeEngine engine_;
  std::unique_ptr<JobServer> server_;
  bool kept_initial_ = false;
  uint64_t round_ = 0;
};

TEST_F(IsthmusServiceTest, AStopSignalEndsAnAttachThatWaitsForOthers) {
  Start(2);
  IsthmusService service(Options());
  const ScopedStopSignals stop_signals;
  auto attaching = std::async(std::launch::async, [&] {
    const ModelConfig model = {.width = 16, .layers = 1, .heads = 2, .context = 16};
    return service.Attach(ModelTensors(model), InitialParameters<float>(model, 1, 0.02));
  });
  std::raise(SIGTERM);
  EXPECT_TRUE(absl::IsCancelled(attaching.get()));
}

// Nobody knows how many steps a run will have that counts samples or time: as many each round as
// so far, in the whole run and not in this process.
class CountedRunTest : public IsthmusServiceTest, public testing::WithParamInterface<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Overlaps, CountedRunTest, testing::Values(0, 2));

TEST_P(CountedRunTest, SchedulesGoByItsSteps) {
  const uint32_t overlap = GetParam();
  Start(1);
  IsthmusOptions options = Options();
  options.own_optimizer = AdamWFactory();
  IsthmusService service(options);
  const ScopedStopSignals stop_signals;
  const ModelConfig model = {.width = 16, .layers = 1, .heads = 2, .context = 16};
  auto attaching = std::async(std::launch::async, [&] {
    return service.Attach(ModelTensors(model), InitialParameters<float>(model, 1, 0.02));
  });
  auto session = engine_.AwaitAttached();
  server_->FinishAttach(session->id(), AttachReply{.round = 2,
                                                   .rounds = 10,
                                                   .world_size = 1,
                                                   .every_steps = 0,
                                                   .overlap_steps = overlap,
                                                   .totals = {.steps = 60, .samples = 900}});
  ASSERT_TRUE(attaching.get().ok());
  EXPECT_EQ(service.standing().round, 60u);
  EXPECT_EQ(service.standing().rounds, 301u);
  StepInput input = {.skip = false, .samples = 5, .loss = 2};
  input.rates.learning_rate.fill(0.25f);
  input.rates.weight_decay.fill(0.0f);
  for (uint64_t step = 61; step <= 64; ++step) {
    ASSERT_TRUE(service.Step(input).ok());
    EXPECT_EQ(service.standing().round, step);
  }
  server_->NameStep(session->id());
  auto exchange = std::async(std::launch::async, [&] {
    for (float loss = 0; loss != 1.5f;) {  // that of all sites comes with an exchange
      const absl::StatusOr<StepOutput> output = service.Step(input);
      ASSERT_TRUE(output.ok()) << output.status();
      loss = output->loss;
    }
  });
  // Another site has taken 50 steps meanwhile.
  const StepReply merged{.round = 3, .loss = 1.5f, .totals = {.steps = 110, .samples = 1500}};
  if (overlap > 0) {
    server_->FinishStep(engine_.AwaitStep(0).first, StepReply{.round = 2});
    server_->FinishStep(engine_.AwaitStep(1).first, merged);
  } else {
    server_->FinishStep(engine_.AwaitStep(0).first, merged);
  }
  exchange.get();
  EXPECT_EQ(service.standing().round, 110u + overlap);
  EXPECT_EQ(service.standing().rounds, 110u * 10 / 3 + 1);
}

TEST_F(IsthmusServiceTest, AnOptimizerOfItsOwnStepsBetweenExchanges) {
  Start(1);
  IsthmusOptions options = Options();
  options.own_optimizer = AdamWFactory();
  IsthmusService service(options);
  const ScopedStopSignals stop_signals;  // forgets those of other tests
  const ModelConfig model = {.width = 16, .layers = 1, .heads = 2, .context = 16};
  auto attaching = std::async(std::launch::async, [&] {
    return service.Attach(ModelTensors(model), InitialParameters<float>(model, 1, 0.02));
  });
  auto session = engine_.AwaitAttached();
  server_->FinishAttach(session->id(),
                        AttachReply{.round = 1, .rounds = 2, .world_size = 1, .every_steps = 3});
  ASSERT_TRUE(attaching.get().ok());
  EXPECT_TRUE(session->own_optimizer());
  EXPECT_EQ(service.standing().round, 3u) << "steps, of which a round has three";
  EXPECT_EQ(service.standing().rounds, 6u);

  StepInput input = {.skip = false, .samples = 5, .loss = 2};
  input.rates.learning_rate.fill(0.25f);
  input.rates.weight_decay.fill(0.0f);
  const float initial = *service.parameters()[0];
  *service.gradients()[0] = 3;
  absl::StatusOr<StepOutput> output = service.Step(input);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(output->applied);
  EXPECT_EQ(output->round, 4u);
  EXPECT_NEAR(*service.parameters()[0], initial - 0.25f, 1e-5f);
  EXPECT_EQ(session->parameters(0).floats()[0], *service.parameters()[0]) << "in place";

  input.skip = true;  // of this step alone
  const float kept = *service.parameters()[0];
  output = service.Step(input);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(output->round, 5u);
  EXPECT_EQ(*service.parameters()[0], kept);

  input.skip = false;
  auto exchange = std::async(std::launch::async, [&] { return service.Step(input); });
  const auto [id, heard] = engine_.AwaitStep();
  EXPECT_EQ(heard[0].samples, 15u);
  EXPECT_EQ(heard[0].loss, 2);
  EXPECT_FALSE(heard[0].skip);
  EXPECT_LT(session->parameters(0).floats()[0], kept) << "stepped before it was handed over";
  session->parameters(0).floats()[0] = 42;
  server_->FinishStep(id, StepReply{.round = 2, .loss = 1.5f});
  output = exchange.get();
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(output->applied);
  EXPECT_FALSE(output->ended);
  EXPECT_EQ(output->round, 6u);
  EXPECT_EQ(output->loss, 1.5f);
  EXPECT_EQ(service.standing().round, 6u);
  EXPECT_EQ(*service.parameters()[0], 42);
}

TEST_F(IsthmusServiceTest, ATrainerWithAnOptimizerOfItsOwnEndsWithTheLastExchange) {
  Start(1);
  IsthmusOptions options = Options();
  options.own_optimizer = MuonFactory();
  IsthmusService service(options);
  std::future<absl::Status> training = TrainAsync(&service);
  auto session = engine_.AwaitAttached();
  server_->FinishAttach(session->id(),
                        AttachReply{.group_count = 1, .rounds = 2, .every_steps = 3});
  for (uint64_t round = 1; round <= 2; ++round) {
    const auto [id, heard] = engine_.AwaitStep(round - 1);
    EXPECT_EQ(heard[0].samples, 3u * 16) << "of three batches";
    server_->FinishStep(id, StepReply{.round = round});
  }
  EXPECT_TRUE(training.get().ok());
  EXPECT_FALSE(kept_initial_);
  EXPECT_EQ(round_, 6u);
}

TEST_F(IsthmusServiceTest, AStopSignalEndsAStepThatIsStuck) {
  Start(1);
  IsthmusService service(Options());
  std::future<absl::Status> training = TrainAsync(&service);
  auto session = engine_.AwaitAttached();
  server_->FinishAttach(session->id(), AttachReply{.group_count = 1, .rounds = 5});
  engine_.AwaitStep();
  // As a daemon does that is killed in the middle of it.
  for (float& value : session->parameters(0).floats()) value = 1;
  std::raise(SIGTERM);
  EXPECT_TRUE(absl::IsCancelled(training.get()));
  EXPECT_TRUE(kept_initial_) << "parameters of half a step are nobody's";
  EXPECT_THAT(engine_.AwaitLost().second, HasSubstr("detached"));
}

TEST_F(IsthmusServiceTest, AStepThatEndsInTimeIsFinished) {
  Start(1);
  IsthmusOptions options = Options();
  options.stop_grace = absl::InfiniteDuration();
  IsthmusService service(options);
  std::future<absl::Status> training = TrainAsync(&service);
  server_->FinishAttach(engine_.AwaitAttached()->id(), AttachReply{.group_count = 1, .rounds = 5});
  const uint64_t id = engine_.AwaitStep().first;
  std::raise(SIGTERM);
  server_->FinishStep(id, StepReply{.round = 1});
  EXPECT_TRUE(absl::IsCancelled(training.get()));
  EXPECT_EQ(round_, 1u);
}

}  // namespace
}  // namespace isthmus::lm
