// Every file of testdata/ performed against a coordinator and compared, line by line. README.md
// describes the files. ISTHMUS_REWRITE_SCENARIOS=1 writes what really follows into them: read the
// change before you commit it.

#include "tests/server/core/scenario.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

namespace isthmus {
namespace {

using Path = std::filesystem::path;

std::vector<Path> Files() {
  std::vector<Path> files;
  for (const auto& entry : std::filesystem::directory_iterator(ISTHMUS_SCENARIOS)) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

class ScenarioTest : public testing::TestWithParam<Path> {};

TEST_P(ScenarioTest, AnswersAsWritten) {
  std::stringstream text;
  text << std::ifstream(GetParam()).rdbuf();
  const absl::StatusOr<std::string> actual = Rewrite(text.str());
  ASSERT_TRUE(actual.ok()) << GetParam() << ": " << actual.status();
  if (std::getenv("ISTHMUS_REWRITE_SCENARIOS") != nullptr) {
    std::ofstream(GetParam()) << *actual;
    return;
  }
  EXPECT_EQ(text.str(), *actual) << GetParam();
}

INSTANTIATE_TEST_SUITE_P(Files, ScenarioTest, testing::ValuesIn(Files()),
                         [](const auto& test) { return test.param.stem().string(); });

TEST(RewriteTest, SaysWhichLineIsNoEvent) {
  EXPECT_EQ(Rewrite("# why\n> config\n> dance 1\n").status().message(),
            "line 3: no such event: 'dance'");
  EXPECT_EQ(Rewrite("> config colour=red\n").status().message(), "line 1: config knows no colour=");
  EXPECT_EQ(Rewrite("> join 1\n").status().message(), "line 1: the first event must be config");
}

TEST(RewriteTest, ReplacesExpectationsAndKeepsTheRest) {
  EXPECT_EQ(*Rewrite("# why\n\n> config\n> heartbeat 1\n  wrong\n# end\n"),
            "# why\n\n> config\n> heartbeat 1\n  = FAILED_PRECONDITION: group 1 incarnation 0 has "
            "not registered with this coordinator\n# end\n");
}

}  // namespace
}  // namespace isthmus
