// The real programs as their users start them: what cannot be is refused at once, in words and with
// the exit code that says so.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/await_change.h"

namespace isthmus {
namespace {

using ::testing::HasSubstr;

struct Result {
  int code = -1;  // 128 + signal, as shells have it
  std::string said;
};

using Arguments = std::vector<std::string>;

// Runs `arguments` to its end, after `prepare` in the child, which only makes system calls.
Result RunProgram(
    Arguments arguments, const std::function<bool()>& prepare = [] { return true; }) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  int ends[2];
  if (pipe(ends) != 0) return {};
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    alarm(60);  // a program that was to refuse, and serves
    if (!prepare()) _exit(99);
    execv(argv[0], argv.data());
    _exit(98);
  }
  close(ends[1]);
  Result result;
  char bytes[4096];
  for (ssize_t got; (got = read(ends[0], bytes, sizeof(bytes))) > 0;) {
    result.said.append(bytes, static_cast<size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

const std::string kCoordinator = ISTHMUS_COORDINATOR_PROGRAM;
const std::string kWorker = ISTHMUS_WORKER_PROGRAM;
const std::string kTool = ISTHMUS_PROGRAM;

TEST(ProgramsTest, FlagsThatCannotBeAreExitCode2) {
  struct Case {
    Arguments arguments;
    const char* words;
  };
  const Arguments worker = {kWorker, "--socket", "/nowhere/socket"};
  const auto with = [](Arguments arguments, const Arguments& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  const Case cases[] = {
      {{kCoordinator, "--rounds", "-1"}, "--rounds: expected a whole number from 0 to"},
      {{kCoordinator, "--max-groups", "0"}, "--max-groups: expected a whole number from 1 to"},
      {{kCoordinator, "--start-groups", "2", "--max-groups", "1"},
       "no more than --max-groups 1 can register"},
      {{kCoordinator, "--ring-mib", "0"}, "--ring-mib: expected a whole number from 1 to"},
      {{kCoordinator, "--listen", "127.0.0.1:99999"}, "--listen: expected HOST:PORT"},
      {{kCoordinator, "--listen", "none"}, "--listen: expected HOST:PORT"},
      {{kCoordinator, "--log-level", "loud"}, "log level: expected"},
      {with(worker, {"--coordinator", "127.0.0.1:99999"}), "--coordinator: expected HOST:PORT"},
      {with(worker, {"--coordinator", "none"}), "--coordinator: expected HOST:PORT"},
      {with(worker, {"--coordinator", ":29750"}), "--coordinator: expected HOST:PORT"},
      {with(worker, {"--coordinator", "127.0.0.1:0"}), "no port from 1 to 65535"},
      {with(worker, {"--group", "-1"}), "--group: expected a whole number"},
      {with(worker, {"--label", "a\x1b[2J"}), "without control characters, got 'a?[2J'"},
      {with(worker, {"--threads", "-1"}), "--threads: expected a whole number"},
      {with(worker, {"--flip-bit-at", "-1"}), "--flip-bit-at: expected a whole number"},
      {with(worker, {"--give-up-after", "-5m"}), "--give-up-after: expected a duration"},
      {with(worker, {"--machines", "0"}), "--machines: expected a whole number"},
      {with(worker, {"--machines", "2", "--listen", "h:99999"}), "--listen: expected HOST:PORT"},
      {with(worker, {"--leader", "none", "--machine", "1"}), "--leader: expected HOST:PORT"},
      {with(worker, {"--ranks", "cpu:0"}), "cpu"},
      {{kTool, "status", "--coordinator", "127.0.0.1:99999"}, "--coordinator: expected HOST:PORT"},
      {{kTool, "status", "--watch", "nan"}, "--watch: expected a number"},
      {{kTool, "status", "--watch", "-1"}, "--watch"},
      {{kTool, "link", "--to", "127.0.0.1"}, "--to: expected HOST:PORT"},
      {{kTool, "link", "--to", "h:1", "--listen", "none"}, "--listen: expected HOST:PORT"},
      {{kTool, "bench", "--parameters", "-1"}, "--parameters: expected a whole number"},
      {{kTool, "bench", "--json", "/nowhere/figures"},
       "cannot write /nowhere/figures: No such file"},
  };
  for (const Case& c : cases) {
    const Result result = RunProgram(c.arguments);
    const std::string command = absl::StrJoin(c.arguments, " ");
    EXPECT_EQ(result.code, 2) << command << "\n" << result.said;
    EXPECT_THAT(result.said, HasSubstr(c.words)) << command;
  }
}

// Root has no limit of threads.
bool BecomeNobodyWithFewThreads(rlim_t threads) {
  constexpr uid_t kNobodyElse = 64998;
  const rlimit few{threads, threads};
  return setgroups(0, nullptr) == 0 && setrlimit(RLIMIT_NPROC, &few) == 0 &&
         setresuid(kNobodyElse, kNobodyElse, kNobodyElse) == 0;
}

TEST(ProgramsTest, TooFewThreadsAreExitCode1InWords) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, to become a user without other processes";
  const Arguments commands[] = {
      {kCoordinator, "--listen", "127.0.0.1:0"},
      {kWorker, "--socket", "/nowhere/socket"},
      {kTool, "status"},
  };
  // With two, gRPC is refused those that it starts while it is loaded, and waits for them at exit.
  for (const rlim_t threads : {2, 4}) {
    for (const Arguments& command : commands) {
      const Result result =
          RunProgram(command, [threads] { return BecomeNobodyWithFewThreads(threads); });
      if (result.code == 98) GTEST_SKIP() << "another user cannot run " << command[0];
      EXPECT_EQ(result.code, 1) << command[0] << "\n" << result.said;
      EXPECT_THAT(result.said,
                  ::testing::ContainsRegex("needs [0-9]+ threads, the system gives [0-3] "));
    }
  }
}

TEST(ProgramsTest, TooFewDescriptorsAreExitCode1InWords) {
  const auto few = [] {
    const rlimit limit{20, 20};
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
  };
  const Result result = RunProgram({kCoordinator, "--listen", "127.0.0.1:0"}, few);
  EXPECT_EQ(result.code, 1) << result.said;
  EXPECT_THAT(result.said, HasSubstr("see `ulimit -n`"));
}

class PortFileTest : public ::testing::Test {
 protected:
  PortFileTest() {
    std::string pattern = ::testing::TempDir() + "port_file_test_XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~PortFileTest() override { std::filesystem::remove_all(directory_); }

  // What a coordinator writes that listens on `listen`; empty if it ends first.
  std::string PortFile(const Arguments& more) {
    const std::string path = directory_ + "/port";
    std::filesystem::remove(path);
    Arguments arguments = {kCoordinator, "--port-file", path};
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      close(STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(98);
    }
    // It is renamed into place: what can be read is whole.
    std::string text;
    AwaitChange(directory_, child, absl::Minutes(1), [&] {
      std::ifstream file(path);
      text.assign(std::istreambuf_iterator<char>(file), {});
      return !text.empty();
    });
    kill(child, SIGTERM);
    waitpid(child, nullptr, 0);
    return text;
  }

  std::string directory_;
};

TEST_F(PortFileTest, SaysWhatIsBound) {
  EXPECT_THAT(PortFile({"--listen", "127.0.0.1:0"}),
              ::testing::MatchesRegex("127\\.0\\.0\\.1:[1-9][0-9]*\n"));
  EXPECT_THAT(PortFile({"--listen", "127.0.0.3:0"}),
              ::testing::MatchesRegex("127\\.0\\.0\\.3:[1-9][0-9]*\n"));
  EXPECT_THAT(PortFile({"--listen", "0.0.0.0:0", "--insecure"}),
              ::testing::MatchesRegex("0\\.0\\.0\\.0:[1-9][0-9]*\n"));
}

TEST_F(PortFileTest, IsNotWrittenByWhoCannotListen) {
  EXPECT_EQ(PortFile({"--listen", "203.0.113.1:1", "--insecure"}), "");
}

TEST_F(PortFileTest, ThatCannotBeWrittenIsExitCode1) {
  const Result full =
      RunProgram({kCoordinator, "--listen", "127.0.0.1:0", "--port-file", "/dev/full"});
  EXPECT_EQ(full.code, 1) << full.said;
  EXPECT_THAT(full.said, HasSubstr("cannot write /dev/full: No space left on device"));
  const Result nowhere =
      RunProgram({kCoordinator, "--listen", "127.0.0.1:0", "--port-file", "/nowhere/port"});
  EXPECT_EQ(nowhere.code, 1) << nowhere.said;
  EXPECT_THAT(nowhere.said, HasSubstr("cannot write /nowhere/port: No such file or directory"));
}

TEST(ProgramsTest, OutputThatCannotBeWrittenIsExitCode1) {
  const auto to_full = [] {
    return dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO) == STDOUT_FILENO;
  };
  const Result result =
      RunProgram({kTool, "bench", "--parameters", "1", "--repeats", "1"}, to_full);
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.said, HasSubstr("isthmus: cannot write all of the output"));
}

// A program's page of help lists what it does; its README must know as much.
TEST(ProgramsTest, TheReadmeKnowsEverySubcommand) {
  const Result help = RunProgram({kTool, "--help"});
  ASSERT_EQ(help.code, 0);
  std::ifstream file(ISTHMUS_SOURCE_DIR "/cli/README.md");
  const std::string readme(std::istreambuf_iterator<char>(file), {});
  const size_t begin = help.said.find("Subcommands:");
  ASSERT_NE(begin, std::string::npos);
  int count = 0;
  for (const absl::string_view line : absl::StrSplit(help.said.substr(begin), '\n')) {
    if (line.empty()) break;
    // "  rehearse      Run a whole deployment ..."; what goes on is indented further.
    if (line.size() < 3 || line.substr(0, 2) != "  " || line[2] == ' ') continue;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    EXPECT_THAT(readme, HasSubstr(absl::StrCat("| `isthmus ", words[0], "` |")));
    ++count;
  }
  EXPECT_EQ(count, 7);
}

}  // namespace
}  // namespace isthmus
