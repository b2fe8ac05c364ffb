// What the C ABI refuses, or passes on of what others refused, in words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <future>
#include <string>

#include "client/job_wire.h"
#include "tests/client/c_abi_fixture.h"
#include "tests/worker/jobs/as_nobody.h"

namespace isthmus::c_abi {
namespace {

using ::testing::HasSubstr;

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

// Who polls would take it for "not yet", and poll for ever.
TEST_F(CAbiTest, ADeadlineOfTheEnginesEndsTheSessionInOtherWordsThanAPollsOwn) {
  Start(1);
  isthmus_session* s = AttachAll(1)[0];
  const isthmus_step_args args = StepArgs();
  ASSERT_EQ(isthmus_step_begin(s, &args), ISTHMUS_OK);
  server_->FinishStep(engine_.AwaitStep().first, absl::DeadlineExceededError("NCCL took too long"));
  EXPECT_EQ(isthmus_step_wait_for(s, 60, nullptr), ISTHMUS_ABORTED);
  EXPECT_THAT(isthmus_error_message(s), HasSubstr("NCCL took too long"));
  EXPECT_EQ(isthmus_step_wait_for(s, 60, nullptr), ISTHMUS_ABORTED);
  EXPECT_EQ(isthmus_step_poll(s, 0), ISTHMUS_ABORTED);
  isthmus_detach(s);
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

TEST(CAbi, NullSessionsAreRefusedNotFollowed) {
  EXPECT_EQ(isthmus_parameter(nullptr, 0), nullptr);
  EXPECT_EQ(isthmus_flat_length(nullptr), 0u);
  EXPECT_EQ(isthmus_step(nullptr, nullptr, nullptr), ISTHMUS_INVALID_ARGUMENT);
  isthmus_detach(nullptr);
  EXPECT_STREQ(isthmus_code_name(ISTHMUS_ABORTED), "ABORTED");
}

}  // namespace
}  // namespace isthmus::c_abi
