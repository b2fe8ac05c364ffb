// Ranks as processes of their own, killed in mid-step: the others hear of it at once.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tests/worker/jobs/fake_engine.h"
#include "worker/jobs/unique_fd.h"

extern char** environ;

namespace isthmus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uid_t kNobody = 65534;

// tests/client/c_job.c; killed and reaped with its owner.
class Process {
 public:
  explicit Process(std::vector<std::string> args) {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    output_ = UniqueFd(ends[0]);
    const UniqueFd write_end(ends[1]);
    args.insert(args.begin(), ISTHMUS_C_JOB);
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDOUT_FILENO);
    EXPECT_EQ(posix_spawn(&pid_, ISTHMUS_C_JOB, &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Process() { Kill(); }
  // What it prints next; blocks, and the test's own time limit bounds that.
  std::string ReadLine() {
    std::string line;
    char c;
    while (read(output_.get(), &c, 1) == 1 && c != '\n') line += c;
    return line;
  }
  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
  UniqueFd output_;
};

class JobProcessTest : public testing::Test {
 protected:
  JobProcessTest() : server_(StartServer(dir_.path(), 2, &engine_)) {}

  std::shared_ptr<JobSession> FinishAttach() {
    auto session = engine_.AwaitAttached(attached_++);
    server_->FinishAttach(session->id(), AttachReply());
    return session;
  }
  // Two ranks attach, step `steps` times and leave, answered by the test.
  void TrainTwoRanks(size_t first_step) {
    Process a({dir_.path(), "0", "steps", "2"});
    Process b({dir_.path(), "1", "steps", "2"});
    auto session = FinishAttach();
    EXPECT_EQ(session->parameters(1).floats()[5], 6);
    StepReply reply;
    for (size_t i = 0; i < 2; ++i) {
      auto [id, steps] = engine_.AwaitStep(first_step + i);
      EXPECT_EQ(session->gradients(0).floats()[0], 1);
      reply.end = i == 1;
      server_->FinishStep(id, reply);
    }
    EXPECT_EQ(a.ReadLine(), "done");
    EXPECT_EQ(b.ReadLine(), "done");
  }

  SocketDir dir_;
  FakeEngine engine_;
  std::unique_ptr<JobServer> server_;
  size_t attached_ = 0;
};

TEST_F(JobProcessTest, AKilledRankAbortsTheOthersInMidStepAndNewOnesAttach) {
  Process victim({dir_.path(), "1", "hang"});
  Process survivor({dir_.path(), "0", "steps", "1"});
  auto session = FinishAttach();
  EXPECT_EQ(victim.ReadLine(), "begun");
  engine_.AwaitStep();
  victim.Kill();
  EXPECT_THAT(survivor.ReadLine(), HasSubstr("step: ABORTED: group 3, rank 0: the session ended: "
                                             "rank 1: went away"));
  EXPECT_EQ(engine_.AwaitLost().first, session->id());
  // `session` is still held: its memory is readable while the next ones train.
  TrainTwoRanks(1);
  EXPECT_EQ(session->parameters(1).floats()[5], 6);
}

TEST_F(JobProcessTest, AForkedChildThatHoldsTheSocketDoesNotHideADeath) {
  Process victim({dir_.path(), "1", "fork"});
  Process survivor({dir_.path(), "0", "steps", "1"});
  FinishAttach();
  const pid_t child = std::stoi(victim.ReadLine());
  engine_.AwaitStep();
  victim.Kill();
  EXPECT_THAT(survivor.ReadLine(), HasSubstr("ABORTED"));
  EXPECT_EQ(kill(child, SIGKILL), 0) << "the child was still there";
  TrainTwoRanks(1);
}

// As PyTorch's DataLoader forks its workers: with the job's global objects, whose destructors run.
TEST_F(JobProcessTest, AForkedChildThatExitsLeavesItsParentsSessionAlone) {
  Process parent({dir_.path(), "0", "loader", "2"});
  Process other({dir_.path(), "1", "steps", "2"});
  FinishAttach();
  EXPECT_THAT(
      parent.ReadLine(),
      AllOf(HasSubstr("FAILED_PRECONDITION: step_begin: expected the process that attached"),
            HasSubstr("got its forked child")));
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(engine_.StepBeforeLoss(i)) << engine_.AwaitLost().second;
    server_->FinishStep(engine_.AwaitStep(i).first, StepReply());
  }
  EXPECT_EQ(parent.ReadLine(), "OK: ");
  EXPECT_EQ(other.ReadLine(), "done");
  EXPECT_THAT(engine_.AwaitLost().second, HasSubstr("detached"));
}

// 0 if a server that gets no thread says so. In a process of its own, whose user may have no second
// thread from here on.
int StartWithoutThreads() {
  SocketDir dir;
  FakeEngine engine;
  JobServer::Options options;
  options.socket_path = dir.path();
  const std::string folder = dir.path().substr(0, dir.path().rfind('/'));
  if (getuid() == 0) {  // whom no limit holds
    if (chown(folder.c_str(), kNobody, 0) != 0 || setuid(kNobody) != 0) return 10;
  }
  const rlimit none = {1, 1};
  if (setrlimit(RLIMIT_NPROC, &none) != 0) return 11;
  const absl::Status status = JobServer::Start(options, &engine).status();
  const bool said = std::string(status.message()).find("no thread for the job socket") == 0;
  return status.code() == absl::StatusCode::kResourceExhausted && said ? 0 : 12;
}

TEST(JobServerLimitTest, WithoutAThreadTheServerSaysSo) {
  const pid_t child = fork();
  if (child == 0) _exit(StartWithoutThreads());
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace isthmus
