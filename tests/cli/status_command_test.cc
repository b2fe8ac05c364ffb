// `isthmus status` against a coordinator that only answers GetStatus.
#include "cli/status/status_command.h"

#include <gmock/gmock.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include "cli/base/exit_codes.h"
#include "cli/status/probe.h"
#include "common/base/clock.h"
#include "common/transport/acceptor.h"
#include "common/transport/rpc_server.h"
#include "isthmus/v1/control.grpc.pb.h"

namespace isthmus {
namespace {

using ::testing::HasSubstr;

class FakeControl final : public v1::Control::Service {
 public:
  grpc::Status GetStatus(grpc::ServerContext*, const v1::GetStatusRequest*,
                         v1::GetStatusReply* reply) override {
    const int call = ++calls;
    // Ends `isthmus status --watch` as Ctrl-C would.
    if (call == 3) kill(getpid(), SIGINT);
    if (call <= failures) return failure;
    reply->set_round(7);
    return grpc::Status::OK;
  }
  std::atomic<int> calls{0};
  int failures = 0;  // calls that fail first
  grpc::Status failure;
};

// Another kind of server: says the same to whoever connects, and closes.
class OtherServer {
 public:
  explicit OtherServer(std::string greeting) : greeting_(std::move(greeting)) {
    acceptor_ = Acceptor::Open({.address = {"127.0.0.1", 0}, .descriptor_bound = 1 << 20}).value();
    EXPECT_TRUE(acceptor_
                    ->Run([this](int fd, int) {
                      EXPECT_EQ(write(fd, greeting_.data(), greeting_.size()),
                                static_cast<ssize_t>(greeting_.size()));
                      shutdown(fd, SHUT_WR);
                      Drain(fd);
                      close(fd);
                    })
                    .ok());
  }
  int port() const { return acceptor_->address().port; }

 private:
  // So that closing is no reset, which would take the greeting back.
  static void Drain(int fd) {
    pollfd polled{.fd = fd, .events = POLLIN, .revents = 0};
    char bytes[256];
    while (poll(&polled, 1, 1000) > 0 && read(fd, bytes, sizeof(bytes)) > 0) {
    }
  }

  const std::string greeting_;
  std::unique_ptr<Acceptor> acceptor_;
};

class StatusCommandTest : public ::testing::Test {
 protected:
  void StartCoordinator() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&control_);
    server_ = RpcServer::Start({.listen = "127.0.0.1:0"}, &builder).value();
    options_.coordinator = ToString(server_->address());
  }
  void StartOther(const std::string& greeting) {
    other_ = std::make_unique<OtherServer>(greeting);
    options_.coordinator = "127.0.0.1:" + std::to_string(other_->port());
  }

  int Run() { return RunStatus(options_, signals_, /*terminal=*/false, out_, errors_); }
  // A busy machine gets some more; five seconds is what silence takes.
  int RunWithinASecond() {
    const absl::Time begin = Clock::Real().Now();
    const int code = Run();
    EXPECT_LT(Clock::Real().Now() - begin, absl::Seconds(4));
    return code;
  }

  Signals signals_;  // before gRPC starts threads
  FakeControl control_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<OtherServer> other_;
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

TEST_F(StatusCommandTest, SaysWhenNobodyListens) {
  // Port 1 is privileged and unused.
  options_.coordinator = "127.0.0.1:1";
  EXPECT_EQ(RunWithinASecond(), kExitUnreachable);
  EXPECT_THAT(
      errors_.str(),
      HasSubstr(
          "no coordinator answers at 127.0.0.1:1: connection refused: nothing listens there"));
  EXPECT_EQ(out_.str(), "");
}

TEST_F(StatusCommandTest, SaysWhenThereIsNoSuchHost) {
  options_.coordinator = "no-such-host.invalid:29750";
  EXPECT_EQ(Run(), kExitUnreachable);
  EXPECT_THAT(errors_.str(), HasSubstr("no address for host 'no-such-host.invalid': "));
}

TEST_F(StatusCommandTest, SaysWhatElseSpeaksThere) {
  StartOther("HTTP/1.1 400 Bad Request\r\n\r\n");
  EXPECT_EQ(RunWithinASecond(), kExitUnreachable);
  EXPECT_THAT(errors_.str(), HasSubstr("it speaks HTTP/1, as web servers do, and no gRPC"));
}

TEST_F(StatusCommandTest, SaysWhenConnectionsAreClosedAtOnce) {
  StartOther("");
  EXPECT_EQ(RunWithinASecond(), kExitUnreachable);
  EXPECT_THAT(errors_.str(), HasSubstr("it closes connections at once"));
}

TEST_F(StatusCommandTest, SaysWhenItIsNoCoordinator) {
  control_.failure = grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "what\x1b[2J?");
  control_.failures = 1;
  StartCoordinator();
  EXPECT_EQ(Run(), kExitUnreachable);
  EXPECT_THAT(errors_.str(), HasSubstr("not as a coordinator of this version does (what?[2J?)"));
}

// Five seconds is how long somebody may be silent who takes connections.
TEST_F(StatusCommandTest, ASignalEndsItBeforeTheAnswer) {
  const auto silent =
      Acceptor::Open({.address = {"127.0.0.1", 0}, .descriptor_bound = 1 << 20}).value();
  ASSERT_TRUE(silent->Run([](int, int) { kill(getpid(), SIGINT); }).ok());
  options_.coordinator = ToString(silent->address());
  EXPECT_EQ(RunWithinASecond(), kExitInterrupted);
  options_.watch_seconds = 1;
  EXPECT_EQ(RunWithinASecond(), kExitOk);
  EXPECT_EQ(errors_.str(), "");
}

TEST_F(StatusCommandTest, AddressesAreChecked) {
  for (const char* address :
       {"", "none", "127.0.0.1", ":29750", "127.0.0.1:99999", "127.0.0.1:0"}) {
    errors_.str("");
    options_.coordinator = address;
    EXPECT_EQ(Run(), kExitUsage) << address;
    EXPECT_THAT(errors_.str(), HasSubstr("--coordinator: expected HOST:PORT")) << address;
  }
}

TEST_F(StatusCommandTest, WatchingGoesOnAfterAMiss) {
  control_.failure = grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting");
  control_.failures = 2;
  StartCoordinator();
  options_.watch_seconds = 0.01;
  EXPECT_EQ(Run(), kExitOk);
  EXPECT_EQ(control_.calls, 3);
  EXPECT_THAT(errors_.str(), HasSubstr("does not answer (restarting)"));
  EXPECT_THAT(out_.str(), HasSubstr("7, 0 committed"));
}

TEST(ProbeTest, KnowsServersByTheirFirstBytes) {
  const auto words = [](absl::string_view bytes) { return DescribeGreeting(bytes).words; };
  const absl::string_view settings("\0\0\6\4\0\0\0\0\0\0\3", 11);
  EXPECT_TRUE(DescribeGreeting(settings).http2);
  EXPECT_FALSE(DescribeGreeting(settings.substr(0, 5)).http2);
  EXPECT_THAT(words("HTTP/1.0 400 Bad"), HasSubstr("HTTP/1"));
  EXPECT_THAT(words("<!DOCTYPE HTML>\n<html>"), HasSubstr("HTTP/1"));
  EXPECT_THAT(words("SSH-2.0-OpenSSH_9.2\r\n"), HasSubstr("begins with 'SSH-2.0-OpenSSH_9.2"));
  EXPECT_THAT(words(absl::string_view("\x15\3\1\0\2\2\x0a", 7)), HasSubstr("TLS"));
  EXPECT_THAT(words(""), HasSubstr("closes connections at once"));
  EXPECT_EQ(words("\x1b[2J").find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace isthmus
