// gRPC over our own listener.
#include "common/transport/rpc_server.h"

#include <absl/time/clock.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <vector>

#include "common/transport/endpoints.h"
#include "isthmus/v1/control.grpc.pb.h"

namespace isthmus {
namespace {

class RpcServerTest : public ::testing::Test {
 protected:
  RpcServerTest() {
    ConfigureServer(&builder_);
    builder_.RegisterService(&service_);
  }

  void Start(const std::string& listen = "127.0.0.1:0") {
    auto started = RpcServer::Start({.listen = listen}, &builder_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
  }

  // Whether a client gets through to gRPC itself.
  bool Answers() {
    return MakeChannel(ToString(server_->address()), Credentials::Insecure())
        ->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(30));
  }

  v1::Control::CallbackService service_;  // refuses every call
  grpc::ServerBuilder builder_;
  std::unique_ptr<RpcServer> server_;
};

TEST_F(RpcServerTest, ServesWhoeverConnects) {
  Start();
  EXPECT_TRUE(Answers());
  EXPECT_TRUE(Answers());
  EXPECT_EQ(server_->connections().taken, 2u);
  server_->Shutdown(absl::ZeroDuration());
  server_->Shutdown(absl::ZeroDuration());
}

TEST_F(RpcServerTest, P27_BeyondLoopbackIsSomebodysDecision) {
  EXPECT_EQ(RpcServer::Start({.listen = "0.0.0.0:0"}, &builder_).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(RpcServer::Start({.listen = "none"}, &builder_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// gRPC's own listener is deaf from then on.
TEST_F(RpcServerTest, AnswersAgainAfterDescriptorsRanOut) {
  Start();
  ASSERT_TRUE(Answers());
  std::vector<int> held;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(server_->address().port));
  for (int i = 0; i < 70; ++i) held.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit former{};
  getrlimit(RLIMIT_NOFILE, &former);
  rlimit low = former;
  low.rlim_cur = static_cast<rlim_t>(held.back()) + 30;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  const size_t clients = held.size();
  for (int fd = 0; fd >= 0;) {
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) held.push_back(fd);
  }
  for (size_t i = 0; i < clients; ++i) {
    EXPECT_EQ(connect(held[i], reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  char byte = 0;
  // Closed by the server, which cannot serve it.
  EXPECT_LE(read(held[clients - 1], &byte, 1), 0);
  for (const int fd : held) close(fd);
  setrlimit(RLIMIT_NOFILE, &former);
  EXPECT_GT(server_->connections().turned_away, 0u);
  EXPECT_TRUE(Answers());
}

}  // namespace
}  // namespace isthmus
