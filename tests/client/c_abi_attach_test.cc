// How a job attaches by the C ABI, and what it hears of a daemon that is not there, or slow.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "tests/client/c_abi_fixture.h"

namespace isthmus::c_abi {
namespace {

using ::testing::HasSubstr;

// A socket where connections wait for nobody.
int ListenWithoutDaemon(const std::string& path) {
  const int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  EXPECT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(listen(listener, 0), 0);
  return listener;
}

TEST_F(CAbiTest, AttachSharesBuffersThatStartWithTheJobsValues) {
  Start(1);
  std::future<Attached> pending = AttachAsync(0);
  auto shared = engine_.AwaitAttached();
  EXPECT_EQ(shared->layout().length(), 4096u);
  EXPECT_EQ(shared->parameters(0).floats()[5], 6);
  EXPECT_EQ(shared->parameters(0).floats()[64], 0);
  EXPECT_EQ(std::memcmp(shared->constants(0).data(), "abcde", 5), 0);
  shared->parameters(0).floats()[64] = 42;
  shared->constants(0)[0] = std::byte{'z'};
  server_->FinishAttach(shared->id(), SomeReply());

  const Attached attached = pending.get();
  ASSERT_EQ(attached.code, ISTHMUS_OK) << attached.error;
  isthmus_session* s = attached.session;
  EXPECT_EQ(isthmus_flat_length(s), 4096u);
  EXPECT_EQ(Floats(isthmus_parameter(s, 0))[5], 6);
  EXPECT_EQ(isthmus_parameter(s, 2), Floats(isthmus_flat_parameters(s)) + 64);
  EXPECT_EQ(*Floats(isthmus_parameter(s, 2)), 42);
  EXPECT_EQ(*Floats(isthmus_gradient(s, 2)), 0);
  EXPECT_EQ(std::memcmp(isthmus_constant(s, 1), "zbcde", 5), 0);
  EXPECT_EQ(isthmus_parameter(s, 1), nullptr);
  EXPECT_EQ(isthmus_constant(s, 0), nullptr);
  EXPECT_EQ(isthmus_gradient(s, 3), nullptr);
  isthmus_info info = {};
  info.struct_size = sizeof(info);
  ASSERT_EQ(isthmus_get_info(s, &info), ISTHMUS_OK);
  EXPECT_EQ(info.group_id, 3u);
  EXPECT_EQ(info.group_index, 1u);
  EXPECT_EQ(info.group_count, 2u);
  EXPECT_EQ(info.rank, 4u);
  EXPECT_EQ(info.world_size, 6u);
  EXPECT_EQ(info.round, 10u);
  EXPECT_EQ(info.rounds, 12u);
  EXPECT_EQ(info.parameters, 7u);
  EXPECT_EQ(info.run_steps, 300u);
  EXPECT_EQ(info.run_samples, 4800u);
  isthmus_detach(s);
  EXPECT_THAT(engine_.AwaitLost().second,
              HasSubstr("group 3: the session ended: rank 0: detached"));
}

// As DLPack's header has it.
struct Managed {
  void* data;
  int32_t device_type;
  int32_t device_id;
  int32_t ndim;
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
  void* manager;
  void (*deleter)(DLManagedTensor* self);
};

TEST_F(CAbiTest, WhatWasExportedOutlivesTheSession) {
  Start(1);
  std::future<Attached> pending = AttachAsync(0);
  auto shared = engine_.AwaitAttached();
  server_->FinishAttach(shared->id(), SomeReply());
  isthmus_session* s = pending.get().session;
  ASSERT_NE(s, nullptr);
  EXPECT_EQ(isthmus_dlpack_parameter(s, 1), nullptr) << "a constant";
  EXPECT_EQ(isthmus_dlpack_gradient(s, 3), nullptr) << "none of that number";
  EXPECT_EQ(isthmus_dlpack_parameter(nullptr, 0), nullptr);
  DLManagedTensor* const exported[] = {isthmus_dlpack_parameter(s, 0),
                                       isthmus_dlpack_gradient(s, 2)};
  const auto* parameter = reinterpret_cast<const Managed*>(exported[0]);
  ASSERT_NE(parameter, nullptr);
  EXPECT_EQ(parameter->data, isthmus_parameter(s, 0));
  EXPECT_EQ(parameter->device_type, 1);
  EXPECT_EQ(parameter->ndim, 1);
  EXPECT_EQ(parameter->code, 2);
  EXPECT_EQ(parameter->bits, 32);
  EXPECT_EQ(parameter->lanes, 1);
  EXPECT_EQ(parameter->shape[0], 6);
  EXPECT_EQ(parameter->strides, nullptr);
  EXPECT_EQ(parameter->byte_offset, 0u);
  isthmus_detach(s);
  engine_.AwaitLost();
  server_.reset();
  shared.reset();
  Floats(parameter->data)[5] = 8;
  EXPECT_EQ(Floats(parameter->data)[5], 8);
  for (DLManagedTensor* one : exported) {
    std::thread([one] { reinterpret_cast<Managed*>(one)->deleter(one); }).join();
  }
}

TEST_F(CAbiTest, StructsOfANewerCallerAreUnderstood) {
  struct NewerTensor {
    isthmus_tensor known;
    uint64_t unknown = 0;
  };
  Tensors tensors;
  std::vector<NewerTensor> newer(tensors.size());
  for (size_t i = 0; i < newer.size(); ++i) {
    newer[i].known = tensors[i];
    newer[i].known.struct_size = sizeof(NewerTensor);
  }
  Start(1);
  auto pending = std::async(std::launch::async, [&] {
    isthmus_session* session = nullptr;
    const isthmus_attach_options options = Options(path_, 0);
    isthmus_attach(&options, &newer[0].known, newer.size(), &session);
    return session;
  });
  server_->FinishAttach(engine_.AwaitAttached()->id(), SomeReply());
  isthmus_session* session = pending.get();
  ASSERT_NE(session, nullptr);
  EXPECT_EQ(Floats(isthmus_parameter(session, 0))[5], 6);
  isthmus_detach(session);
}

TEST_F(CAbiTest, TheLaunchersEnvironmentFillsInWhatOptionsLeaveOut) {
  Start(2);
  setenv("ISTHMUS_SOCKET", path_.c_str(), 1);
  setenv("LOCAL_RANK", "5", 1);
  setenv("LOCAL_WORLD_SIZE", "6", 1);
  Tensors tensors;
  isthmus_session* session = nullptr;
  EXPECT_EQ(isthmus_attach(nullptr, tensors.data(), tensors.size(), &session),
            ISTHMUS_FAILED_PRECONDITION);
  EXPECT_THAT(isthmus_error_message(nullptr), HasSubstr("rank 5: local_world_size"));
  setenv("LOCAL_RANK", "five", 1);
  EXPECT_EQ(isthmus_attach(nullptr, tensors.data(), tensors.size(), &session),
            ISTHMUS_INVALID_ARGUMENT);
  for (const char* name : {"ISTHMUS_SOCKET", "LOCAL_RANK", "LOCAL_WORLD_SIZE"}) unsetenv(name);
  EXPECT_EQ(isthmus_attach(nullptr, tensors.data(), tensors.size(), &session),
            ISTHMUS_INVALID_ARGUMENT);
  EXPECT_THAT(isthmus_error_message(nullptr), HasSubstr("ISTHMUS_SOCKET is not set"));
}

TEST_F(CAbiTest, WithoutADaemonAttachIsUnavailable) {
  EXPECT_EQ(Attach(Options(path_, 0)).code, ISTHMUS_UNAVAILABLE);
  EXPECT_EQ(Attach(Options(std::string(200, 'x'), 0)).code, ISTHMUS_INVALID_ARGUMENT);
}

TEST_F(CAbiTest, AttachKeepsItsTimeout) {
  Start(2);  // the other rank never comes
  isthmus_attach_options options = Options(path_, 0);
  options.timeout_seconds = 0.05;
  EXPECT_EQ(Attach(options).code, ISTHMUS_DEADLINE_EXCEEDED);
  server_.reset();

  // Nor does a full backlog hold it up.
  const int listener = ListenWithoutDaemon(path_);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Attach(options).code, ISTHMUS_DEADLINE_EXCEEDED);
  close(listener);
}

TEST_F(CAbiTest, AnAttachThatIsTooLateSaysWhatTheDaemonWasDoing) {
  Start(2);
  isthmus_attach_options options = Options(path_, 0);
  Attached late;
  // However slow the machine: at some timeout the daemon has had the time to say it.
  for (options.timeout_seconds = 0.02; options.timeout_seconds < 60; options.timeout_seconds *= 2) {
    late = Attach(options);
    ASSERT_EQ(late.code, ISTHMUS_DEADLINE_EXCEEDED) << late.error;
    if (late.error.find("rank") != std::string::npos) break;
  }
  EXPECT_EQ(late.error,
            "timeout_seconds are over, and the daemon was waiting for rank 1 of 2 to attach");
}

TEST_F(CAbiTest, TheCallerMayEndAnAttachAndHearsWhatItWaitedFor) {
  Start(2);
  Patience patience;
  patience.until = "waiting for rank 1 of 2";
  const Attached stopped = Attach(patience.Options(path_, 0));
  EXPECT_EQ(stopped.code, ISTHMUS_INTERRUPTED);
  EXPECT_EQ(stopped.session, nullptr);
  EXPECT_EQ(stopped.error,
            "keep_waiting ended the call; the daemon was waiting for rank 1 of 2 to attach");
  // Its place is free again.
  for (isthmus_session* s : AttachAll(2)) isthmus_detach(s);
}

TEST_F(CAbiTest, AJobMayComeBeforeItsDaemon) {
  Patience patience;
  isthmus_attach_options options = patience.Options(path_, 0);
  options.timeout_seconds = 600;
  auto early = std::async(std::launch::async, [&] { return Attach(options); });
  patience.heard.get_future().wait();  // it has looked once and found nobody
  Start(1);
  server_->FinishAttach(engine_.AwaitAttached()->id(), SomeReply());
  const Attached attached = early.get();
  EXPECT_EQ(attached.code, ISTHMUS_OK) << attached.error;
  isthmus_detach(attached.session);

  server_.reset();
  Patience none;
  none.until = "not there, at '" + path_ + "': No such file";
  EXPECT_EQ(Attach([&] {
              auto o = none.Options(path_, 0);
              o.timeout_seconds = 600;
              return o;
            }())
                .code,
            ISTHMUS_INTERRUPTED);
  options = Options(path_, 0);
  options.timeout_seconds = 0.05;
  const Attached never = Attach(options);
  EXPECT_EQ(never.code, ISTHMUS_UNAVAILABLE);
  EXPECT_EQ(never.error,
            "no daemon at '" + path_ + "' within timeout_seconds: No such file or directory");
}

TEST_F(CAbiTest, ADaemonThatDiesWithoutAWordIsUnavailable) {
  const int listener = ListenWithoutDaemon(path_);
  auto attaching = AttachAsync(0);
  const int connection = accept(listener, nullptr, nullptr);
  ASSERT_GE(connection, 0);
  // With or without the job's packets unread, which the kernel reports differently.
  char packet[4096];
  ASSERT_GT(recv(connection, packet, sizeof(packet), 0), 0);
  close(connection);
  const Attached refused = attaching.get();
  EXPECT_EQ(refused.code, ISTHMUS_UNAVAILABLE);
  EXPECT_THAT(refused.error, HasSubstr("the daemon went away"));
  close(listener);
}

}  // namespace
}  // namespace isthmus::c_abi
