#include "common/telemetry/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace isthmus {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(LogTest, ALineStaysALineAndNothingInItMovesATerminal) {
  ::testing::internal::CaptureStderr();
  LogInfo("group 1 ('\x1b[2J\nerror all is lost') left");
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("info group 1 ('?[2J?error all is lost') left\n"));
}

TEST(LogTest, LevelsAreNamed) {
  EXPECT_TRUE(SetLogLevel("warning").ok());
  ::testing::internal::CaptureStderr();
  LogInfo("quiet");
  LogWarning("loud");
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(SetLogLevel("info").ok());
  EXPECT_THAT(said, Not(HasSubstr("quiet")));
  EXPECT_THAT(said, HasSubstr("warning loud"));
  EXPECT_EQ(SetLogLevel("all").code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace isthmus
