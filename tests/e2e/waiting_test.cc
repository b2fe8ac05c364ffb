// A job that waits hears what for, from whoever knows it: its daemon or the coordinator.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "client/isthmus.hpp"
#include "tests/e2e/harness.h"

namespace isthmus::e2e {
namespace {

using ::testing::HasSubstr;

// Attaches to `site`, and stops waiting once it is told `words`.
client::Status AttachUntilTold(const Site& site, const std::string& words) {
  const std::vector<client::Tensor> tensors = {client::Tensor::Trained("w", {8})};
  const auto keep_waiting = [&words](const char* what) {
    return std::string(what).find(words) == std::string::npos;
  };
  return client::Session::Attach({.socket_path = site.socket(),
                                  .local_rank = 0,
                                  .timeout_seconds = 60,
                                  .keep_waiting = keep_waiting},
                                 tensors)
      .status();
}

TEST(WaitingTest, ForOtherSites) {
  TestCoordinator coordinator(SmallRun(2, 10));
  Site site(coordinator.address(), 1, 1);
  const client::Status stopped =
      AttachUntilTold(site, "waiting for groups: 1 of start_groups 2 are ready");
  EXPECT_EQ(stopped.code(), ISTHMUS_INTERRUPTED) << stopped.ToString();
}

TEST(WaitingTest, ForTheCoordinator) {
  const std::string address = TestCoordinator(SmallRun(1, 1)).address();  // gone again
  Site site(address, 1, 1);
  const client::Status stopped =
      AttachUntilTold(site, "waiting for the coordinator at " + address + ": ");
  EXPECT_EQ(stopped.code(), ISTHMUS_INTERRUPTED) << stopped.ToString();
  EXPECT_THAT(stopped.message(), HasSubstr("keep_waiting ended the call; the daemon was waiting"));
}

}  // namespace
}  // namespace isthmus::e2e
