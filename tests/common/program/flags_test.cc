#include "common/program/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace isthmus {
namespace {

using ::testing::HasSubstr;

// What a program says that has one flag of type T; empty if it takes the value.
template <typename T>
std::string Parse(const FlagCheck& check, const std::string& text, T* value) {
  CLI::App app;
  app.add_option("--flag", *value)->check(check);
  std::vector<std::string> arguments = {text, "--flag"};  // CLI11 takes them from the end
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return error.what();
  }
  return "";
}

TEST(FlagsTest, WholeNumbersAreWhatTheySay) {
  uint64_t value = 0;
  for (const auto& [text, expected] : {std::pair<std::string, uint64_t>{"0", 0},
                                       {"10", 10},
                                       {"18446744073709551615", kMaxUint64}}) {
    EXPECT_EQ(Parse(WholeNumber(0, kMaxUint64), text, &value), "");
    EXPECT_EQ(value, expected);
  }
}

// CLI11 alone takes each of these for some number.
TEST(FlagsTest, NumbersThatCannotBeAreRefused) {
  uint64_t value = 7;
  for (const char* text :
       {"-1", "+1", "010", "0x10", "18446744073709551616", "1e3", "1.5", " 1", ""}) {
    EXPECT_THAT(Parse(WholeNumber(0, kMaxUint64), text, &value),
                HasSubstr("--flag: expected a whole number from 0 to 18446744073709551615, got"))
        << text;
  }
  uint32_t narrow = 7;
  EXPECT_THAT(Parse(WholeNumber(1, 1024), "0", &narrow),
              HasSubstr("expected a whole number from 1 to 1024, got '0'"));
  EXPECT_THAT(Parse(WholeNumber(1, 1024), "1025", &narrow), HasSubstr("got '1025'"));
}

TEST(FlagsTest, NumbersAreFinite) {
  float value = 0;
  EXPECT_EQ(Parse(FiniteNumber(), "-0.5e-3", &value), "");
  for (const char* text : {"nan", "inf", "-inf", "1e999", "x", "", "1 "}) {
    EXPECT_THAT(Parse(FiniteNumber(), text, &value), HasSubstr("expected a number, got")) << text;
  }
}

TEST(FlagsTest, AddressesAreHostAndPort) {
  std::string value;
  EXPECT_EQ(Parse(ListenAddress(), "127.0.0.1:0", &value), "");
  EXPECT_EQ(Parse(DialAddress(), "[::1]:1", &value), "");
  EXPECT_THAT(Parse(DialAddress(), "127.0.0.1:0", &value), HasSubstr("no port from 1 to 65535"));
  for (const char* text : {"", "none", ":1", "h:99999"}) {
    EXPECT_THAT(Parse(DialAddress(), text, &value), HasSubstr("expected HOST:PORT")) << text;
    EXPECT_THAT(Parse(ListenAddress(), text, &value), HasSubstr("expected HOST:PORT")) << text;
  }
}

TEST(FlagsTest, TextHasNoControlCharacters) {
  std::string value;
  EXPECT_EQ(Parse(PrintableText(5), "K\xC3\xB6ln", &value), "");
  const std::string refused = Parse(PrintableText(5), "\x1b[2J", &value);
  EXPECT_THAT(refused, HasSubstr("at most 5 bytes without control characters, got '?[2J'"));
  EXPECT_NE(Parse(PrintableText(5), "123456", &value), "");
}

TEST(FlagsTest, PatienceIsMoreThanNothing) {
  std::string value;
  for (const char* text : {"1ms", "5s", "2m", "1.5h", "off"}) {
    EXPECT_EQ(Parse(Patience(), text, &value), "") << text;
  }
  for (const char* text : {"", "0", "0s", "-5m", "5", "never", "5 s"}) {
    EXPECT_THAT(Parse(Patience(), text, &value), HasSubstr("expected a duration")) << text;
  }
  EXPECT_EQ(ParsePatience("2m"), absl::Minutes(2));
  EXPECT_EQ(ParsePatience("off"), absl::InfiniteDuration());
}

TEST(FlagsTest, RateLimitsAreBitsForPeopleAndBytesForPrograms) {
  std::string text;
  EXPECT_EQ(Parse(RateLimit(), "20mbit", &text), "");
  EXPECT_EQ(ParseRateLimit("20mbit"), 2'500'000u);
  EXPECT_EQ(Parse(RateLimit(), "off", &text), "");
  EXPECT_EQ(ParseRateLimit("off"), 0u);
  for (const char* wrong : {"20", "20mb", "-1mbit", "1bit", "", "0mbit", "nan mbit"}) {
    EXPECT_THAT(Parse(RateLimit(), wrong, &text),
                HasSubstr("--flag: expected a rate from 1kbit to 100gbit, such as 10mbit, got"))
        << wrong;
  }
}

}  // namespace
}  // namespace isthmus
