#include "cli/link/link_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace isthmus {
namespace {

using ::testing::HasSubstr;

TEST(LinkTraceTest, ALinkIsWhatTheLastLineSays) {
  const auto trace = LinkTrace::Parse(
      "# a step down and up\n"
      "0 10mbit/40ms\n"
      "\n"
      "  1.5\t1mbit:5mbit/300ms  # rain\n"
      "3 none\n");
  ASSERT_TRUE(trace.ok()) << trace.status();
  const auto at = [&](double seconds) { return trace->At(absl::Seconds(seconds)).ToString(); };
  EXPECT_EQ(trace->first().ToString(), "10mbit/40ms");
  EXPECT_EQ(at(0), "10mbit/40ms");
  EXPECT_EQ(at(1.49), "10mbit/40ms");
  EXPECT_EQ(at(1.5), "1mbit:5mbit/300ms");
  EXPECT_EQ(at(3), "none");
  EXPECT_EQ(at(1e6), "none");
}

TEST(LinkTraceTest, MayBeginAgain) {
  const auto trace = LinkTrace::Parse("0 1mbit\n2 2mbit\n5 repeat");
  ASSERT_TRUE(trace.ok()) << trace.status();
  for (const double begin : {0.0, 5.0, 500.0}) {
    EXPECT_EQ(trace->At(absl::Seconds(begin + 1.9)).ToString(), "1mbit");
    EXPECT_EQ(trace->At(absl::Seconds(begin + 4.9)).ToString(), "2mbit");
  }
}

TEST(LinkTraceTest, SaysWhichLineIsWrong) {
  const std::pair<std::string, std::string> wrong[] = {
      {"", "line 1: expected a link at 0, as in '0 10mbit/40ms', got ''"},
      {"1 10mbit", "line 1: expected the first change at 0, got '1 10mbit'"},
      {"0 10mbit\n0 1mbit", "line 2: expected a later time than the line before"},
      {"0 10mbit\nsoon 1mbit", "line 2: expected seconds and a link, as in '30 1mbit/40ms'"},
      {"0 10mbit\n-1 1mbit", "line 2: expected seconds and a link"},
      {"0 10mbit\nnan 1mbit", "line 2: expected seconds and a link"},
      {"0 10mbit\n99999 1mbit", "line 2: expected seconds and a link"},
      {"0 10mbit 1mbit", "line 1: expected seconds and a link"},
      {"0 fast", "line 1: "},
      {"0 repeat", "line 1: "},
      {"0 1mbit\n5 repeat\n6 1mbit", "line 3: expected nothing after repeat"},
  };
  for (const auto& [text, why] : wrong) {
    const auto trace = LinkTrace::Parse(text);
    EXPECT_EQ(trace.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(trace.status().message()), HasSubstr(why)) << text;
  }
}

}  // namespace
}  // namespace isthmus
