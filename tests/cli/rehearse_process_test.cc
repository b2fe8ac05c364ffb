// `isthmus rehearse` as a process, over stand-ins for the daemons and the job (fake_programs.cc):
// exit codes, files, faults, and that nothing is left behind. The real programs are in tests/e2e.
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
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/base/signals.h"
#include "cli/rehearse/children.h"
#include "common/base/clock.h"

namespace isthmus {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class RehearseProcessTest : public ::testing::Test {
 protected:
  RehearseProcessTest() {
    std::string pattern = ::testing::TempDir() + "rehearse_test_XXXXXX";
    directory_ = mkdtemp(pattern.data());
    for (const char* program : {"isthmus-coordinator", "isthmus-worker", "isthmus-lm"}) {
      fs::create_symlink(FAKE_PROGRAMS, directory_ + "/" + program);
    }
    fs::create_directory(directory_ + "/tmp");
    std::ofstream(directory_ + "/text") << "text";
  }
  ~RehearseProcessTest() override { fs::remove_all(directory_); }

  void Start(std::vector<std::string> flags, const std::string& failure = "") {
    Command command{.name = "isthmus",
                    .argv = {ISTHMUS_PROGRAM, "rehearse", "--bin-dir", directory_, "--text",
                             directory_ + "/text", "--link", "none", "--ranks", "1"},
                    .environment = {{"TMPDIR", directory_ + "/tmp"}, {"FAKE_FAILURE", failure}},
                    .log_path = directory_ + "/log"};
    command.argv.insert(command.argv.end(), flags.begin(), flags.end());
    ASSERT_TRUE(children_.Start(command).ok());
  }

  bool WaitUntil(const std::function<bool()>& condition) {
    const absl::Time deadline = Clock::Real().Now() + absl::Seconds(60);
    while (!condition()) {
      if (Clock::Real().Now() > deadline) return false;
      signals_.Wait(absl::Milliseconds(5));
    }
    return true;
  }

  ChildExit Wait() {
    std::vector<ChildExit> exits;
    EXPECT_TRUE(WaitUntil([&] {
      exits = children_.Reap();
      return !exits.empty();
    })) << Log();
    return exits.empty() ? ChildExit{.name = "none", .code = -1} : exits[0];
  }

  int Run(const std::vector<std::string>& flags, const std::string& failure = "") {
    Start(flags, failure);
    return Wait().code;
  }

  std::string Log() const { return Read("/log"); }
  std::string Read(const std::string& name) const {
    std::ifstream file(directory_ + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  // Processes whose program is one of ours: its command line starts with our directory.
  std::vector<pid_t> Left() const {
    std::vector<pid_t> left;
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator("/proc", ignored)) {
      std::ifstream file(entry.path() / "cmdline");
      std::string program;
      if (std::getline(file, program, '\0') && program.starts_with(directory_)) {
        left.push_back(std::stoi(entry.path().filename()));
      }
    }
    return left;
  }

  void ExpectNothingLeft() const {
    EXPECT_THAT(Left(), IsEmpty());
    EXPECT_TRUE(fs::is_empty(directory_ + "/tmp"));
  }

  std::string directory_;
  Signals signals_;
  Children children_{&signals_};
};

TEST_F(RehearseProcessTest, FinishesWithASummaryAndJson) {
  const std::string json_path = directory_ + "/result.json";
  EXPECT_EQ(Run({"--steps", "20", "--json", json_path}), 0) << Log();
  EXPECT_THAT(Log(), HasSubstr("bit-identical (000000000000002a at every site)"));
  EXPECT_THAT(Log(), HasSubstr("measuring scheme full"));
  EXPECT_THAT(Log(), HasSubstr("  | hello"));
  const auto json = nlohmann::json::parse(Read("/result.json"));
  EXPECT_EQ(json["hashes_equal"], true);
  EXPECT_EQ(json["rounds_committed"], 20);
  EXPECT_EQ(json["validation_loss"], 1.5);
  EXPECT_EQ(json["full_step_seconds"], 0.2);
  EXPECT_GT(json["bytes_up_per_step"][0], 0);
  ExpectNothingLeft();
}

TEST_F(RehearseProcessTest, KeepsLogsAndReportsWhereAsked) {
  EXPECT_EQ(Run({"--steps", "5", "--compare-steps", "0", "--keep", directory_ + "/kept"}), 0)
      << Log();
  for (const char* name : {"coordinator.log", "worker-1.log", "job-2-0.log", "job-2-0.json"}) {
    EXPECT_TRUE(fs::exists(directory_ + "/kept/" + name)) << name;
  }
  ExpectNothingLeft();
}

TEST_F(RehearseProcessTest, DifferentHashesAreExitCode4) {
  EXPECT_EQ(Run({"--steps", "5", "--compare-steps", "0"}, "hash"), 4) << Log();
  EXPECT_THAT(Log(), HasSubstr("DIFFERENT: site-1 0000000000000001 site-2 0000000000000002"));
  ExpectNothingLeft();
}

TEST_F(RehearseProcessTest, AFailingChildIsNamedWithItsLastWords) {
  EXPECT_EQ(Run({"--steps", "1000"}, "job"), 1);
  EXPECT_THAT(Log(), HasSubstr("ended with exit code 5"));
  EXPECT_THAT(Log(), HasSubstr("  | the job's last words"));
  EXPECT_EQ(Run({"--steps", "1000"}, "worker"), 1);
  EXPECT_THAT(Log(), HasSubstr("ended with exit code 7"));
  EXPECT_THAT(Log(), HasSubstr("  | the worker's last words"));
  EXPECT_EQ(Run({"--steps", "1000"}, "coordinator"), 1);
  EXPECT_THAT(Log(), HasSubstr("coordinator ended with exit code 9"));
  ExpectNothingLeft();
}

TEST_F(RehearseProcessTest, AKilledWorkerIsRestartedAndTheRunGoesOn) {
  EXPECT_EQ(Run({"--steps", "100", "--compare-steps", "0", "--fault", "kill:2@10", "--fault",
                 "cut:1@20/0.2"}),
            0)
      << Log();
  EXPECT_THAT(Log(), HasSubstr("killing worker-2"));
  EXPECT_THAT(Log(), HasSubstr("restarting worker-2"));
  EXPECT_THAT(Log(), HasSubstr("cutting the link of site 1 for 200ms"));
  EXPECT_THAT(Log(), HasSubstr("healing the link of site 1"));
  ExpectNothingLeft();
}

TEST_F(RehearseProcessTest, SignalsEndEveryChild) {
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, {SIGTERM, 143}}) {
    Start({"--steps", "1000000"});
    ASSERT_TRUE(WaitUntil([&] { return Left().size() == 5; })) << Log();
    children_.Signal("isthmus", signal);
    EXPECT_EQ(Wait().code, code) << Log();
    ExpectNothingLeft();
  }
}

TEST_F(RehearseProcessTest, ASecondCtrlCKillsStubbornChildren) {
  Start({"--steps", "1000000"}, "stubborn");
  ASSERT_TRUE(WaitUntil([&] { return Left().size() == 5; })) << Log();
  children_.Signal("isthmus", SIGINT);
  ASSERT_TRUE(WaitUntil([&] { return Log().find("again to kill") != std::string::npos; }));
  children_.Signal("isthmus", SIGINT);
  EXPECT_EQ(Wait().code, 130);
  ExpectNothingLeft();
}

TEST_F(RehearseProcessTest, ChildrenDieWithARehearsalThatIsKilled) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  Start({"--steps", "1000000"});
  ASSERT_TRUE(WaitUntil([&] { return Left().size() == 5; })) << Log();
  children_.Signal("isthmus", SIGKILL);
  EXPECT_EQ(Wait().signal, SIGKILL);
  EXPECT_TRUE(WaitUntil([&] {
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    return Left().empty();
  }));
}

TEST_F(RehearseProcessTest, AnotherJobMayFollowTheDashes) {
  EXPECT_EQ(Run({"--steps", "10", "--compare-steps", "0", "--", directory_ + "/isthmus-lm"}), 0)
      << Log();
  EXPECT_THAT(Log(), HasSubstr("0.0000 in the last round"));
  ExpectNothingLeft();
}

TEST_F(RehearseProcessTest, BadFlagsAreExitCode2) {
  EXPECT_EQ(Run({"--steps", "0"}), 2);
  EXPECT_THAT(Log(), HasSubstr("--steps: expected a whole number from 1"));
  EXPECT_EQ(Run({"--text", "/no/such/file"}), 2);
  EXPECT_EQ(Run({"--json", "/no/such/directory/file"}), 2);
  EXPECT_EQ(Run({"--no-such-flag"}), 2);
  EXPECT_EQ(Run({"--"}), 2);
  ExpectNothingLeft();
}

TEST_F(RehearseProcessTest, AnInstructionSetThatThisHostLacksIsExitCode2) {
  EXPECT_EQ(Run({"--ranks", "1", "--simd", "scalar,mmx"}), 2);
  EXPECT_THAT(Log(),
              AllOf(HasSubstr("--simd: expected an instruction set of this machine (scalar, "),
                    HasSubstr("got 'mmx'")));
  ExpectNothingLeft();
}

TEST_F(RehearseProcessTest, MissingProgramsAreNamed) {
  EXPECT_EQ(Run({"--bin-dir", "/no/such/directory"}), 1);
  EXPECT_THAT(Log(), HasSubstr("/no/such/directory/isthmus-coordinator"));
}

}  // namespace
}  // namespace isthmus
