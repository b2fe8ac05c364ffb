// Child processes with /bin/sh as the child.
#include "cli/rehearse/children.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "common/base/clock.h"

namespace isthmus {
namespace {

using ::testing::HasSubstr;

class ChildrenTest : public ::testing::Test {
 protected:
  ChildrenTest() {
    std::string pattern = ::testing::TempDir() + "children_test_XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~ChildrenTest() override { std::filesystem::remove_all(directory_); }

  Command Shell(const std::string& name, const std::string& script) {
    return Command{.name = name, .argv = {"/bin/sh", "-c", script}, .log_path = Log(name)};
  }
  std::string Log(const std::string& name) const { return directory_ + "/" + name + ".log"; }
  std::string Contents(const std::string& name) const {
    std::ifstream file(Log(name));
    return {std::istreambuf_iterator<char>(file), {}};
  }

  // Waits for SIGCHLD, or for whatever else makes `condition` true.
  bool WaitUntil(const std::function<bool()>& condition) {
    const absl::Time deadline = Clock::Real().Now() + absl::Seconds(20);
    while (!condition()) {
      if (Clock::Real().Now() > deadline) return false;
      signals_.Wait(absl::Milliseconds(5));
    }
    return true;
  }

  ChildExit WaitForExit() {
    std::vector<ChildExit> exits;
    EXPECT_TRUE(WaitUntil([&] {
      exits = children_.Reap();
      return !exits.empty();
    }));
    return exits.empty() ? ChildExit{} : exits[0];
  }

  static bool Alive(pid_t pid) { return kill(pid, 0) == 0; }

  std::string directory_;
  Signals signals_;
  Children children_{&signals_};
};

TEST_F(ChildrenTest, ReportsExitCodesAndKeepsTheLog) {
  ASSERT_TRUE(children_.Start(Shell("a", "echo out; echo err >&2; exit 3")).ok());
  const ChildExit exit = WaitForExit();
  EXPECT_EQ(exit.name, "a");
  EXPECT_EQ(exit.code, 3);
  EXPECT_FALSE(exit.ok());
  EXPECT_EQ(exit.Describe(), "exit code 3");
  EXPECT_EQ(Contents("a"), "out\nerr\n");
  EXPECT_FALSE(children_.AnyRunning());
}

TEST_F(ChildrenTest, ReportsSignals) {
  ASSERT_TRUE(children_.Start(Shell("a", "kill -9 $$")).ok());
  const ChildExit exit = WaitForExit();
  EXPECT_EQ(exit.signal, SIGKILL);
  EXPECT_EQ(exit.Describe(), "signal 9 (Killed)");
}

TEST_F(ChildrenTest, PassesTheEnvironmentOnTopOfOurs) {
  setenv("CHILDREN_TEST_OURS", "kept", 1);
  setenv("CHILDREN_TEST_BOTH", "ours", 1);
  Command command = Shell("a", "echo $CHILDREN_TEST_OURS $CHILDREN_TEST_BOTH");
  command.environment = {{"CHILDREN_TEST_BOTH", "theirs"}};
  ASSERT_TRUE(children_.Start(command).ok());
  EXPECT_TRUE(WaitForExit().ok());
  EXPECT_EQ(Contents("a"), "kept theirs\n");
}

TEST_F(ChildrenTest, SaysWhichProgramCannotBeStarted) {
  const absl::Status status =
      children_.Start({.name = "a", .argv = {"/no/such/program"}, .log_path = Log("a")});
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot start a (/no/such/program)"));
  EXPECT_FALSE(children_.AnyRunning());
}

TEST_F(ChildrenTest, EndsPolitelyFirst) {
  ASSERT_TRUE(children_
                  .Start(Shell("a",
                               "trap 'echo bye; exit 0' TERM; echo ready; "
                               "while :; do sleep 0.01; done"))
                  .ok());
  ASSERT_TRUE(WaitUntil([&] { return Contents("a") == "ready\n"; }));
  children_.EndAll(absl::Seconds(20));
  EXPECT_FALSE(children_.AnyRunning());
  EXPECT_THAT(Contents("a"), HasSubstr("bye"));
}

TEST_F(ChildrenTest, KillsAfterTheGrace) {
  ASSERT_TRUE(
      children_.Start(Shell("a", "trap '' TERM; echo ready; while :; do sleep 0.01; done")).ok());
  ASSERT_TRUE(WaitUntil([&] { return Contents("a") == "ready\n"; }));
  children_.EndAll(absl::Milliseconds(50));
  EXPECT_FALSE(children_.AnyRunning());
}

TEST_F(ChildrenTest, ASecondCtrlCKillsAtOnce) {
  ASSERT_TRUE(
      children_.Start(Shell("a", "trap '' TERM; echo ready; while :; do sleep 0.01; done")).ok());
  ASSERT_TRUE(WaitUntil([&] { return Contents("a") == "ready\n"; }));
  kill(getpid(), SIGINT);
  const absl::Time start = Clock::Real().Now();
  children_.EndAll(absl::Seconds(60));
  EXPECT_LT(Clock::Real().Now() - start, absl::Seconds(20));
}

TEST_F(ChildrenTest, KillsWhatAChildLeavesBehind) {
  ASSERT_TRUE(children_.Start(Shell("a", "sleep 600 & echo $!; exit 0")).ok());
  EXPECT_TRUE(WaitForExit().ok());
  const pid_t grandchild = std::stoi(Contents("a"));
  // It is init's to reap, so "gone" may take a moment.
  EXPECT_TRUE(WaitUntil([&] {
    if (!Alive(grandchild)) return true;
    std::ifstream stat("/proc/" + std::to_string(grandchild) + "/stat");
    std::string line;
    std::getline(stat, line);
    return line.find(") Z") != std::string::npos;
  }));
}

TEST_F(ChildrenTest, ChildrenDieWithUsEvenWhenWeAreKilled) {
  // A process in our place starts a child and is killed; the child must be gone. We adopt orphans,
  // so that we can wait for it.
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  const pid_t stand_in = fork();
  if (stand_in == 0) {
    Children children(&signals_);
    if (!children.Start(Shell("a", "echo $$; exec sleep 600")).ok()) _exit(1);
    while (true) pause();
  }
  ASSERT_TRUE(WaitUntil([&] { return Contents("a").ends_with("\n"); }));
  const pid_t child = std::stoi(Contents("a"));
  EXPECT_TRUE(Alive(child));
  kill(stand_in, SIGKILL);
  waitpid(stand_in, nullptr, 0);
  int status = 0;
  EXPECT_TRUE(WaitUntil([&] { return waitpid(child, &status, WNOHANG) == child; }));
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST_F(ChildrenTest, RestartsAppendToTheLog) {
  ASSERT_TRUE(children_.Start(Shell("a", "echo one")).ok());
  WaitForExit();
  ASSERT_TRUE(children_.Start(Shell("a", "echo two")).ok());
  WaitForExit();
  EXPECT_EQ(Contents("a"), "one\ntwo\n");
}

TEST_F(ChildrenTest, LogTailIsTheEnd) {
  std::ofstream(Log("a")) << "1\n2\n3\n4\n";
  EXPECT_EQ(LogTail(Log("a"), 2), "  | 3\n  | 4\n");
  EXPECT_EQ(LogTail(Log("missing"), 2), "");
  std::ofstream(Log("colours")) << "\x1b[31mred\r\tend\n";
  EXPECT_EQ(LogTail(Log("colours"), 2), "  | ?[31mred?\tend\n");
}

}  // namespace
}  // namespace isthmus
