#include "common/transport/endpoints.h"

#include <gtest/gtest.h>

#include <string>

namespace isthmus {
namespace {

absl::StatusCode Code(const std::string& address, bool insecure = false) {
  return CheckListenAddress(address, insecure).code();
}

TEST(CheckListenAddressTest, P27_LoopbackIsAllowed) {
  for (const char* address : {"127.0.0.1:29750", "127.0.0.2:0", "localhost:1", "[::1]:29750"}) {
    EXPECT_EQ(Code(address), absl::StatusCode::kOk) << address;
  }
  EXPECT_EQ(Code(kDefaultCoordinator), absl::StatusCode::kOk);
}

TEST(CheckListenAddressTest, P27_AnyOtherAddressIsSomebodysDecision) {
  for (const char* address :
       {"0.0.0.0:29750", "[::]:29750", "192.168.1.7:1", "host:1", "localhost.example.com:1"}) {
    EXPECT_EQ(Code(address), absl::StatusCode::kFailedPrecondition) << address;
    EXPECT_EQ(Code(address, true), absl::StatusCode::kOk) << address;
  }
  EXPECT_EQ(CheckListenAddress("0.0.0.0:1", false).message(),
            "listen address 0.0.0.0:1 is not loopback: without TLS that needs --insecure, on a "
            "network you trust");
}

TEST(CheckListenAddressTest, RefusesWhatIsNoHostAndPort) {
  for (const char* address : {"", ":", "29750", "::1:1", ":29750", "127.0.0.1", "127.0.0.1:"}) {
    EXPECT_EQ(Code(address), absl::StatusCode::kInvalidArgument) << address;
    EXPECT_EQ(Code(address, true), absl::StatusCode::kInvalidArgument) << address;
  }
}

// Known bug: whatever begins with "127." counts as loopback, host names too.
TEST(CheckListenAddressTest, P27_AHostNameIsNoLoopbackAddress) {
  EXPECT_EQ(Code("127.example.com:1"), absl::StatusCode::kFailedPrecondition);
}

// Known bug: the port is not looked at.
TEST(CheckListenAddressTest, ThePortIsANumber) {
  EXPECT_EQ(Code("127.0.0.1:http"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Code("127.0.0.1:65536"), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace isthmus
