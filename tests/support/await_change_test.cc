#include "tests/support/await_change.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace isthmus {
namespace {

namespace fs = std::filesystem;

class AwaitChangeTest : public ::testing::Test {
 protected:
  AwaitChangeTest() {
    std::string pattern = ::testing::TempDir() + "await_change_test_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~AwaitChangeTest() override { fs::remove_all(folder_); }

  // A child that lives until it is killed, or ends at once.
  static pid_t Child(bool lives) {
    const pid_t child = fork();
    if (child != 0) return child;
    if (lives) pause();
    _exit(0);
  }
  static void End(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }

  std::string folder_;
};

TEST_F(AwaitChangeTest, LooksAgainAtWhateverChanges) {
  const pid_t child = Child(true);
  const std::string path = folder_ + "/file";
  int looks = 0;
  const auto next = [&] {
    switch (++looks) {
      case 1:
        std::ofstream(path) << "a";
        break;
      case 2:
        EXPECT_TRUE(fs::exists(path));
        std::ofstream(path, std::ios::app) << "b";
        break;
      case 3:
        fs::rename(path, path + "2");
        break;
      case 4:
        fs::remove(path + "2");
        break;
    }
    return looks == 5;
  };
  EXPECT_TRUE(AwaitChange(folder_, child, absl::Minutes(10), next));
  EXPECT_EQ(looks, 5);
  End(child);
}

TEST_F(AwaitChangeTest, LooksForTheLastTimeWhenTheChildHasEnded) {
  const pid_t child = Child(false);
  int looks = 0;
  EXPECT_FALSE(AwaitChange(folder_, child, absl::Minutes(10), [&] { return ++looks > 2; }));
  EXPECT_EQ(looks, 2);
  EXPECT_TRUE(AwaitChange(folder_, child, absl::Minutes(10),
                          [&] { return waitpid(child, nullptr, WNOHANG) == child; }));
}

TEST_F(AwaitChangeTest, HasNoMorePatienceThanItIsGiven) {
  const pid_t child = Child(true);
  int looks = 0;
  EXPECT_FALSE(AwaitChange(folder_, child, absl::Milliseconds(1), [&] { return ++looks > 2; }));
  EXPECT_EQ(looks, 2);
  End(child);
}

}  // namespace
}  // namespace isthmus
