#include "common/transport/connection_socket.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <set>
#include <string>

#include "common/transport/endpoints.h"
#include "common/transport/rpc_server.h"
#include "isthmus/v1/control.grpc.pb.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

constexpr char kAny[] = "reno";  // every Linux has it, and none has it as its default

// Of this process' sockets that have `port` at one end, both ends of a connection among them.
std::multiset<std::string> OfConnections(int port, const ConnectionOptions& options) {
  std::multiset<std::string> found;
  const auto port_of = [](const sockaddr_in& address) { return ntohs(address.sin_port); };
  for (int fd = 0; fd < 1024; ++fd) {
    sockaddr_in here{}, there{};
    socklen_t here_length = sizeof(here), there_length = sizeof(there);
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&here), &here_length) != 0 ||
        getpeername(fd, reinterpret_cast<sockaddr*>(&there), &there_length) != 0 ||
        (port_of(here) != port && port_of(there) != port)) {
      continue;
    }
    std::array<char, 32> name{};
    socklen_t length = name.size() - 1;
    if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &length) != 0) continue;
    found.insert(name.data());
    int unsent = 0;
    length = sizeof(unsent);
    EXPECT_EQ(getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, &length), 0);
    EXPECT_EQ(unsent, options.little_unsent ? 32 << 10 : 0);
    uint64_t rate = 0;
    length = sizeof(rate);
    EXPECT_EQ(getsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &length), 0);
    EXPECT_EQ(rate,
              options.max_bytes_per_second == 0 ? ~uint64_t{0} : options.max_bytes_per_second);
  }
  return found;
}

std::multiset<std::string> OfAConnection(const ConnectionOptions& options) {
  v1::Control::CallbackService service;  // refuses every call
  grpc::ServerBuilder builder;
  ConfigureServer(&builder);
  builder.RegisterService(&service);
  auto server = RpcServer::Start({.listen = "127.0.0.1:0", .connections = options}, &builder);
  EXPECT_TRUE(server.ok());
  const HostPort address = (*server)->address();
  const auto channel =
      MakeChannel(ToString(address), Credentials::Insecure(), kMaxMessageBytes, options);
  EXPECT_TRUE(
      channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::minutes(1)));
  return OfConnections(address.port, options);
}

TEST(ConnectionSocketTest, BothEndsOfAConnectionHaveIt) {
  EXPECT_EQ(OfAConnection({kAny}), (std::multiset<std::string>{kAny, kAny}));
}

TEST(ConnectionSocketTest, WithoutANameTheyHaveTheSystems) {
  const std::string systems = *ResolveCongestionControl(kSystemCongestion);
  EXPECT_NE(systems, "");
  EXPECT_EQ(OfAConnection({}), (std::multiset<std::string>{systems, systems}));
}

TEST(ConnectionSocketTest, ItSendsNoFasterThanItMay) {
  EXPECT_EQ(OfAConnection({kAny, 250'000}).size(), 2u);
}

TEST(ConnectionSocketTest, ItLeavesLittleUnsent) {
  EXPECT_EQ(OfAConnection({.congestion_control = kAny, .little_unsent = true}).size(), 2u);
}

TEST(ConnectionSocketTest, AutoIsBbrOrTheSystems) {
  const std::string name = *ResolveCongestionControl(kAutoCongestion);
  EXPECT_TRUE(name == "bbr" || name == *ResolveCongestionControl(kSystemCongestion)) << name;
  EXPECT_EQ(*ResolveCongestionControl(kAny), kAny);
}

TEST(ConnectionSocketTest, OneThatTheKernelDoesNotHaveIsRefusedWithThoseItHas) {
  const std::string why = CongestionControl()("vogas");
  EXPECT_THAT(why, HasSubstr("expected auto, system, or a congestion control"));
  EXPECT_THAT(why, HasSubstr("reno"));
  EXPECT_THAT(why, HasSubstr("got 'vogas'"));
  EXPECT_EQ(CongestionControl()(kAny), "");
}

}  // namespace
}  // namespace isthmus
