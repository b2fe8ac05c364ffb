// The C++ layer: ownership, spans, results.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <utility>
#include <vector>

#include "client/isthmus.hpp"
#include "tests/worker/jobs/fake_engine.h"

namespace isthmus {
namespace {

using client::Session;
using client::Tensor;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CppClientTest, TrainsThroughSpansAndDetachesWhenItGoes) {
  SocketDir dir;
  FakeEngine engine;
  auto server = StartServer(dir.path(), 1, &engine);
  auto job = std::async(std::launch::async, [&] {
    const std::vector<float> w = {1, 2, 3, 4};
    const std::byte table[] = {std::byte{7}};
    const std::vector<Tensor> tensors = {Tensor::Constant("table", table),
                                         Tensor::Trained("w", {2, 2}, w)};
    auto session = Session::Attach({.socket_path = dir.path(), .local_rank = 0}, tensors);
    ASSERT_TRUE(session.ok()) << session.status().ToString();
    EXPECT_THAT(session->Parameter(1), ElementsAre(1, 2, 3, 4));
    EXPECT_THAT(session->Constant(0), ElementsAre(std::byte{7}));
    EXPECT_TRUE(session->Parameter(0).empty());
    EXPECT_TRUE(session->Constant(1).empty());
    EXPECT_EQ(session->Info().group_id, 3u);
    EXPECT_EQ(session->FlatGradients().size(), 4096u);
    session->Gradient(1)[3] = 2;
    const std::vector<float> lr = {0.5f};
    auto result = session->Step({.lr = lr});
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    EXPECT_EQ(result->round, 1u);
    EXPECT_THAT(session->Parameter(1), ElementsAre(1, 2, 3, 3));
    EXPECT_TRUE(session->Step({.lr = lr}).status().end());
  });
  auto shared = engine.AwaitAttached();
  AttachReply attached;
  attached.group_id = 3;
  server->FinishAttach(shared->id(), attached);
  auto [id, steps] = engine.AwaitStep();
  shared->parameters(0).floats()[3] -= steps[0].lr[0] * shared->gradients(0).floats()[3];
  StepReply reply;
  reply.round = 1;
  server->FinishStep(id, reply);
  engine.AwaitStep(1);
  reply.end = true;
  server->FinishStep(id, reply);
  job.get();
  EXPECT_THAT(engine.AwaitLost().second, HasSubstr("detached"));
}

TEST(CppClientTest, ACallersPatienceMovesWithItsSession) {
  SocketDir dir;
  FakeEngine engine;
  auto server = StartServer(dir.path(), 1, &engine);
  std::atomic<bool> patient = true;
  auto job = std::async(std::launch::async, [&] {
    const std::vector<Tensor> tensors = {Tensor::Trained("w", {4})};
    auto attached = Session::Attach({.socket_path = dir.path(),
                                     .local_rank = 0,
                                     .keep_waiting = [&](const char*) { return patient.load(); }},
                                    tensors);
    ASSERT_TRUE(attached.ok()) << attached.status().ToString();
    Session session = std::move(*attached);
    patient = false;
    const std::vector<float> lr = {0.5f};
    EXPECT_EQ(session.Step({.lr = lr}).status().code(), ISTHMUS_INTERRUPTED);
    patient = true;
    auto ready = session.StepPoll(0);
    ASSERT_TRUE(ready.ok()) << ready.status().ToString();
    EXPECT_FALSE(*ready);
    server->FinishStep(engine.AwaitStep().first, StepReply{.round = 1});
    ready = session.StepPoll(60);
    EXPECT_TRUE(ready.ok() && *ready);
    EXPECT_TRUE(session.StepWait().ok());
  });
  server->FinishAttach(engine.AwaitAttached()->id(), AttachReply());
  job.get();
}

TEST(CppClientTest, FailuresAreResults) {
  const std::vector<float> w = {1, 2, 3};
  std::vector<Tensor> tensors = {Tensor::Trained("w", {2, 2}, w)};
  auto session = Session::Attach({.socket_path = "/nonexistent/socket"}, tensors);
  EXPECT_EQ(session.status().code(), ISTHMUS_INVALID_ARGUMENT);
  EXPECT_THAT(session.status().message(), HasSubstr("expected data of 4 elements, got 3"));
  tensors[0].data = {};
  session = Session::Attach({.socket_path = "/nonexistent/socket"}, tensors);
  EXPECT_EQ(session.status().code(), ISTHMUS_UNAVAILABLE);
  EXPECT_THAT(session.status().ToString(), HasSubstr("UNAVAILABLE: no daemon at"));
}

}  // namespace
}  // namespace isthmus
