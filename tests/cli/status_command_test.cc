// `isthmus status` against a coordinator that only answers GetStatus.
#include "cli/status/status_command.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <sstream>
#include <string>

#include "cli/base/exit_codes.h"
#include "isthmus/v1/control.grpc.pb.h"

namespace isthmus {
namespace {

using ::testing::HasSubstr;

class FakeControl final : public v1::Control::Service {
 public:
  grpc::Status GetStatus(grpc::ServerContext*, const v1::GetStatusRequest*,
                         v1::GetStatusReply* reply) override {
    reply->set_round(7);
    // Ends `isthmus status --watch` as Ctrl-C would.
    if (++calls == 3) kill(getpid(), SIGINT);
    return grpc::Status::OK;
  }
  std::atomic<int> calls{0};
};

class StatusCommandTest : public ::testing::Test {
 protected:
  void StartCoordinator() {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&control_);
    server_ = builder.BuildAndStart();
    options_.coordinator = "127.0.0.1:" + std::to_string(port);
  }

  int Run() { return RunStatus(options_, signals_, /*terminal=*/false, out_, errors_); }

  Signals signals_;  // before gRPC starts threads
  FakeControl control_;
  std::unique_ptr<grpc::Server> server_;
  StatusOptions options_;
  std::ostringstream out_;
  std::ostringstream errors_;
};

TEST_F(StatusCommandTest, PrintsATable) {
  StartCoordinator();
  EXPECT_EQ(Run(), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("7, 0 committed"));
}

TEST_F(StatusCommandTest, WatchesUntilASignal) {
  StartCoordinator();
  options_.json = true;
  options_.watch_seconds = 0.01;
  EXPECT_EQ(Run(), kExitOk);
  EXPECT_GE(control_.calls, 3);
  EXPECT_THAT(out_.str(), HasSubstr("}\n{"));
}

TEST_F(StatusCommandTest, SaysWhenNobodyAnswers) {
  // Port 1 is privileged and unused.
  options_.coordinator = "127.0.0.1:1";
  EXPECT_EQ(Run(), kExitUnreachable);
  EXPECT_THAT(errors_.str(), HasSubstr("no coordinator answers at 127.0.0.1:1 within 5s"));
  EXPECT_EQ(out_.str(), "");
}

}  // namespace
}  // namespace isthmus
