// A job that keeps its own optimizer, by the C ABI: which of its steps reach the daemon, and with
// what.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstddef>
#include <future>
#include <string>

#include "tests/client/c_abi_fixture.h"

namespace isthmus::c_abi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

isthmus_attach_options OwnOptions(const std::string& path) {
  isthmus_attach_options options = Options(path, 0);
  options.own_optimizer = 1;
  return options;
}

// Of an own optimizer: rates are nobody's business.
isthmus_step_args OwnArgs(uint64_t samples = 7, float loss = 1.5f) {
  isthmus_step_args args = {};
  args.struct_size = sizeof(args);
  args.samples = samples;
  args.loss = loss;
  return args;
}

AttachReply EveryThirdStep() {
  AttachReply reply = SomeReply();
  reply.every_steps = 3;
  return reply;
}

isthmus_step_result NewResult() {
  isthmus_step_result result = {};
  result.struct_size = sizeof(result);
  return result;
}

isthmus_info InfoOf(isthmus_session* session) {
  isthmus_info info = {};
  info.struct_size = sizeof(info);
  EXPECT_EQ(isthmus_get_info(session, &info), ISTHMUS_OK);
  return info;
}

class CAbiOwnOptimizerTest : public CAbiTest {
 protected:
  isthmus_session* AttachAs(const isthmus_attach_options& options, const AttachReply& reply) {
    auto pending = std::async(std::launch::async, [&] { return Attach(options); });
    shared_ = engine_.AwaitAttached(attached_++);
    server_->FinishAttach(shared_->id(), reply);
    const Attached attached = pending.get();
    EXPECT_EQ(attached.code, ISTHMUS_OK) << attached.error;
    return attached.session;
  }
  isthmus_session* AttachOwn(const AttachReply& reply = EveryThirdStep()) {
    return AttachAs(OwnOptions(path_), reply);
  }
  // Begins the step that is to be exchange n, from 0; what the daemon hears.
  RankStep BeginExchange(isthmus_session* s, const isthmus_step_args& args) {
    EXPECT_EQ(isthmus_step_begin(s, &args), ISTHMUS_OK) << isthmus_error_message(s);
    return engine_.AwaitStep(exchanges_++).second[0];
  }
  isthmus_code EndExchange(isthmus_session* s, const StepReply& reply,
                           isthmus_step_result* result = nullptr) {
    server_->FinishStep(shared_->id(), reply);
    return isthmus_step_wait(s, result);
  }
  // Steps that exchange nothing. An answer that never comes would hang them.
  static void StepLocally(isthmus_session* s, int count, const isthmus_step_args& args) {
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(isthmus_step_begin(s, &args), ISTHMUS_OK) << isthmus_error_message(s);
      ASSERT_EQ(isthmus_step_poll(s, 0), ISTHMUS_OK) << isthmus_error_message(s);
      ASSERT_EQ(isthmus_step_wait(s, nullptr), ISTHMUS_OK) << isthmus_error_message(s);
    }
  }

  size_t exchanges_ = 0;
};

TEST_F(CAbiOwnOptimizerTest, ThereAreParametersAndNoGradients) {
  Start(1);
  isthmus_session* s = AttachOwn();
  EXPECT_TRUE(shared_->own_optimizer());
  EXPECT_EQ(shared_->gradients(0).size(), 0u);
  EXPECT_EQ(isthmus_flat_gradients(s), nullptr);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(isthmus_gradient(s, i), nullptr) << i;
  EXPECT_EQ(Floats(isthmus_parameter(s, 0))[5], 6);
  EXPECT_EQ(isthmus_parameter(s, 2), Floats(isthmus_flat_parameters(s)) + 64);
  EXPECT_EQ(static_cast<const char*>(isthmus_constant(s, 1))[4], 'e');
  EXPECT_EQ(InfoOf(s).every_steps, 3u);
  isthmus_detach(s);
}

TEST_F(CAbiOwnOptimizerTest, OnlyTheStepOfAnExchangeReachesTheDaemon) {
  Start(1);
  isthmus_session* s = AttachOwn();
  Floats(isthmus_parameter(s, 0))[2] = 30;  // as its optimizer does
  for (const auto& [samples, loss] : {std::pair(1, 1.0f), std::pair(2, NAN)}) {
    isthmus_step_result result = NewResult();
    result.exchanged = result.buckets = 77;
    const isthmus_step_args args = OwnArgs(samples, loss);
    ASSERT_EQ(isthmus_step(s, &args, &result), ISTHMUS_OK) << isthmus_error_message(s);
    EXPECT_EQ(result.exchanged, 0u);
    EXPECT_EQ(result.round, 10u) << "the last one exchanged";
    EXPECT_EQ(result.buckets, 0u);
    EXPECT_EQ(Floats(isthmus_parameter(s, 0))[2], 30) << "they stay the job's";
  }
  RankStep heard = BeginExchange(s, OwnArgs(5, 3.0f));
  EXPECT_EQ(heard.samples, 8u);
  EXPECT_EQ(heard.steps, 3u);
  EXPECT_FLOAT_EQ(heard.loss, (1 * 1.0f + 5 * 3.0f) / 6) << "of 1 and 5 samples";
  EXPECT_FALSE(heard.skip);
  EXPECT_THAT(heard.lr, ElementsAre(0, 0));
  EXPECT_THAT(heard.weight_decay, ElementsAre(0, 0));
  EXPECT_EQ(isthmus_step_poll(s, 0), ISTHMUS_DEADLINE_EXCEEDED);
  EXPECT_EQ(shared_->parameters(0).floats()[2], 30);
  shared_->parameters(0).floats()[2] = 31;
  isthmus_step_result result = NewResult();
  ASSERT_EQ(EndExchange(s, {.round = 11, .buckets = 4, .loss = 1.25f}, &result), ISTHMUS_OK);
  EXPECT_EQ(result.exchanged, 1u);
  EXPECT_EQ(result.round, 11u);
  EXPECT_EQ(result.buckets, 4u);
  EXPECT_EQ(result.loss, 1.25f);
  EXPECT_EQ(Floats(isthmus_parameter(s, 0))[2], 31);

  // The next period counts from nothing.
  StepLocally(s, 2, OwnArgs(2, INFINITY));
  heard = BeginExchange(s, OwnArgs(2, NAN));
  EXPECT_EQ(heard.samples, 6u);
  EXPECT_TRUE(std::isnan(heard.loss)) << "there was none";
  EXPECT_EQ(EndExchange(s, {.round = 12}), ISTHMUS_OK);
  isthmus_detach(s);
}

TEST_F(CAbiOwnOptimizerTest, ASkipIsRememberedUntilTheExchangeAndNoLonger) {
  Start(1);
  isthmus_session* s = AttachOwn();
  isthmus_step_args skipped = OwnArgs();
  skipped.skip = 1;
  StepLocally(s, 1, skipped);
  StepLocally(s, 1, OwnArgs());
  EXPECT_TRUE(BeginExchange(s, OwnArgs()).skip);
  ASSERT_EQ(EndExchange(s, {.round = 11}), ISTHMUS_OK);
  StepLocally(s, 2, OwnArgs());
  EXPECT_FALSE(BeginExchange(s, OwnArgs()).skip);
  isthmus_detach(s);
}

TEST_F(CAbiOwnOptimizerTest, RatesAreReadWithoutItOnly) {
  Start(1);
  isthmus_session* s = AttachOwn();
  const float wrong[] = {-1};
  isthmus_step_args args = OwnArgs();
  args.lr = wrong;
  args.weight_decay = wrong;
  args.parameter_groups = 1000;
  StepLocally(s, 2, args);
  EXPECT_THAT(BeginExchange(s, args).lr, ElementsAre(0, 0));
  ASSERT_EQ(EndExchange(s, {.round = 11}), ISTHMUS_OK);
  isthmus_detach(s);
  engine_.AwaitLost();

  s = AttachAll(1)[0];
  args = StepArgs();
  args.lr = nullptr;
  EXPECT_EQ(isthmus_step_begin(s, &args), ISTHMUS_INVALID_ARGUMENT);
  EXPECT_THAT(isthmus_error_message(s), HasSubstr("and lr"));
  EXPECT_EQ(InfoOf(s).every_steps, 1u);
  isthmus_detach(s);
}

TEST_F(CAbiOwnOptimizerTest, ALocalStepIsDoneAsSoonAsItHasBegun) {
  Start(1);
  isthmus_session* s = AttachOwn();
  EXPECT_EQ(isthmus_step_poll(s, 0), ISTHMUS_FAILED_PRECONDITION);
  EXPECT_EQ(isthmus_step_wait(s, nullptr), ISTHMUS_FAILED_PRECONDITION);
  const isthmus_step_args args = OwnArgs();
  ASSERT_EQ(isthmus_step_begin(s, &args), ISTHMUS_OK);
  EXPECT_EQ(isthmus_step_poll(s, 0), ISTHMUS_OK);
  EXPECT_EQ(isthmus_step_poll(s, 0), ISTHMUS_OK) << "as often as one likes";
  EXPECT_EQ(isthmus_step_poll(s, NAN), ISTHMUS_INVALID_ARGUMENT);
  EXPECT_EQ(isthmus_step_begin(s, &args), ISTHMUS_FAILED_PRECONDITION) << "step_wait comes first";
  EXPECT_EQ(isthmus_step_wait(s, nullptr), ISTHMUS_OK);
  EXPECT_EQ(isthmus_step_poll(s, 0), ISTHMUS_FAILED_PRECONDITION);
  // What was refused has not counted.
  StepLocally(s, 1, args);
  EXPECT_EQ(BeginExchange(s, args).samples, 21u);
  isthmus_detach(s);
}

TEST_F(CAbiOwnOptimizerTest, SamplesStayWithinTheBoundInEachStepAndInTheirSum) {
  Start(1);
  isthmus_session* s = AttachOwn();
  const uint64_t most = ISTHMUS_MAX_SAMPLES / 6;  // SomeReply() speaks of six ranks
  const isthmus_step_args args = OwnArgs(most + 1);
  EXPECT_EQ(isthmus_step_begin(s, &args), ISTHMUS_INVALID_ARGUMENT);
  EXPECT_THAT(isthmus_error_message(s), HasSubstr("(2^53 for the 6 ranks of the group)"));
  StepLocally(s, 2, OwnArgs(most - 1));
  EXPECT_EQ(BeginExchange(s, OwnArgs(most)).samples, most);
  isthmus_detach(s);
}

TEST_F(CAbiOwnOptimizerTest, OnceTheRunIsOverTheVeryNextStepHearsOfIt) {
  Start(1);
  isthmus_session* s = AttachOwn();
  EXPECT_EQ(InfoOf(s).rounds, 12u);
  for (const uint64_t round : {11, 12}) {
    StepLocally(s, 2, OwnArgs());
    BeginExchange(s, OwnArgs());
    ASSERT_EQ(EndExchange(s, {.round = round}), ISTHMUS_OK);
  }
  EXPECT_EQ(BeginExchange(s, OwnArgs(4)).samples, 0u) << "they are nobody's any more";
  shared_->parameters(0).floats()[2] = 12;
  isthmus_step_result result = NewResult();
  EXPECT_EQ(EndExchange(s, {.round = 12, .end = true}, &result), ISTHMUS_END);
  EXPECT_EQ(result.exchanged, 0u);
  EXPECT_EQ(result.round, 12u);
  EXPECT_EQ(Floats(isthmus_parameter(s, 0))[2], 12) << "the run's";
  const isthmus_step_args args = OwnArgs();
  EXPECT_EQ(isthmus_step(s, &args, nullptr), ISTHMUS_END);
  isthmus_detach(s);
}

// --- overlap -------------------------------------------------------------------------------------

AttachReply Overlapping(uint32_t every, uint32_t overlap) {
  AttachReply reply = SomeReply();  // round 10 of 12
  reply.rounds = 14;
  reply.every_steps = every;
  reply.overlap_steps = overlap;
  return reply;
}

constexpr StepWants kBegin{.take = true, .give = false};
constexpr StepWants kBeGiven{.take = false, .give = true};

TEST_F(CAbiOwnOptimizerTest, WithOverlapAnExchangeIsGivenSoManyStepsAfterItBegan) {
  Start(1);
  isthmus_session* s = AttachOwn(Overlapping(4, 1));
  EXPECT_EQ(InfoOf(s).overlap_steps, 1u);
  for (uint64_t round = 11; round <= 13; ++round) {
    StepLocally(s, round == 11 ? 3 : 2, OwnArgs(1));
    RankStep heard = BeginExchange(s, OwnArgs(1));
    EXPECT_EQ(heard.wants, kBegin);
    EXPECT_EQ(heard.samples, 4u);
    isthmus_step_result result = NewResult();
    ASSERT_EQ(EndExchange(s, {.round = round - 1, .blocked_seconds = 0.5}, &result), ISTHMUS_OK);
    EXPECT_EQ(result.exchanged, 0u);
    EXPECT_EQ(result.blocked_seconds, 0.5);
    heard = BeginExchange(s, OwnArgs(1));
    EXPECT_EQ(heard.wants, kBeGiven);
    EXPECT_EQ(heard.samples, 0u) << "they go with the next";
    ASSERT_EQ(EndExchange(s, {.round = round, .nonfinite = 2}, &result), ISTHMUS_OK);
    EXPECT_EQ(result.exchanged, 1u);
    EXPECT_EQ(result.nonfinite, 2u);
    EXPECT_EQ(result.round, round);
  }
  // There is nothing to go on for after the last.
  StepLocally(s, 2, OwnArgs(1));
  EXPECT_EQ(BeginExchange(s, OwnArgs(1)).wants, StepWants());
  ASSERT_EQ(EndExchange(s, {.round = 14}), ISTHMUS_OK);
  EXPECT_EQ(BeginExchange(s, OwnArgs(1)).wants, kBeGiven) << "the run is over";
  EXPECT_EQ(EndExchange(s, {.round = 14, .end = true}), ISTHMUS_END);
  isthmus_detach(s);
}

TEST_F(CAbiOwnOptimizerTest, AnOverlapOfAWholePeriodGivesWhereTheNextBegins) {
  Start(1);
  isthmus_session* s = AttachOwn(Overlapping(2, 2));
  StepLocally(s, 1, OwnArgs());
  EXPECT_EQ(BeginExchange(s, OwnArgs()).wants, kBegin);
  ASSERT_EQ(EndExchange(s, {.round = 10}), ISTHMUS_OK);
  for (uint64_t round = 11; round <= 12; ++round) {
    StepLocally(s, 1, OwnArgs());
    const RankStep heard = BeginExchange(s, OwnArgs());
    EXPECT_EQ(heard.wants, (StepWants{.give_first = true, .take = true, .give = false}));
    EXPECT_EQ(heard.samples, 14u);
    isthmus_step_result result = NewResult();
    ASSERT_EQ(EndExchange(s, {.round = round}, &result), ISTHMUS_OK);
    EXPECT_EQ(result.exchanged, 1u);
  }
  StepLocally(s, 1, OwnArgs());
  EXPECT_EQ(BeginExchange(s, OwnArgs()).wants, (StepWants{true, true, true}));
  ASSERT_EQ(EndExchange(s, {.round = 14}), ISTHMUS_OK);
  EXPECT_EQ(BeginExchange(s, OwnArgs()).wants, kBeGiven) << "the run is over";
  EXPECT_EQ(EndExchange(s, {.round = 14, .end = true}), ISTHMUS_END);
  isthmus_detach(s);
}

// --- steps that the daemon names
// -------------------------------------------------------------------

TEST_F(CAbiOwnOptimizerTest, P29_WhereTheRunCountsAnExchangeIsWhereTheDaemonSays) {
  Start(1);
  isthmus_session* s = AttachOwn(Overlapping(0, 2));
  EXPECT_EQ(InfoOf(s).every_steps, 0u);
  StepLocally(s, 40, OwnArgs(2));
  EXPECT_EQ(shared_->pace(0)->steps(), 40u);
  EXPECT_EQ(shared_->pace(0)->samples(), 80u);
  server_->NameStep(shared_->id());
  const isthmus_step_args args = OwnArgs(2);
  // It is named in the server's own time, and again where the rank was faster than its word: a rank
  // that has stopped for a step may be sent on.
  auto stepping = std::async(std::launch::async, [&] {
    uint64_t steps = 40;
    isthmus_step_result result = NewResult();
    isthmus_code code = ISTHMUS_OK;
    while (code == ISTHMUS_OK && result.round != 11) {
      ++steps;
      code = isthmus_step(s, &args, &result);
    }
    EXPECT_EQ(code, ISTHMUS_OK) << isthmus_error_message(s);
    return steps;
  });
  RankStep heard = engine_.AwaitStep(exchanges_++).second[0];
  server_->FinishStep(shared_->id(), StepReply{.round = 11});
  const uint64_t step = stepping.get();
  EXPECT_EQ(heard.step, step);
  EXPECT_EQ(heard.samples, 2 * step);
  EXPECT_EQ(heard.wants, kBegin);
  StepLocally(s, 1, OwnArgs());
  heard = BeginExchange(s, OwnArgs());
  EXPECT_EQ(heard.wants, kBeGiven) << "so many steps later, without a word";
  ASSERT_EQ(EndExchange(s, {.round = 12}), ISTHMUS_OK);
  StepLocally(s, 100, OwnArgs());
  isthmus_detach(s);
}

TEST_F(CAbiOwnOptimizerTest, ReadingTheAnchorLeavesNoTrace) {
  Start(1);
  isthmus_session* s = AttachOwn();
  StepLocally(s, 1, OwnArgs());
  float* const parameters = Floats(isthmus_parameter(s, 0));
  parameters[2] = 30;
  std::vector<float> anchor(6);
  void* places[] = {anchor.data(), nullptr, nullptr};
  EXPECT_EQ(isthmus_read_anchor(s, places, 2, nullptr), ISTHMUS_INVALID_ARGUMENT);
  EXPECT_THAT(isthmus_error_message(s), HasSubstr("a place for each of 3 tensors, got 2"));
  uint64_t round = 0;
  auto read =
      std::async(std::launch::async, [&] { return isthmus_read_anchor(s, places, 3, &round); });
  const RankStep heard = engine_.AwaitStep(exchanges_++).second[0];
  EXPECT_EQ(heard.wants, (StepWants{.take = false, .give = false, .anchor = true}));
  shared_->parameters(0).floats()[2] = 31;
  server_->FinishStep(shared_->id(), StepReply{.round = 11});
  ASSERT_EQ(read.get(), ISTHMUS_OK) << isthmus_error_message(s);
  EXPECT_EQ(round, 11u);
  EXPECT_EQ(anchor[2], 31);
  EXPECT_EQ(anchor[5], 6) << "all of the tensor";
  EXPECT_EQ(parameters[2], 30) << "the job's own again";
  StepLocally(s, 1, OwnArgs());
  EXPECT_EQ(BeginExchange(s, OwnArgs(1)).samples, 15u) << "the count went on";
  EXPECT_EQ(isthmus_read_anchor(s, places, 3, &round), ISTHMUS_FAILED_PRECONDITION);
  EXPECT_THAT(isthmus_error_message(s), HasSubstr("step_wait comes first"));
  ASSERT_EQ(EndExchange(s, {.round = 11}), ISTHMUS_OK);
  isthmus_detach(s);
}

// Where the daemon steps, parameters are the anchor.
TEST_F(CAbiOwnOptimizerTest, WithoutItTheAnchorIsWhatTheJobHolds) {
  Start(1);
  isthmus_session* s = AttachAll(1)[0];
  std::vector<float> anchor(6);
  void* const places[] = {anchor.data(), nullptr, nullptr};
  uint64_t round = 0;
  ASSERT_EQ(isthmus_read_anchor(s, places, 3, &round), ISTHMUS_OK) << isthmus_error_message(s);
  EXPECT_EQ(anchor[5], 6);
  EXPECT_EQ(round, InfoOf(s).round);
  isthmus_detach(s);
}

// Of a daemon that says nothing of ranks, ends or steps: an exchange each time, for ever.
TEST_F(CAbiOwnOptimizerTest, WithoutAPeriodEachStepIsAnExchange) {
  Start(1);
  isthmus_session* s = AttachOwn(AttachReply());
  EXPECT_EQ(InfoOf(s).every_steps, 1u);
  for (uint64_t round = 1; round <= 3; ++round) {
    EXPECT_EQ(BeginExchange(s, OwnArgs(round)).samples, round);
    isthmus_step_result result = NewResult();
    ASSERT_EQ(EndExchange(s, {.round = round}, &result), ISTHMUS_OK);
    EXPECT_EQ(result.exchanged, 1u);
  }
  isthmus_detach(s);
}

TEST_F(CAbiOwnOptimizerTest, AnOlderCallerHasGradientsAndAnExchangeInEachStep) {
  Start(1);
  isthmus_attach_options options = OwnOptions(path_);  // the last field is not its own
  options.struct_size = offsetof(isthmus_attach_options, own_optimizer);
  isthmus_session* s = AttachAs(options, SomeReply());
  EXPECT_FALSE(shared_->own_optimizer());
  EXPECT_EQ(isthmus_gradient(s, 2), Floats(isthmus_flat_gradients(s)) + 64);
  isthmus_info info = {};
  info.struct_size = offsetof(isthmus_info, every_steps);
  info.every_steps = 77;
  ASSERT_EQ(isthmus_get_info(s, &info), ISTHMUS_OK);
  EXPECT_EQ(info.parameters, 7u);
  EXPECT_EQ(info.every_steps, 77u) << "beyond what it gave";
  EXPECT_EQ(BeginExchange(s, StepArgs()).samples, 7u);
  isthmus_step_result result = {};
  result.struct_size = offsetof(isthmus_step_result, exchanged);
  result.exchanged = 77;
  ASSERT_EQ(EndExchange(s, {.round = 11, .link_wait_seconds = 0.5}, &result), ISTHMUS_OK);
  EXPECT_EQ(result.link_wait_seconds, 0.5);
  EXPECT_EQ(result.exchanged, 77u);
  isthmus_detach(s);
}

// The exit code of a forked child that steps until it is refused: how many steps that took, or 100
// and more for a surprise.
int StepInAChild(isthmus_session* s, const isthmus_step_args& args) {
  for (int step = 1; step < 10; ++step) {
    const isthmus_code code = isthmus_step(s, &args, nullptr);
    if (code == ISTHMUS_OK) continue;
    const std::string said = isthmus_error_message(s);
    const bool in_words =
        said.find("step_begin: expected the process that attached") != std::string::npos;
    return code == ISTHMUS_FAILED_PRECONDITION && in_words ? step : 100 + code;
  }
  return 200;
}

TEST_F(CAbiOwnOptimizerTest, AForkedChildsExchangeIsRefusedAndItsParentsGoesOn) {
  Start(1);
  isthmus_session* s = AttachOwn();
  StepLocally(s, 1, OwnArgs());
  const pid_t child = fork();
  if (child == 0) _exit(StepInAChild(s, OwnArgs()));
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 2) << "the step after two, of which the parent's was one";
  StepLocally(s, 1, OwnArgs());
  EXPECT_EQ(BeginExchange(s, OwnArgs()).samples, 21u) << "and nothing of the child's";
  EXPECT_EQ(EndExchange(s, {.round = 11}), ISTHMUS_OK);
  isthmus_detach(s);
}

}  // namespace
}  // namespace isthmus::c_abi
