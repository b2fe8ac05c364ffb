// The server over real sockets: what jobs may send that no libisthmus would, and what the socket
// file promises.
#include "worker/jobs/job_server.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <fstream>
#include <optional>

#include "client/isthmus.h"
#include "common/device/host_device.h"
#include "tests/worker/jobs/as_nobody.h"
#include "tests/worker/jobs/fake_engine.h"
#include "tests/worker/jobs/packets.h"
#include "worker/jobs/unique_fd.h"

namespace isthmus {
namespace {

using ::testing::HasSubstr;

// A job that speaks packets itself. Reads block, bounded by a receive timeout.
class RawJob {
 public:
  explicit RawJob(const std::string& path)
      : fd_(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    EXPECT_EQ(connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const timeval timeout = {60, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  }
  bool Send(const Packet& packet) {
    return send(fd_.get(), packet.data(), packet.size(), MSG_NOSIGNAL) >= 0;
  }
  // The next packet but words about waiting, or nothing at the end. Descriptors are kept in fds.
  std::optional<Packet> Receive() {
    for (;;) {
      std::optional<Packet> packet = ReceiveAny();
      if (!packet || TypeOf(*packet) != ISTHMUS_WIRE_WAITING) return packet;
    }
  }
  std::optional<Packet> ReceiveAny() {
    for (int attempt = 0; attempt < 2; ++attempt) {
      Packet packet(ISTHMUS_WIRE_MAX_PACKET);
      alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
      iovec data = {packet.data(), packet.size()};
      msghdr message = {};
      message.msg_iov = &data;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof(control);
      const ssize_t size = recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC);
      if (size < 0 && errno == ECONNRESET) continue;  // the last words come after it
      if (size <= 0) return std::nullopt;
      if (const cmsghdr* part = CMSG_FIRSTHDR(&message)) {
        std::vector<int> received((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        std::memcpy(received.data(), CMSG_DATA(part), received.size() * sizeof(int));
        for (const int fd : received) fds.emplace_back(fd);
      }
      packet.resize(static_cast<size_t>(size));
      return packet;
    }
    return std::nullopt;
  }
  uint16_t ReceiveType() {
    const auto packet = Receive();
    return packet ? TypeOf(*packet) : 0;
  }
  // The daemon's last words: "code: text", then the end.
  std::string ReceiveError() {
    const auto packet = Receive();
    if (!packet || packet->size() != sizeof(isthmus_wire_error)) return "no ERROR";
    isthmus_wire_error error;
    std::memcpy(&error, packet->data(), sizeof(error));
    EXPECT_FALSE(Receive().has_value());
    return std::string(isthmus_code_name(static_cast<isthmus_code>(error.code))) + ": " +
           std::string(error.text, error.text_size);
  }
  // Up to FILLED.
  void Attach(int rank, JobMemory memory = JobMemory::kHost, uint32_t own_optimizer = 0) {
    Send(HelloPacket(rank, 1, -1, static_cast<uint32_t>(memory), own_optimizer));
    Send(EntryPacket());
    EXPECT_EQ(ReceiveType(), ISTHMUS_WIRE_BUFFERS);
    Send(BarePacket(ISTHMUS_WIRE_FILLED));
  }
  void HangUp() { fd_ = UniqueFd(); }

  std::vector<UniqueFd> fds;

 private:
  static uint16_t TypeOf(const Packet& packet) {
    isthmus_wire_header header = {};
    if (packet.size() >= sizeof(header)) std::memcpy(&header, packet.data(), sizeof(header));
    return header.type;
  }
  UniqueFd fd_;
};

class JobServerTest : public testing::Test {
 protected:
  JobServerTest() : server_(StartServer(dir_.path(), 2, &engine_)) {}
  SocketDir dir_;
  FakeEngine engine_;
  std::unique_ptr<JobServer> server_;
};

TEST_F(JobServerTest, BuffersAreSealedMemfds) {
  RawJob job(dir_.path());
  job.Attach(0);
  ASSERT_EQ(job.fds.size(), 4u);
  constexpr int kSealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  for (const UniqueFd& fd : job.fds) {
    EXPECT_EQ(fcntl(fd.get(), F_GET_SEALS) & kSealed, kSealed);
    EXPECT_NE(ftruncate(fd.get(), 1 << 24), 0);
  }
  EXPECT_NE(pwrite(job.fds[3].get(), "x", 1, 0), 1) << "the offsets are read-only";
}

TEST_F(JobServerTest, AJobWithAnOptimizerOfItsOwnHasNoGradientsHere) {
  std::vector<std::unique_ptr<RawJob>> jobs;
  for (int rank = 0; rank < 2; ++rank) {
    jobs.push_back(std::make_unique<RawJob>(dir_.path()));
    jobs[rank]->Attach(rank, JobMemory::kHost, /*own_optimizer=*/1);
  }
  struct stat parameters, gradients;
  ASSERT_EQ(fstat(jobs[1]->fds[0].get(), &parameters), 0);
  ASSERT_EQ(fstat(jobs[1]->fds[1].get(), &gradients), 0);
  EXPECT_EQ(parameters.st_size, 4096 * 4);
  EXPECT_EQ(gradients.st_size, static_cast<off_t>(sizeof(isthmus_wire_pace)));
  auto session = engine_.AwaitAttached();
  EXPECT_TRUE(session->own_optimizer());
  EXPECT_EQ(session->parameters(1).size(), 4096u);
  EXPECT_EQ(session->gradients(1).size(), 0u);
}

TEST_F(JobServerTest, ABreachEndsTheSessionForAllInMidStepAndTheNextFormsAtOnce) {
  std::vector<std::shared_ptr<JobSession>> held;
  for (size_t n = 0; n < 3; ++n) {
    RawJob first(dir_.path());
    RawJob second(dir_.path());
    first.Attach(0);
    second.Attach(1);
    held.push_back(engine_.AwaitAttached(n));
    EXPECT_EQ(held[n]->parameters(0).floats()[0], 0) << "new memory for a new session";
    held[n]->parameters(0).floats()[0] = 1;
    server_->FinishAttach(held[n]->id(), AttachReply());
    EXPECT_EQ(first.ReceiveType(), ISTHMUS_WIRE_ATTACHED);
    EXPECT_EQ(second.ReceiveType(), ISTHMUS_WIRE_ATTACHED);
    first.Send(StepPacket());
    second.Send(StepPacket());
    engine_.AwaitStep(n);
    if (n == 0) {
      first.Send(Packet(100000));
      EXPECT_THAT(first.ReceiveError(), HasSubstr("INVALID_ARGUMENT: group 3, rank 0: malformed"));
    } else if (n == 1) {
      first.Send(StepPacket());
      EXPECT_THAT(first.ReceiveError(), HasSubstr("FAILED_PRECONDITION: group 3, rank 0:"));
    } else {
      first.HangUp();
    }
    EXPECT_THAT(second.ReceiveError(), HasSubstr("ABORTED: group 3, rank 1: the session ended: "
                                                 "rank 0: "));
    EXPECT_EQ(engine_.AwaitLost(n).first, held[n]->id());
    server_->FinishStep(held[n]->id(), StepReply());  // late: nothing happens
  }
}

TEST_F(JobServerTest, ADeathWhileTheEngineAttachesEndsTheSession) {
  RawJob first(dir_.path());
  RawJob second(dir_.path());
  first.Attach(0);
  second.Attach(1);
  engine_.AwaitAttached();
  second.HangUp();
  EXPECT_THAT(first.ReceiveError(), HasSubstr("rank 1: went away without detaching"));
  engine_.AwaitLost();
}

TEST_F(JobServerTest, AJobThatReadsNothingCannotHoldTheDaemonUp) {
  RawJob deaf(dir_.path());
  RawJob other(dir_.path());
  deaf.Attach(0);
  other.Attach(1);
  const uint64_t id = engine_.AwaitAttached()->id();
  server_->FinishAttach(id, AttachReply());
  EXPECT_EQ(other.ReceiveType(), ISTHMUS_WIRE_ATTACHED);
  // Each step leaves one more packet unread, until the socket is full.
  size_t n = 0;
  for (; n < 100000; ++n) {
    deaf.Send(StepPacket());
    other.Send(StepPacket());
    if (!engine_.StepBeforeLoss(n)) break;
    server_->FinishStep(id, StepReply());
    EXPECT_EQ(other.ReceiveType(), ISTHMUS_WIRE_STEP_DONE);
  }
  EXPECT_EQ(other.ReceiveType(), ISTHMUS_WIRE_ERROR);
  EXPECT_THAT(engine_.AwaitLost().second, HasSubstr("rank 0: send: "));
}

TEST_F(JobServerTest, StrangersAreToldWhatIsWrongWithTheirPackets) {
  RawJob garbage(dir_.path());
  garbage.Send(Packet(16));
  EXPECT_THAT(garbage.ReceiveError(), HasSubstr("INVALID_ARGUMENT: group 3: malformed packet"));
  RawJob version(dir_.path());
  Packet hello = HelloPacket(1);
  hello[4] = std::byte{77};
  hello[5] = std::byte{77};
  version.Send(hello);
  EXPECT_THAT(version.ReceiveError(), HasSubstr("FAILED_PRECONDITION: group 3: job protocol"));
}

TEST_F(JobServerTest, EndSessionReachesFormingRanksToo) {
  RawJob job(dir_.path());
  job.Attach(0);
  RawJob refused(dir_.path());  // by then rank 0 is surely known
  refused.Send(HelloPacket(0));
  EXPECT_THAT(refused.ReceiveError(), HasSubstr("FAILED_PRECONDITION"));
  server_->EndSession(absl::AbortedError("the run was cancelled"));
  EXPECT_EQ(job.ReceiveError(), "ABORTED: group 3, rank 0: the run was cancelled");
}

class JobServerDeviceTest : public testing::Test {
 protected:
  // A device with room for so many sessions of one rank: parameters and gradients.
  void Start(size_t sessions, uint32_t max_pending) {
    device_ = std::make_shared<HostDevice>(sessions *
                                           (2 * 4096 * sizeof(float) + ISTHMUS_WIRE_MARK_BYTES));
    JobServer::Options options;
    options.socket_path = dir_.path();
    options.name = "group 3";
    options.max_pending = max_pending;
    options.devices = {device_};
    server_ = JobServer::Start(options, &engine_).value();
  }
  // Attached and forgotten by the engine: what its process maps is all that is left.
  void LoseSession(RawJob& job, size_t n) {
    job.Attach(0, JobMemory::kDevice);
    const uint64_t id = engine_.AwaitAttached(n)->id();
    server_->FinishAttach(id, AttachReply{});
    EXPECT_EQ(job.ReceiveType(), ISTHMUS_WIRE_ATTACHED);
    engine_.DropSessions();
    server_->EndSession(id, absl::AbortedError("enough"));
    EXPECT_EQ(engine_.AwaitLost(n).first, id);
  }
  // Whether a job gets memory, and what else it is told.
  std::string TryToAttach() {
    RawJob job(dir_.path());
    job.Send(HelloPacket(0, 1, -1, 1));
    job.Send(EntryPacket());
    const std::optional<Packet> packet = job.Receive();
    isthmus_wire_error error = {};
    std::memcpy(&error, packet->data(), std::min(packet->size(), sizeof(error)));
    if (error.header.type == ISTHMUS_WIRE_BUFFERS) return "memory";
    return std::string(error.text, error.text_size);
  }

  SocketDir dir_;
  std::shared_ptr<HostDevice> device_;
  FakeEngine engine_;
  std::unique_ptr<JobServer> server_;
};

// Freeing memory that another process has mapped is undefined.
TEST_F(JobServerDeviceTest, MemoryLivesUntilItsJobLetsGo) {
  Start(1, 16);
  RawJob first(dir_.path());
  LoseSession(first, 0);
  EXPECT_EQ(first.ReceiveError(), "ABORTED: group 3, rank 0: enough");  // and the end
  first.Send(StepPacket());  // it had not heard of it yet: harmless
  EXPECT_THAT(TryToAttach(), HasSubstr("processes of ended sessions that have yet to detach: 1"));
  first.HangUp();
  EXPECT_EQ(TryToAttach(), "memory");
}

// It has no gradients there either, but for the mark that says which of its steps is there; and it
// is told where to stop as in the host's memory.
TEST_F(JobServerDeviceTest, OnADeviceTooAJobMayHaveAnOptimizerOfItsOwn) {
  Start(2, 16);
  RawJob own(dir_.path());
  own.Attach(0, JobMemory::kDevice, /*own_optimizer=*/1);
  ASSERT_EQ(own.fds.size(), 3u);
  struct stat pace;
  ASSERT_EQ(fstat(own.fds[0].get(), &pace), 0);
  EXPECT_EQ(pace.st_size, static_cast<off_t>(sizeof(isthmus_wire_pace)));
  auto session = engine_.AwaitAttached();
  EXPECT_TRUE(session->own_optimizer());
  EXPECT_EQ(session->gradients(0).size(), 0u);
  EXPECT_NE(session->pace(0), nullptr);
  EXPECT_TRUE(device_->Allocate(2 * 4096 * sizeof(float)).ok()) << "where gradients would be";
  server_->FinishAttach(session->id(), AttachReply{.every_steps = 5});
  EXPECT_EQ(own.ReceiveType(), ISTHMUS_WIRE_ATTACHED);
  own.Send(StepPacket(0, 1, 1, ISTHMUS_WIRE_TAKE | ISTHMUS_WIRE_GIVE, 5));
  engine_.AwaitStep();
  EXPECT_EQ(session->steps(), 5u);
  own.HangUp();
  engine_.AwaitLost();
  RawJob other(dir_.path());
  other.Attach(0, JobMemory::kDevice);
  EXPECT_EQ(other.fds.size(), 2u);
  session = engine_.AwaitAttached(1);
  EXPECT_FALSE(session->own_optimizer());
  EXPECT_EQ(session->gradients(0).size(), 4096u);
}

TEST_F(JobServerDeviceTest, MemoryOutlivesADetachThatIsNotTheEnd) {
  Start(1, 16);
  RawJob job(dir_.path());
  job.Attach(0, JobMemory::kDevice);
  server_->FinishAttach(engine_.AwaitAttached()->id(), AttachReply{});
  EXPECT_EQ(job.ReceiveType(), ISTHMUS_WIRE_ATTACHED);
  engine_.DropSessions();
  job.Send(BarePacket(ISTHMUS_WIRE_DETACH));
  engine_.AwaitLost();
  EXPECT_THAT(TryToAttach(), HasSubstr("have yet to detach: 1"));
  job.HangUp();
  EXPECT_EQ(TryToAttach(), "memory");
}

TEST_F(JobServerDeviceTest, ARankThatLeavesWhileTheSessionFormsKeepsItsMemoryToo) {
  Start(1, 16);
  RawJob job(dir_.path());
  job.Send(HelloPacket(0, 1, -1, 1));
  job.Send(EntryPacket());
  EXPECT_EQ(job.ReceiveType(), ISTHMUS_WIRE_BUFFERS);
  job.Send(StepPacket());  // a breach
  EXPECT_THAT(job.ReceiveError(), HasSubstr("expected FILLED"));
  EXPECT_THAT(TryToAttach(), HasSubstr("have yet to detach: 1"));
  job.HangUp();
  EXPECT_EQ(TryToAttach(), "memory");
}

TEST_F(JobServerDeviceTest, ThoseThatNeverLetGoAreBounded) {
  Start(3, 1);  // two at once
  std::vector<std::unique_ptr<RawJob>> stubborn;
  for (size_t n = 0; n < 6; ++n) {
    stubborn.push_back(std::make_unique<RawJob>(dir_.path()));
    LoseSession(*stubborn.back(), n);
  }
  EXPECT_EQ(TryToAttach(), "memory");
}

TEST(JobServerHandshakeTest, LateAndSurplusHandshakesAreEndedAndBlockNobody) {
  SocketDir dir;
  FakeEngine engine;
  HandClock clock;
  JobServer::Options options;
  options.socket_path = dir.path();
  options.name = "group 3";
  options.max_pending = 1;
  options.clock = &clock;
  auto server = JobServer::Start(options, &engine);
  ASSERT_TRUE(server.ok()) << server.status();
  RawJob silent(dir.path());
  RawJob half(dir.path());
  half.Send(HelloPacket(0, 2));
  half.Send(EntryPacket());
  RawJob surplus(dir.path());
  EXPECT_THAT(surplus.ReceiveError(), HasSubstr("RESOURCE_EXHAUSTED: group 3: expected at most 2"));
  clock.Advance(absl::Seconds(31));
  (*server)->EndSession(absl::AbortedError("wakes the thread"));
  EXPECT_THAT(silent.ReceiveError(), HasSubstr("DEADLINE_EXCEEDED: group 3: "));
  EXPECT_THAT(half.ReceiveError(), HasSubstr("DEADLINE_EXCEEDED: group 3"));
  RawJob good(dir.path());
  good.Attach(0);
  engine.AwaitAttached();
}

// A rank whose process cannot be watched could die unseen, behind a forked child.
TEST_F(JobServerTest, WithoutADescriptorForItsProcessAJobIsRefused) {
  rlimit old = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
  const rlimit few = {64, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  std::vector<UniqueFd> taken;
  for (UniqueFd fd(dup(0)); fd.valid(); fd = UniqueFd(dup(0))) taken.push_back(std::move(fd));
  // One for the job's socket and one for the daemon's end of it.
  ASSERT_GE(taken.size(), 2u);
  taken.resize(taken.size() - 2);
  {
    RawJob job(dir_.path());
    EXPECT_THAT(job.ReceiveError(), HasSubstr("RESOURCE_EXHAUSTED: no descriptor to watch"));
  }
  taken.clear();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
  RawJob job(dir_.path());
  job.Attach(0);  // the next one is welcome
}

TEST(JobServerStartTest, AModeAndAGroupOpenTheSocketToOthers) {
  SocketDir dir;
  FakeEngine engine;
  JobServer::Options options;
  options.socket_path = dir.path();
  const gid_t group = getuid() == 0 ? 4711 : getgid();
  options.socket_access = ParseSocketAccess("", std::to_string(group)).value();
  const mode_t old_mask = umask(0077);
  auto server = JobServer::Start(options, &engine);
  umask(old_mask);
  ASSERT_TRUE(server.ok()) << server.status();
  struct stat status;
  ASSERT_EQ(stat(dir.path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0660u);
  EXPECT_EQ(status.st_gid, group);
}

TEST(JobServerStartTest, SocketsOfOthersAreNotTakenForDaemons) {
  SocketDir dir;
  FakeEngine engine;
  auto server = StartServer(dir.path(), 1, &engine);
  ASSERT_EQ(chmod(dir.path().substr(0, dir.path().rfind('/')).c_str(), 0755), 0);
  ASSERT_EQ(chmod(dir.path().c_str(), 0), 0);  // should the test not run as root
  JobServer::Options options;
  options.socket_path = dir.path();
  const AsNobody nobody;
  const absl::Status refused = JobServer::Start(options, &engine).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("is there, and whether anybody listens cannot be told: Permission denied"));
}

TEST(SocketAccessTest, IsReadFromFlags) {
  EXPECT_EQ(ParseSocketAccess("", "")->mode, 0600u);
  EXPECT_FALSE(ParseSocketAccess("", "")->group.has_value());
  EXPECT_EQ(ParseSocketAccess("0666", "")->mode, 0666u);
  EXPECT_EQ(ParseSocketAccess("", "root")->group, 0u);
  EXPECT_EQ(ParseSocketAccess("", "root")->mode, 0660u);
  EXPECT_EQ(ParseSocketAccess("620", "7")->mode, 0620u);
  for (const char* mode : {"0060", "0400", "1777", "rw", "0x1ff", "-600", "0680", "777777777777"}) {
    EXPECT_EQ(ParseSocketAccess(mode, "").status().code(), absl::StatusCode::kInvalidArgument)
        << mode;
  }
  EXPECT_EQ(ParseSocketAccess("", "no-such-group").status().code(), absl::StatusCode::kNotFound);
}

TEST(JobServerStartTest, TheSocketIsPrivateExclusiveAndReplacedWhenStale) {
  SocketDir dir;
  FakeEngine engine;
  auto server = StartServer(dir.path(), 1, &engine);
  struct stat status;
  ASSERT_EQ(stat(dir.path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  JobServer::Options options;
  options.socket_path = dir.path();
  EXPECT_EQ(JobServer::Start(options, &engine).status().code(), absl::StatusCode::kAlreadyExists);
  server.reset();
  EXPECT_NE(stat(dir.path().c_str(), &status), 0) << "unlinked at the end";

  {  // What a killed daemon leaves.
    const UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, dir.path().data(), dir.path().size());
    ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  EXPECT_TRUE(JobServer::Start(options, &engine).ok());
  std::ofstream(dir.path()) << "precious";
  EXPECT_EQ(JobServer::Start(options, &engine).status().code(),
            absl::StatusCode::kFailedPrecondition);
  options.socket_path = std::string(200, 'x');
  EXPECT_EQ(JobServer::Start(options, &engine).status().code(), absl::StatusCode::kInvalidArgument);
  options.ranks = 0;
  EXPECT_EQ(JobServer::Start(options, &engine).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace isthmus
