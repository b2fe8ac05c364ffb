#include "cli/link/link_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace isthmus {
namespace {

using ::testing::HasSubstr;

TEST(LinkSpecTest, NoneIsUnshaped) {
  const absl::StatusOr<LinkSpec> spec = ParseLinkSpec("none");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_FALSE(spec->shaped());
}

TEST(LinkSpecTest, P27RateIsEachWayAndDelayIsOneWay) {
  const absl::StatusOr<LinkSpec> spec = ParseLinkSpec("10mbit/40ms");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->up_bits_per_second, 10e6);
  EXPECT_EQ(spec->down_bits_per_second, 10e6);
  EXPECT_EQ(spec->delay, absl::Milliseconds(40));
}

TEST(LinkSpecTest, DirectionsMayDiffer) {
  const absl::StatusOr<LinkSpec> spec = ParseLinkSpec("10mbit:50mbit/40ms");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->up_bits_per_second, 10e6);
  EXPECT_EQ(spec->down_bits_per_second, 50e6);
}

TEST(LinkSpecTest, PrintsWhatItReads) {
  for (const char* text : {"none", "10mbit/40ms", "100mbit", "1gbit/5ms", "500kbit/100ms",
                           "10mbit:50mbit/40ms", "2.5mbit/1s", "1mbit/250us"}) {
    const absl::StatusOr<LinkSpec> spec = ParseLinkSpec(text);
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->ToString(), text);
  }
}

TEST(LinkSpecTest, SaysWhatIsWrong) {
  for (const char* text : {"", "10", "mbit", "10mbit/", "10mbit/40", "10mbit/40ms/1", "10Mb/40ms",
                           "1mbit:2mbit:3mbit", "0mbit", "-1mbit", "1bit", "10mbit/11s", "/40ms"}) {
    const absl::StatusOr<LinkSpec> spec = ParseLinkSpec(text);
    ASSERT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(spec.status().message()), HasSubstr("expected")) << text;
    EXPECT_THAT(std::string(spec.status().message()), HasSubstr("got '")) << text;
  }
}

}  // namespace
}  // namespace isthmus
