// The C ABI against the real JobServer, over a real socket, with an engine played by the test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <future>
#include <thread>
#include <vector>

#include "client/isthmus.h"
#include "client/job_wire.h"
#include "tests/worker/jobs/as_nobody.h"
#include "tests/worker/jobs/fake_engine.h"

namespace isthmus {
namespace {

float* Floats(void* elements) { return static_cast<float*>(elements); }

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// "w" [2, 3] in group 0, a constant of 5 bytes, "b" scalar in group 1.
class Tensors {
 public:
  Tensors() {
    list_.push_back(Make("w", 2, shape_, 0));
    list_[0].data = w_;
    list_.push_back(Make("table", 0, nullptr, 0));
    list_[1].constant = 1;
    list_[1].size_bytes = 5;
    list_[1].data = "abcde";
    list_.push_back(Make("b", 0, nullptr, 1));
  }
  isthmus_tensor& operator[](size_t i) { return list_[i]; }
  const isthmus_tensor* data() const { return list_.data(); }
  size_t size() const { return list_.size(); }

 private:
  static isthmus_tensor Make(const char* name, int ndim, const int64_t* shape, uint32_t group) {
    isthmus_tensor tensor = {};
    tensor.struct_size = sizeof(tensor);
    tensor.name = name;
    tensor.ndim = ndim;
    tensor.shape = shape;
    tensor.parameter_group = group;
    return tensor;
  }
  static constexpr int64_t shape_[2] = {2, 3};
  static constexpr float w_[6] = {1, 2, 3, 4, 5, 6};
  std::vector<isthmus_tensor> list_;
};

struct Attached {
  isthmus_code code = ISTHMUS_INTERNAL;
  isthmus_session* session = nullptr;
  std::string error;
};

isthmus_attach_options Options(const std::string& path, int rank) {
  isthmus_attach_options options = {};
  options.struct_size = sizeof(options);
  options.socket_path = path.c_str();
  options.local_rank = rank;
  options.local_world_size = -1;
  return options;
}

Attached Attach(const isthmus_attach_options& options, const Tensors& tensors = Tensors()) {
  Attached result;
  result.code = isthmus_attach(&options, tensors.data(), tensors.size(), &result.session);
  result.error = isthmus_error_message(nullptr);
  return result;
}

constexpr float kLr[] = {0.5f, 0.25f};

isthmus_step_args StepArgs() {
  isthmus_step_args args = {};
  args.struct_size = sizeof(args);
  args.lr = kLr;
  args.parameter_groups = 2;
  args.samples = 7;
  args.loss = 1.5f;
  return args;
}

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

AttachReply SomeReply() {
  AttachReply reply;
  reply.group_id = 3;
  reply.group_index = 1;
  reply.group_count = 2;
  reply.round = 10;
  reply.rounds = 12;
  reply.first_rank = 4;  // of a group that spans machines
  reply.world_size = 6;
  return reply;
}

class CAbiTest : public testing::Test {
 protected:
  void Start(uint32_t ranks) { server_ = StartServer(dir_.path(), ranks, &engine_); }

  std::future<Attached> AttachAsync(int rank) {
    return std::async(std::launch::async, [this, rank] { return Attach(Options(path_, rank)); });
  }
  // All `ranks` attached, by rank.
  std::vector<isthmus_session*> AttachAll(int ranks) {
    std::vector<std::future<Attached>> pending;
    for (int rank = 0; rank < ranks; ++rank) pending.push_back(AttachAsync(rank));
    shared_ = engine_.AwaitAttached(attached_++);
    server_->FinishAttach(shared_->id(), SomeReply());
    std::vector<isthmus_session*> sessions;
    for (auto& one : pending) {
      const Attached attached = one.get();
      EXPECT_EQ(attached.code, ISTHMUS_OK) << attached.error;
      sessions.push_back(attached.session);
    }
    return sessions;
  }

  SocketDir dir_;
  const std::string path_ = dir_.path();
  FakeEngine engine_;
  std::unique_ptr<JobServer> server_;
  std::shared_ptr<JobSession> shared_;
  size_t attached_ = 0;
};

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
  isthmus_detach(s);
  EXPECT_THAT(engine_.AwaitLost().second,
              HasSubstr("group 3: the session ended: rank 0: detached"));
}

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

TEST_F(CAbiTest, TheEnginesErrorsReachEveryRankInItsWords) {
  Start(2);
  auto first = AttachAsync(0);
  auto second = AttachAsync(1);
  server_->FinishAttach(engine_.AwaitAttached(attached_++)->id(),
                        absl::FailedPreconditionError("run spec: expected a, got b"));
  for (auto* pending : {&first, &second}) {
    const Attached attached = pending->get();
    EXPECT_EQ(attached.code, ISTHMUS_FAILED_PRECONDITION);
    EXPECT_EQ(attached.session, nullptr);
    EXPECT_THAT(attached.error, HasSubstr("run spec: expected a, got b"));
  }
  engine_.AwaitLost(0);

  auto sessions = AttachAll(2);
  const isthmus_step_args args = StepArgs();
  for (isthmus_session* s : sessions) ASSERT_EQ(isthmus_step_begin(s, &args), ISTHMUS_OK);
  server_->FinishStep(engine_.AwaitStep().first,
                      absl::ResourceExhaustedError(std::string(5000, 'x')));
  for (isthmus_session* s : sessions) {
    EXPECT_EQ(isthmus_step_wait(s, nullptr), ISTHMUS_RESOURCE_EXHAUSTED);
    const std::string message = isthmus_error_message(s);
    EXPECT_THAT(message, HasSubstr("group 3, rank"));
    EXPECT_EQ(message.size(), size_t{ISTHMUS_WIRE_MAX_TEXT});
    EXPECT_EQ(isthmus_step(s, &args, nullptr), ISTHMUS_RESOURCE_EXHAUSTED) << "still the reason";
    isthmus_detach(s);
  }
}

TEST_F(CAbiTest, MistakesFoundByTheLibraryLeaveTheSessionUsable) {
  Start(1);
  isthmus_session* s = AttachAll(1)[0];
  EXPECT_EQ(isthmus_step_wait(s, nullptr), ISTHMUS_FAILED_PRECONDITION);
  EXPECT_THAT(isthmus_error_message(s), HasSubstr("begun no step"));
  isthmus_step_args args = StepArgs();
  args.parameter_groups = 1;
  EXPECT_EQ(isthmus_step_begin(s, &args), ISTHMUS_INVALID_ARGUMENT);
  EXPECT_THAT(isthmus_error_message(s), HasSubstr("expected the layout's 2, got 1"));
  args = StepArgs();
  const float rates[] = {1, NAN};
  args.weight_decay = rates;
  EXPECT_EQ(isthmus_step_begin(s, &args), ISTHMUS_INVALID_ARGUMENT);
  EXPECT_THAT(isthmus_error_message(s),
              HasSubstr("weight_decay[1]: expected a number from 0 to 1e+06, got nan"));
  args = StepArgs();
  args.struct_size = 8;
  EXPECT_EQ(isthmus_step_begin(s, &args), ISTHMUS_INVALID_ARGUMENT);
  args = StepArgs();
  EXPECT_EQ(isthmus_step_begin(s, &args), ISTHMUS_OK);
  EXPECT_EQ(isthmus_step_begin(s, &args), ISTHMUS_FAILED_PRECONDITION);
  server_->FinishStep(engine_.AwaitStep().first, StepReply{});
  EXPECT_EQ(isthmus_step_wait(s, nullptr), ISTHMUS_OK);
  isthmus_detach(s);
}

// What the coordinator would refuse for good must not get that far: everybody would pay for it.
TEST_F(CAbiTest, WhatACoordinatorWouldRefuseIsRefusedHere) {
  Start(1);
  isthmus_session* s = AttachAll(1)[0];
  const auto begin = [&](float lr, float weight_decay, uint64_t samples) {
    const float rates[] = {1, lr}, decays[] = {weight_decay, 0};
    isthmus_step_args args = StepArgs();
    args.lr = rates;
    args.weight_decay = decays;
    args.samples = samples;
    const isthmus_code code = isthmus_step_begin(s, &args);
    return code == ISTHMUS_OK ? "OK" : std::string(isthmus_error_message(s));
  };
  EXPECT_EQ(begin(-1e-9f, 0, 1), "lr[1]: expected a number from 0 to 1e+06, got -1e-09");
  EXPECT_EQ(begin(INFINITY, 0, 1), "lr[1]: expected a number from 0 to 1e+06, got inf");
  EXPECT_EQ(begin(1, 2e6f, 1), "weight_decay[0]: expected a number from 0 to 1e+06, got 2e+06");
  // SomeReply() speaks of six ranks.
  const uint64_t most = ISTHMUS_MAX_SAMPLES / 6;
  EXPECT_THAT(begin(1, 0, most + 1),
              HasSubstr("(2^53 for the 6 ranks of the group), got 15011998"));
  EXPECT_EQ(begin(1e6f, 1e6f, most), "OK");
  EXPECT_EQ(engine_.AwaitStep().second[0].samples, most);
  server_->FinishStep(shared_->id(), StepReply{});
  EXPECT_EQ(isthmus_step_wait(s, nullptr), ISTHMUS_OK);
  isthmus_detach(s);
}

TEST_F(CAbiTest, RefusedRanksHearWhyAndWaitingOnesKeepWaiting) {
  Start(2);
  auto waiting = AttachAsync(0);
  // A list that never gets a place tells when rank 0 has its own.
  Tensors twice;
  twice[2].name = "w";
  Attached refused;
  do {
    refused = Attach(Options(path_, 0), twice);
  } while (refused.code == ISTHMUS_INVALID_ARGUMENT);
  EXPECT_EQ(refused.code, ISTHMUS_FAILED_PRECONDITION);
  EXPECT_THAT(refused.error, HasSubstr("expected one that is free, got 0"));
  Tensors other;
  other[2].name = "c";
  refused = Attach(Options(path_, 1), other);
  EXPECT_EQ(refused.code, ISTHMUS_FAILED_PRECONDITION);
  EXPECT_THAT(refused.error, HasSubstr("group 3, rank 1: layout unlike that of rank 0: tensor 1: "
                                       "expected 'b'"));
  refused = Attach(Options(path_, 2));
  EXPECT_EQ(refused.code, ISTHMUS_INVALID_ARGUMENT);
  EXPECT_THAT(refused.error, HasSubstr("local_rank: expected 0 to 1, got 2"));
  isthmus_attach_options options = Options(path_, 1);
  options.local_world_size = 3;
  refused = Attach(options);
  EXPECT_EQ(refused.code, ISTHMUS_FAILED_PRECONDITION);
  EXPECT_THAT(refused.error, HasSubstr("expected the daemon's 2, got 3"));

  auto second = AttachAsync(1);
  server_->FinishAttach(engine_.AwaitAttached()->id(), SomeReply());
  for (auto* pending : {&waiting, &second}) {
    const Attached attached = pending->get();
    EXPECT_EQ(attached.code, ISTHMUS_OK) << attached.error;
    isthmus_detach(attached.session);
  }
}

TEST_F(CAbiTest, BadTensorsAreRefusedInWords) {
  Start(1);
  Tensors tensors;
  tensors[2].name = "w";
  Attached refused = Attach(Options(path_, 0), tensors);
  EXPECT_EQ(refused.code, ISTHMUS_INVALID_ARGUMENT);
  EXPECT_THAT(refused.error, HasSubstr("the name 'w' is taken"));
  tensors = Tensors();
  const int64_t huge[] = {int64_t{1} << 39};
  tensors[2].ndim = 1;
  tensors[2].shape = huge;
  refused = Attach(Options(path_, 0), tensors);
  EXPECT_EQ(refused.code, ISTHMUS_RESOURCE_EXHAUSTED) << refused.error;
  tensors = Tensors();
  tensors[0].dtype = 9;
  EXPECT_EQ(Attach(Options(path_, 0), tensors).code, ISTHMUS_INVALID_ARGUMENT);
  tensors = Tensors();
  tensors[1].name = nullptr;
  EXPECT_EQ(Attach(Options(path_, 0), tensors).code, ISTHMUS_INVALID_ARGUMENT);
  tensors = Tensors();
  tensors[1].struct_size = 16;
  EXPECT_EQ(Attach(Options(path_, 0), tensors).code, ISTHMUS_INVALID_ARGUMENT);
  EXPECT_EQ(isthmus_attach(nullptr, tensors.data(), 1, nullptr), ISTHMUS_INVALID_ARGUMENT);
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

// A caller that waits until the daemon has said a thing, then stops.
struct Patience {
  std::string until;
  std::atomic<bool> over = false;  // by somebody else
  std::atomic<int> asked = 0;
  std::promise<void> heard;

  static int Ask(void* context, const char* what) {
    auto* self = static_cast<Patience*>(context);
    if (++self->asked == 1 && self->until.empty()) self->heard.set_value();
    if (self->over) return 0;
    return self->until.empty() || std::string(what).find(self->until) == std::string::npos;
  }
  isthmus_attach_options Options(const std::string& path, int rank) {
    isthmus_attach_options options = isthmus::Options(path, rank);
    options.keep_waiting = &Ask;
    options.waiting_context = this;
    return options;
  }
};

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

TEST_F(CAbiTest, ASocketForOthersIsRefusedInWordsAndAtOnce) {
  Start(1);
  ASSERT_EQ(chmod(path_.substr(0, path_.rfind('/')).c_str(), 0755), 0);
  ASSERT_EQ(chmod(path_.c_str(), 0), 0);  // should the test not run as root
  isthmus_attach_options options = Options(path_, 0);
  options.timeout_seconds = 600;
  const AsNobody nobody;
  const Attached refused = Attach(options);
  EXPECT_EQ(refused.code, ISTHMUS_FAILED_PRECONDITION);
  EXPECT_THAT(refused.error, HasSubstr("Permission denied: it is open to its daemon's user alone, "
                                       "unless isthmus-worker runs with --socket-mode"));
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

TEST(CAbi, NullSessionsAreRefusedNotFollowed) {
  EXPECT_EQ(isthmus_parameter(nullptr, 0), nullptr);
  EXPECT_EQ(isthmus_flat_length(nullptr), 0u);
  EXPECT_EQ(isthmus_step(nullptr, nullptr, nullptr), ISTHMUS_INVALID_ARGUMENT);
  isthmus_detach(nullptr);
  EXPECT_STREQ(isthmus_code_name(ISTHMUS_ABORTED), "ABORTED");
}

}  // namespace
}  // namespace isthmus
