#include "common/run/format_schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace isthmus {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string ErrorOf(const std::string& text, const RunSpec& run) {
  return std::string(ParseFormatSchedule(text, run).status().message());
}

TEST(FormatScheduleTest, P30_EachLineSaysWhatIsOtherThanBefore) {
  const RunSpec run = DefaultRunSpec(Scheme::kFlexDemo);
  const auto schedule = ParseFormatSchedule(
      "# by night\n\n2 k=1\n 10\tchunk_size=128 group_formats=3=2/4bit  # and a site of its own\n"
      "11 group_formats=\n",
      run);
  ASSERT_TRUE(schedule.ok()) << schedule.status();
  ASSERT_THAT(*schedule, SizeIs(3));
  RoundFormat format = run.format;
  format.all.k = 1;
  EXPECT_EQ((*schedule)[0], (FormatChange{Round(2), format}));
  format.chunk_size = 128;
  format.own[GroupId(3)] = {2, ValueFormat::kInt4};
  EXPECT_EQ((*schedule)[1], (FormatChange{Round(10), format}));
  format.own.clear();
  EXPECT_EQ((*schedule)[2], (FormatChange{Round(11), format}));
  EXPECT_THAT(*ParseFormatSchedule("", run), SizeIs(0));
}

TEST(FormatScheduleTest, SaysWhichLineCannotBe) {
  const RunSpec run = DefaultRunSpec(Scheme::kFlexDemo);
  EXPECT_THAT(ErrorOf("1 k=1", run), HasSubstr("line 1: expected a round from 2 on, got '1'"));
  EXPECT_THAT(ErrorOf("\nsoon k=1", run),
              HasSubstr("line 2: expected a round from 2 on, got 'soon'"));
  EXPECT_THAT(ErrorOf("5 k=1\n5 k=2", run), HasSubstr("line 2: expected a round from 6 on"));
  EXPECT_THAT(ErrorOf("5 decay=1", run),
              HasSubstr("line 1: expected FIELD=VALUE with one of chunk_size"));
  EXPECT_THAT(ErrorOf("5 k", run), HasSubstr("got 'k'"));
  EXPECT_THAT(ErrorOf("5 k=many", run), HasSubstr("line 1: k: expected"));
  EXPECT_THAT(ErrorOf("5 k=64", run), HasSubstr("less than chunk_size, as before"));
  RunSpec overlapped = DefaultRunSpec(Scheme::kLocal);
  overlapped.format.overlap = 2;
  EXPECT_THAT(ErrorOf("2 every=16", overlapped), HasSubstr("expected a round from 3 on"));
  EXPECT_TRUE(ParseFormatSchedule("3 every=16", overlapped).ok());
}

}  // namespace
}  // namespace isthmus
