// The listener on real loopback sockets.
#include "common/transport/acceptor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

namespace isthmus {
namespace {

using ::testing::HasSubstr;

constexpr std::chrono::seconds kPatience{30};
constexpr int kMany = 1 << 20;

// Closes with the test.
class Sockets {
 public:
  ~Sockets() { Close(); }
  int Add(int fd) {
    if (fd >= 0) all_.push_back(fd);
    return fd;
  }
  void Close() {
    for (const int fd : all_) close(fd);
    all_.clear();
  }

 private:
  std::vector<int> all_;
};

class AcceptorTest : public ::testing::Test {
 protected:
  void Listen(const std::string& address, int descriptor_bound = kMany) {
    auto opened = Acceptor::Open(
        {.address = ParseHostPort(address).value(), .descriptor_bound = descriptor_bound});
    ASSERT_TRUE(opened.ok()) << opened.status();
    acceptor_ = *std::move(opened);
    ASSERT_TRUE(acceptor_
                    ->Run([this](int fd, int) {
                      const std::lock_guard<std::mutex> lock(mu_);
                      taken_.push_back(fd);
                      changed_.notify_all();
                    })
                    .ok());
  }

  // A socket for Connect(), so that descriptors may run out in between.
  int MakeSocket(int family = AF_INET) {
    const int fd = clients_.Add(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval patience{kPatience.count(), 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
  }

  // True once the handshake is done, which the kernel does before anybody accepts.
  bool Connect(int fd, const HostPort& to) {
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (getaddrinfo(to.host.c_str(), std::to_string(to.port).c_str(), &hints, &found) != 0)
      return false;
    const int result = connect(fd, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return result == 0;
  }
  int Connect() {
    const int fd = MakeSocket();
    EXPECT_TRUE(Connect(fd, acceptor_->address())) << std::strerror(errno);
    return fd;
  }

  // The server's end of the next connection, or -1 when none comes.
  int Taken() {
    std::unique_lock<std::mutex> lock(mu_);
    if (!changed_.wait_for(lock, kPatience, [&] { return !taken_.empty(); })) return -1;
    const int fd = taken_.front();
    taken_.pop_front();
    return servers_.Add(fd);
  }

  bool HasTaken() {
    const std::lock_guard<std::mutex> lock(mu_);
    return !taken_.empty();
  }

  // Whether the other end has closed, rather than said something or nothing.
  bool IsTurnedAway(int fd) {
    char byte = 0;
    const ssize_t got = read(fd, &byte, 1);
    return got == 0 || (got < 0 && errno == ECONNRESET);
  }

  // Of this process, that listens on `port`.
  int ListeningDescriptor(int port) {
    for (int fd = 0; fd < 1024; ++fd) {
      int listens = 0;
      socklen_t length = sizeof(listens);
      sockaddr_in address{};
      socklen_t address_length = sizeof(address);
      if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens == 1 &&
          getsockname(fd, reinterpret_cast<sockaddr*>(&address), &address_length) == 0 &&
          ntohs(address.sin_port) == port) {
        return fd;
      }
    }
    return -1;
  }

  Sockets clients_;
  Sockets servers_;
  std::mutex mu_;
  std::condition_variable changed_;
  std::deque<int> taken_;
  std::unique_ptr<Acceptor> acceptor_;  // last: its thread uses the above
};

TEST_F(AcceptorTest, TakesConnectionsIn) {
  Listen("127.0.0.1:0");
  EXPECT_EQ(acceptor_->address().host, "127.0.0.1");
  EXPECT_GT(acceptor_->address().port, 0);
  const int client = Connect();
  const int server = Taken();
  ASSERT_GE(server, 0);
  EXPECT_NE(fcntl(server, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(server, F_GETFD) & FD_CLOEXEC, 0);
  ASSERT_EQ(write(server, "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(read(client, &byte, 1), 1);
  EXPECT_EQ(acceptor_->counts().taken, 1u);
}

TEST_F(AcceptorTest, SaysWhatIsBound) {
  for (const auto& [listen, host] :
       {std::pair{"0.0.0.0:0", "0.0.0.0"}, {"127.0.0.2:0", "127.0.0.2"}}) {
    Listen(listen);
    EXPECT_EQ(acceptor_->address().host, host);
  }
  const int probe = socket(AF_INET6, SOCK_STREAM, 0);
  close(probe);
  if (!Connect(MakeSocket(AF_INET6), {"::1", 1}) && errno == EADDRNOTAVAIL)
    GTEST_SKIP() << "no IPv6";
  Listen("[::1]:0");
  EXPECT_EQ(ToString(acceptor_->address()).substr(0, 6), "[::1]:");
  EXPECT_TRUE(Connect(MakeSocket(AF_INET6), acceptor_->address()));
  EXPECT_GE(Taken(), 0);
}

TEST_F(AcceptorTest, ANameIsEveryAddressOfIt) {
  Listen("localhost:0");
  const int port = acceptor_->address().port;
  EXPECT_TRUE(Connect(MakeSocket(), {"127.0.0.1", port}));
  EXPECT_GE(Taken(), 0);
}

TEST_F(AcceptorTest, SaysWhyItCannotListen) {
  Listen("127.0.0.1:0");
  const auto second = Acceptor::Open({.address = acceptor_->address(), .descriptor_bound = kMany});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("Address already in use"));
  const auto nowhere =
      Acceptor::Open({.address = {"no.such.host.invalid", 1}, .descriptor_bound = kMany});
  EXPECT_THAT(std::string(nowhere.status().message()),
              HasSubstr("cannot listen on no.such.host.invalid:1: "));
  const auto crowded = Acceptor::Open({.address = {"127.0.0.1", 0}, .descriptor_bound = 3});
  EXPECT_EQ(crowded.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(AcceptorTest, TurnsAwayWhoeverIsTooMany) {
  const int next = dup(0);  // the lowest that is free
  close(next);
  // Room for what the listener has itself, for the clients of this process, and for few others.
  Listen("127.0.0.1:0", next + 40);
  std::vector<int> clients;
  for (int i = 0; i < 40; ++i) clients.push_back(Connect());
  EXPECT_TRUE(IsTurnedAway(clients.back()));
  EXPECT_GE(acceptor_->counts().turned_away, 1u);
  // And takes others once there is room.
  while (HasTaken()) Taken();
  servers_.Close();
  clients_.Close();
  const uint64_t before = acceptor_->counts().taken;
  Connect();
  EXPECT_GE(Taken(), 0);
  EXPECT_EQ(acceptor_->counts().taken, before + 1);
}

TEST_F(AcceptorTest, OutlivesAProcessWithoutDescriptors) {
  Listen("127.0.0.1:0");
  rlimit former{};
  getrlimit(RLIMIT_NOFILE, &former);
  const int one = MakeSocket(), two = MakeSocket();
  rlimit low = former;
  low.rlim_cur = static_cast<rlim_t>(two) + 20;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  Sockets others;
  while (others.Add(open("/dev/null", O_RDONLY)) >= 0) {
  }
  ASSERT_EQ(errno, EMFILE);
  for (const int client : {one, two}) {
    ASSERT_TRUE(Connect(client, acceptor_->address()));
    EXPECT_TRUE(IsTurnedAway(client)) << "nobody told it";
  }
  others.Close();
  setrlimit(RLIMIT_NOFILE, &former);
  EXPECT_EQ(acceptor_->counts().turned_away, 2u);
  Connect();
  EXPECT_GE(Taken(), 0);
}

TEST_F(AcceptorTest, OpensALostListenerAgain) {
  Listen("127.0.0.1:0");
  Connect();
  ASSERT_GE(Taken(), 0);
  const HostPort address = acceptor_->address();
  // accept() on it fails from here on, with EINVAL.
  ASSERT_EQ(shutdown(ListeningDescriptor(address.port), SHUT_RDWR), 0);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  // Refused until it is there again.
  while (!Connect(MakeSocket(), address) && std::chrono::steady_clock::now() < deadline) {
  }
  EXPECT_GE(Taken(), 0);
  EXPECT_EQ(acceptor_->counts().reopened, 1u);
  EXPECT_EQ(ToString(acceptor_->address()), ToString(address));
}

TEST(AcceptFailureTest, IsJudgedByWhatItIsAbout) {
  for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
    EXPECT_EQ(JudgeAcceptFailure(error), AcceptFailure::kPause) << std::strerror(error);
  }
  for (const int error : {EBADF, EINVAL, ENOTSOCK}) {
    EXPECT_EQ(JudgeAcceptFailure(error), AcceptFailure::kReopen) << std::strerror(error);
  }
  for (const int error : {EINTR, ECONNABORTED, EPERM, EPROTO, ENETDOWN, EHOSTUNREACH, ETIMEDOUT}) {
    EXPECT_EQ(JudgeAcceptFailure(error), AcceptFailure::kNext) << std::strerror(error);
  }
}

}  // namespace
}  // namespace isthmus
