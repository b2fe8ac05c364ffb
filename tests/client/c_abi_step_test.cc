// What a step by the C ABI hands over and brings back, and what may end it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cmath>
#include <future>
#include <string>
#include <thread>

#include "tests/client/c_abi_fixture.h"

namespace isthmus::c_abi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(CAbiTest, StepHandsOverGradientsAndBringsParametersUntilTheEnd) {
  Start(2);
  auto sessions = AttachAll(2);
  Floats(isthmus_gradient(sessions[1], 0))[2] = 8;
  const isthmus_step_args args = StepArgs();
  for (isthmus_session* s : sessions) ASSERT_EQ(isthmus_step_begin(s, &args), ISTHMUS_OK);
  auto [id, steps] = engine_.AwaitStep();
  EXPECT_THAT(steps[1].lr, ElementsAre(0.5f, 0.25f));
  EXPECT_THAT(steps[1].weight_decay, ElementsAre(0, 0));
  EXPECT_EQ(steps[0].samples, 7u);
  EXPECT_EQ(steps[0].loss, 1.5f);
  EXPECT_EQ(shared_->gradients(0).floats()[2], 0);
  EXPECT_EQ(shared_->gradients(1).floats()[2], 8);
  shared_->parameters(0).floats()[2] = shared_->parameters(1).floats()[2] = -1;
  StepReply reply;
  reply.round = 11;
  reply.contributors = 2;
  reply.buckets = 4;
  reply.merged_here = 3;
  reply.loss = 1.25f;
  reply.link_wait_seconds = 0.125;
  reply.totals = {.steps = 330, .samples = 5280};
  server_->FinishStep(id, reply);
  for (isthmus_session* s : sessions) {
    isthmus_step_result result = {};
    result.struct_size = sizeof(result);
    ASSERT_EQ(isthmus_step_wait(s, &result), ISTHMUS_OK) << isthmus_error_message(s);
    EXPECT_EQ(result.round, 11u);
    EXPECT_EQ(result.merged_here, 3u);
    EXPECT_EQ(result.loss, 1.25f);
    EXPECT_EQ(result.link_wait_seconds, 0.125);
    EXPECT_EQ(Floats(isthmus_parameter(s, 0))[2], -1);
    isthmus_info info = {};
    info.struct_size = sizeof(info);
    ASSERT_EQ(isthmus_get_info(s, &info), ISTHMUS_OK);
    EXPECT_EQ(info.run_steps, 330u);
    EXPECT_EQ(info.run_samples, 5280u);
    ASSERT_EQ(isthmus_step_begin(s, &args), ISTHMUS_OK);
  }
  reply.round = 12;
  reply.end = true;
  server_->FinishStep(engine_.AwaitStep(1).first, reply);
  // What was answered before the daemon stopped still arrives.
  server_.reset();
  for (isthmus_session* s : sessions) {
    EXPECT_EQ(isthmus_step_wait(s, nullptr), ISTHMUS_END);
    EXPECT_EQ(isthmus_step(s, &args, nullptr), ISTHMUS_END);
    isthmus_detach(s);
  }
}

TEST_F(CAbiTest, AStepThatWasInterruptedGoesOnWithStepWait) {
  Start(1);
  Patience patience;
  auto attaching =
      std::async(std::launch::async, [&] { return Attach(patience.Options(path_, 0)); });
  server_->FinishAttach(engine_.AwaitAttached()->id(), SomeReply());
  isthmus_session* s = attaching.get().session;
  ASSERT_NE(s, nullptr);
  const isthmus_step_args args = StepArgs();
  patience.over = true;
  server_->SetWaiting("waiting for the coordinator");
  EXPECT_EQ(isthmus_step(s, &args, nullptr), ISTHMUS_INTERRUPTED);
  EXPECT_THAT(isthmus_error_message(s), HasSubstr("keep_waiting ended the call"));
  EXPECT_EQ(isthmus_step_begin(s, &args), ISTHMUS_FAILED_PRECONDITION) << "it has begun";
  EXPECT_EQ(isthmus_step_wait(s, nullptr), ISTHMUS_INTERRUPTED);
  patience.over = false;
  server_->FinishStep(engine_.AwaitStep().first, StepReply{});
  EXPECT_EQ(isthmus_step_wait(s, nullptr), ISTHMUS_OK) << isthmus_error_message(s);
  isthmus_detach(s);
}

std::atomic<bool> signalled = false;

TEST_F(CAbiTest, ASignalsHandlerEndsAStepByWhatKeepWaitingReads) {
  Start(1);
  isthmus_attach_options options = Options(path_, 0);
  options.keep_waiting = [](void*, const char*) { return signalled ? 0 : 1; };
  auto attaching = std::async(std::launch::async, [&] { return Attach(options); });
  server_->FinishAttach(engine_.AwaitAttached()->id(), SomeReply());
  isthmus_session* s = attaching.get().session;
  ASSERT_NE(s, nullptr);
  struct sigaction action = {};
  action.sa_handler = [](int) { signalled = true; };
  action.sa_flags = SA_RESTART;
  ASSERT_EQ(sigaction(SIGUSR2, &action, nullptr), 0);
  const isthmus_step_args args = StepArgs();
  isthmus_code code = ISTHMUS_INTERNAL;
  std::thread stepping([&] { code = isthmus_step(s, &args, nullptr); });
  engine_.AwaitStep();
  pthread_kill(stepping.native_handle(), SIGUSR2);
  stepping.join();
  EXPECT_EQ(code, ISTHMUS_INTERRUPTED);
  isthmus_detach(s);
  EXPECT_THAT(engine_.AwaitLost().second, HasSubstr("detached"));
}

TEST_F(CAbiTest, PollLooksInWithoutTakingTheAnswer) {
  Start(1);
  isthmus_session* s = AttachAll(1)[0];
  EXPECT_EQ(isthmus_step_poll(s, 0), ISTHMUS_FAILED_PRECONDITION);
  const isthmus_step_args args = StepArgs();
  ASSERT_EQ(isthmus_step_begin(s, &args), ISTHMUS_OK);
  const uint64_t id = engine_.AwaitStep().first;
  EXPECT_EQ(isthmus_step_poll(s, 0), ISTHMUS_DEADLINE_EXCEEDED);
  EXPECT_STREQ(isthmus_error_message(s), "the step is not done yet");
  EXPECT_EQ(isthmus_step_poll(s, NAN), ISTHMUS_INVALID_ARGUMENT);
  server_->SetWaiting("waiting for the coordinator");
  do {
    EXPECT_EQ(isthmus_step_poll(s, 0.01), ISTHMUS_DEADLINE_EXCEEDED);
  } while (std::string(isthmus_error_message(s)) !=
           "the step is not done yet; the daemon is waiting for the coordinator");
  server_->FinishStep(id, StepReply{.round = 7});
  EXPECT_EQ(isthmus_step_poll(s, 60), ISTHMUS_OK);
  EXPECT_EQ(isthmus_step_poll(s, 0), ISTHMUS_OK) << "as often as one likes";
  isthmus_step_result result = {};
  result.struct_size = sizeof(result);
  EXPECT_EQ(isthmus_step_wait(s, &result), ISTHMUS_OK);
  EXPECT_EQ(result.round, 7u);
  // Nor does the end of a daemon block it.
  ASSERT_EQ(isthmus_step_begin(s, &args), ISTHMUS_OK);
  engine_.AwaitStep(1);
  server_.reset();
  EXPECT_EQ(isthmus_step_poll(s, 60), ISTHMUS_OK);
  EXPECT_EQ(isthmus_step_wait(s, nullptr), ISTHMUS_UNAVAILABLE);
  EXPECT_THAT(isthmus_error_message(s), HasSubstr("shutting down"));
  isthmus_detach(s);
}

TEST_F(CAbiTest, WaitForIsAWaitWithAnEnd) {
  Start(1);
  isthmus_session* s = AttachAll(1)[0];
  isthmus_step_result result = {};
  result.struct_size = sizeof(result);
  EXPECT_EQ(isthmus_step_wait_for(s, 0, &result), ISTHMUS_FAILED_PRECONDITION);
  const isthmus_step_args args = StepArgs();
  ASSERT_EQ(isthmus_step_begin(s, &args), ISTHMUS_OK);
  const uint64_t id = engine_.AwaitStep().first;
  EXPECT_EQ(isthmus_step_wait_for(s, 0.01, &result), ISTHMUS_DEADLINE_EXCEEDED);
  EXPECT_EQ(isthmus_step_wait_for(s, NAN, &result), ISTHMUS_INVALID_ARGUMENT);
  EXPECT_THAT(isthmus_error_message(s), HasSubstr("step_wait_for: expected 0 seconds or more"));
  EXPECT_EQ(result.round, 0u) << "nothing came yet";
  server_->FinishStep(id, StepReply{.round = 7});
  EXPECT_EQ(isthmus_step_wait_for(s, 60, &result), ISTHMUS_OK);
  EXPECT_EQ(result.round, 7u);
  EXPECT_EQ(isthmus_step_wait_for(s, 60, &result), ISTHMUS_FAILED_PRECONDITION);
  isthmus_detach(s);
}

TEST_F(CAbiTest, SignalsDoNotInterruptAStep) {
  Start(1);
  isthmus_session* s = AttachAll(1)[0];
  struct sigaction action = {};
  action.sa_handler = [](int) {};  // without SA_RESTART
  ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  const isthmus_step_args args = StepArgs();
  isthmus_code code = ISTHMUS_INTERNAL;
  std::thread stepping([&] { code = isthmus_step(s, &args, nullptr); });
  const uint64_t id = engine_.AwaitStep().first;
  for (int i = 0; i < 1000; ++i) pthread_kill(stepping.native_handle(), SIGUSR1);
  server_->FinishStep(id, StepReply{});
  stepping.join();
  EXPECT_EQ(code, ISTHMUS_OK) << isthmus_error_message(s);
  isthmus_detach(s);
}

TEST_F(CAbiTest, ADaemonThatStopsIsUnavailableAlsoInMidStep) {
  Start(1);
  isthmus_session* s = AttachAll(1)[0];
  const isthmus_step_args args = StepArgs();
  auto stepping = std::async(std::launch::async, [&] { return isthmus_step(s, &args, nullptr); });
  engine_.AwaitStep();
  server_.reset();
  EXPECT_EQ(stepping.get(), ISTHMUS_UNAVAILABLE);
  EXPECT_THAT(isthmus_error_message(s), HasSubstr("shutting down"));
  EXPECT_EQ(Floats(isthmus_parameter(s, 0))[0], 1) << "buffers stay until detach";
  isthmus_detach(s);
}

}  // namespace
}  // namespace isthmus::c_abi
