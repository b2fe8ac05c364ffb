#include "common/base/host_port.h"

#include <absl/strings/str_cat.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>

namespace isthmus {
namespace {

TEST(HostPortTest, TakesNamesAndBothFamilies) {
  for (const auto& [text, host, port] :
       {std::tuple{"localhost:0", "localhost", 0},
        {"127.0.0.1:29750", "127.0.0.1", 29750},
        {"node_3.cluster-a.example:65535", "node_3.cluster-a.example", 65535},
        {"[::1]:29750", "::1", 29750},
        {"[fe80::1%eth0]:1", "fe80::1%eth0", 1}}) {
    const auto parsed = ParseHostPort(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->host, host);
    EXPECT_EQ(parsed->port, port);
    EXPECT_EQ(ToString(*parsed), text);
  }
}

TEST(HostPortTest, RefusesWhatIsNone) {
  for (const char* text :
       {"",       ":",          "none",          "29750",       "localhost",    ":29750",
        "[]:1",   "localhost:", "h:65536",       "h:99999",     "h:-1",         "h:+1",
        "h: 1",   "h:1 ",       "h:0x10",        "h:000001",    "h:4294967297", "::1:80",
        "[::1]",  "[::1]80",    "unix:/tmp/s:1", "http://h:80", "dns:///h:80",  "h/x:80",
        "h h:80", "\x1b[2J:80", "h\n:80"}) {
    const auto parsed = ParseHostPort(text);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(parsed.status().message().find("expected HOST:PORT"), 0u) << parsed.status();
  }
  EXPECT_FALSE(ParseHostPort(absl::StrCat(std::string(300, 'h'), ":1")).ok());
}

TEST(HostPortTest, NobodyIsReachedAtPort0) {
  EXPECT_TRUE(ParseDialAddress("localhost:1").ok());
  EXPECT_FALSE(ParseDialAddress("localhost:0").ok());
  EXPECT_FALSE(ParseDialAddress("none").ok());
}

TEST(HostPortTest, WhatIsRefusedIsShownSafely) {
  const auto parsed = ParseHostPort("\x1b[2J:80");
  EXPECT_EQ(parsed.status().message().find('\x1b'), absl::string_view::npos);
}

}  // namespace
}  // namespace isthmus
